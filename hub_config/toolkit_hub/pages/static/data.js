// The page of one piece of data: uploads by choice or drop, new folders, names, and tickets for downloads.
import { DataHost, Uploads, inWords } from "./transfer.js";

const $ = (id) => document.getElementById(id);
const browse = $("browse");
const folder = JSON.parse(browse.dataset.folder);
const ticketField = $("save").elements.ticket;
const host = new DataHost({
  address: browse.dataset.host,
  ticketUrl: browse.dataset.ticketUrl,
  ticket: ticketField.value,
  seconds: Number(browse.dataset.ticketSeconds),
  xsrf: document.querySelector('meta[name="xsrf-token"]').content,
  renewed: (ticket) => (ticketField.value = ticket),
});

const within = (path) => (folder ? `${folder}/${path}` : path);
const rows = () => [...document.querySelectorAll("tr[data-name]")];
const nameOf = (row) => JSON.parse(row.dataset.name);
const shownName = (row) => row.querySelector(".name").textContent;

// Names from this machine, with what is no letter escaped, as the page shows those that are there.
const plain = (name) => name.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

// A page that comes back from the browser's memory has an old ticket, and keys of forms that were sent.
addEventListener("pageshow", (event) => event.persisted && location.reload());

function tell(text) {
  $("told").textContent = text;
  $("told").hidden = !text;
}

// --- downloads: a form with the ticket, which may be old by now

let downloading = false;
$("save").addEventListener("submit", async (event) => {
  downloading = true;
  setTimeout(() => (downloading = false), 2000);
  if (!host.isOld) return;
  event.preventDefault();
  try {
    await host.renew();
    $("save").requestSubmit(event.submitter);
  } catch (error) {
    tell(inWords(error));
  }
});

// --- a question, with or without a field; the answer is null for no

// The question that is open, or whose dialog was closed a moment ago.
let asked = null;

// Gives each question its own answer. The dialog's "close" comes with the next frame only: on a busy machine, the next question
// may be open by then, or answered.
function settle() {
  asked?.resolve(asked.answer);
  asked = null;
}

$("ask").addEventListener("close", () => $("ask").open || settle());
$("ask").addEventListener("submit", (event) => {
  if (event.submitter === $("ask-yes")) asked.answer = asked.given();
});

function ask({ title, words, yes, value = null, danger = false }) {
  settle();
  $("ask-title").textContent = title;
  $("ask-words").textContent = words;
  $("ask-yes").textContent = yes;
  $("ask-yes").classList.toggle("danger", danger);
  $("ask-field").hidden = value === null;
  const field = $("ask-name");
  field.required = value !== null;
  field.value = value ?? "";
  const before = field.value; // which may be less than the name: a field has no line ends
  const given = () => (value === null ? true : value && field.value === before ? null : field.value);
  $("ask").showModal();
  if (value !== null) field.select();
  else if (danger) $("ask-no").focus();
  return new Promise((resolve) => (asked = { given, answer: null, resolve }));
}

// --- folders and names

async function change(what, json) {
  tell("");
  try {
    await host.send("POST", what, { json });
    location.reload();
  } catch (error) {
    tell(inWords(error));
  }
}

function goodName(name) {
  const good = name && name !== "." && name !== ".." && !name.includes("/");
  if (!good) tell("A name has no slash, and is neither “.” nor “..”. Give another one.");
  return good;
}

const acts = {
  async mkdir() {
    const name = await ask({ title: "New folder", words: "", yes: "Make it", value: "" });
    if (name !== null && goodName(name)) await change("mkdir", { paths: [within(name)] });
  },
  async move(row) {
    const name = await ask({ title: "Rename", words: shownName(row), yes: "Rename", value: nameOf(row) });
    if (name !== null && goodName(name)) await change("move", { from: within(nameOf(row)), to: within(name) });
  },
  async remove(row) {
    const all = row.dataset.kind === "folder" ? " and all that is in it" : "";
    const words = `${shownName(row)}${all}. This cannot be undone; committed versions keep what they hold.`;
    const sure = await ask({ title: "Delete?", words, yes: "Delete", danger: true });
    if (sure) await change("remove", { paths: [within(nameOf(row))] });
  },
};

for (const button of document.querySelectorAll("[data-act]")) {
  button.hidden = false;
  button.addEventListener("click", () => acts[button.dataset.act](button.closest("tr")));
}

// --- uploads

const words = (bytes) => {
  if (bytes < 1024) return `${bytes} bytes`;
  let unit = -1;
  for (; bytes >= 999.5 && unit < 3; unit += 1) bytes /= 1024;
  return `${bytes < 9.95 ? bytes.toFixed(1) : Math.round(bytes)} ${["KiB", "MiB", "GiB", "TiB"][unit]}`;
};
const MOST_LINES = 30;

const view = {
  began(item) {
    const line = document.createElement("li");
    const name = document.createElement("bdi");
    name.className = "name";
    name.dir = "ltr";
    name.textContent = plain(item.path.slice(folder ? folder.length + 1 : 0));
    item.bar = document.createElement("progress");
    item.bar.max = item.file.size || 1;
    item.bar.value = 0;
    item.bar.setAttribute("aria-label", name.textContent);
    item.told = document.createElement("span");
    item.told.className = "quiet";
    line.append(name, item.bar, item.told);
    item.line?.remove();
    item.line = line;
    $("each").append(line);
    if ($("each").children.length > MOST_LINES) $("each").querySelector(".sent")?.remove();
  },
  moved(uploads, item) {
    const size = item.file.size;
    item.bar.value = item.state === "done" ? item.bar.max : item.sent;
    item.line.classList.toggle("sent", item.state === "done");
    item.line.classList.toggle("bad", item.state === "failed");
    item.told.textContent = item.words || (item.state === "done" ? words(size) : `${words(item.sent)} of ${words(size)}`);
    this.whole(uploads);
  },
  whole(uploads) {
    const { sums } = uploads;
    const rate = sums.sent / Math.max((Date.now() - began) / 1000, 0.5);
    const left = Math.ceil((sums.bytes - sums.sent) / Math.max(rate, 1));
    $("all").max = sums.bytes || 1;
    $("all").value = sums.bytes ? sums.sent : Number(sums.files === sums.filesDone);
    $("all-words").textContent =
      `${sums.filesDone.toLocaleString()} of ${sums.files.toLocaleString()} files, ` +
      `${words(sums.sent)} of ${words(sums.bytes)}, ${words(rate)}/s` +
      (left > 1 ? `, ${left < 90 ? `${left} s` : `${Math.ceil(left / 60)} min`} left` : "");
  },
  ended(uploads) {
    const failed = uploads.failed.length;
    if (!failed && !uploads.stopped) return location.reload();
    const { filesDone, files } = uploads.sums;
    $("all-words").textContent = `${uploads.stopped || "Not all could be sent."} ${filesDone} of ${files} files are there.`;
    $("cancel").hidden = true;
    $("retry").hidden = $("done").hidden = false;
  },
};

let began = 0;
const uploads = new Uploads(host, view);

// `files` are {file, path} with paths from this folder.
async function upload(files, folders) {
  tell("");
  if (!files.length && !folders.length) return tell("There is nothing to send in that.");
  const here = new Set(rows().map(nameOf));
  const there = files.filter(({ path }) => here.has(path)).map(({ path }) => path);
  if (there.length) {
    const some = there.slice(0, 5).map(plain).join(", ") + (there.length > 5 ? ` and ${there.length - 5} more` : "");
    const question = { title: "Replace?", words: `Here already: ${some}`, yes: "Replace", danger: true };
    if (!(await ask(question))) return;
  }
  began ||= Date.now();
  showUploads();
  const given = files.map(({ file, path }) => ({ file, path: within(path) }));
  await uploads.add(given, folders.map(within));
}

function showUploads() {
  $("uploads").hidden = $("cancel").hidden = false;
  $("retry").hidden = $("done").hidden = true;
}

for (const button of document.querySelectorAll("[data-choose]")) {
  const input = $(button.dataset.choose);
  button.hidden = false;
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", async () => {
    const chosen = [...input.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
    input.value = "";
    await upload(chosen, []);
  });
}

// What was dropped: files, and folders with all that is in them, empty ones too.
async function collect(entry, path, files, folders) {
  if (entry.isFile) {
    files.push({ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path });
    return;
  }
  const reader = entry.createReader();
  let count = 0;
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    count += some.length;
    for (const inner of some) await collect(inner, `${path}/${inner.name}`, files, folders);
  }
  if (!count) folders.push(path);
}

async function dropped(transfer) {
  const files = [];
  const folders = [];
  // Read at once: after the event the list is empty.
  const items = [...transfer.items].filter((item) => item.kind === "file");
  const entries = items.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile()).filter(Boolean);
  try {
    for (const entry of entries) {
      if (entry instanceof File) files.push({ file: entry, path: entry.name });
      else await collect(entry, entry.name, files, folders);
    }
  } catch (error) {
    return tell(inWords(error));
  }
  await upload(files, folders);
}

if ($("uploads")) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  // Each element on the way of the pointer is entered and left.
  let entered = 0;
  const enter = (number) => {
    entered = number;
    browse.classList.toggle("over", entered > 0);
  };
  addEventListener("dragenter", (event) => hasFiles(event) && enter(entered + 1));
  addEventListener("dragleave", (event) => hasFiles(event) && enter(entered - 1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    enter(0);
    dropped(event.dataTransfer);
  });
  $("cancel").addEventListener("click", () => uploads.cancel());
  $("done").addEventListener("click", () => location.reload());
  $("retry").addEventListener("click", () => {
    began = Date.now();
    showUploads();
    uploads.again();
  });
  addEventListener("beforeunload", (event) => {
    if (uploads.active && !downloading) event.preventDefault();
  });
}
