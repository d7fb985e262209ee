"use strict";
// On a waiting job's page: what is short, who has it until when, and what would start the job now, each with a button that does it.
(() => {
  const EVERY_MS = 5000;
  const section = document.getElementById("wait");
  const note = document.getElementById("wait-note");
  const token = document.querySelector('meta[name="xsrf-token"]').content;
  const headers = { "X-XSRFToken": token, "Content-Type": "application/json" };
  const UNITS = { gpu: "GPUs of the kind", cpu: "CPUs", mem: "GiB of memory" };
  const BECAUSE = {
    class: "its class goes first",
    bid: "its bid is higher",
    promise: "it was first in line already",
    "fair share": "its account has had less of late",
    earlier: "it was submitted earlier",
  };
  const time = (text) => new Date(text).toLocaleString([], { dateStyle: "short", timeStyle: "short" });

  function lines(why) {
    const found = [];
    if (why.position) found.push(`It is number ${why.position} of ${why.length} in the queue.`);
    if (why.quota) found.push(`Held back by ${why.quota}.`);
    for (const one of why.short) found.push(`It asks for ${one.asked} ${UNITS[one.what]}, and ${one.free} of ${one.total} are free.`);
    for (const one of why.holders) {
      const amounts = [one.gpus && `${one.gpus} GPU${one.gpus > 1 ? "s" : ""}`, `${one.cpu} CPUs`, `${one.mem} GiB`].filter(Boolean).join(", ");
      const who = one.job ? `${one.account} (job ${one.job.slice(0, 8)})` : "A job that you may not see";
      found.push(`${who} has ${amounts}, ${one.until ? `until ${time(one.until)} at the latest` : "without a time limit"}.`);
    }
    for (const one of why.ahead) {
      found.push(`Before it: ${one.job ? `job ${one.job.slice(0, 8)}` : "a job that you may not see"}, for ${BECAUSE[one.because] || one.because}.`);
    }
    found.push(
      why.latest
        ? `It starts at ${time(why.latest)} at the latest, likely at ${time(why.likely)}.`
        : "Nobody knows when it starts: some of what it waits for has no time limit.",
    );
    return found;
  }

  function row(text, ...more) {
    const item = document.createElement("li");
    item.append(text, ...more);
    return item;
  }

  function proposal(one) {
    const button = document.createElement("button");
    button.className = "small";
    button.textContent = "Do it";
    button.setAttribute("aria-label", `Change the job: ${one.words}`);
    button.addEventListener("click", () => apply(one).catch(() => (note.textContent = "the service does not answer; try again")));
    const costs = [
      one.stops && `stops ${one.stops} job${one.stops > 1 ? "s" : ""} (${Math.round(one.lost / 60)} min of work)`,
      one.overtakes && `goes before ${one.overtakes} other${one.overtakes > 1 ? "s" : ""}`,
    ].filter(Boolean);
    return row(`${one.words}${costs.length ? `: ${costs.join(", ")}` : ""} `, button);
  }

  async function apply(one) {
    const reply = await fetch(section.dataset.api, { method: "PATCH", headers, body: JSON.stringify(one.patch) });
    note.textContent = reply.ok ? `Changed: ${one.words}.` : (await reply.json()).error.message;
    await refresh();
  }

  async function refresh() {
    const reply = await fetch(`${section.dataset.api}/why`, { headers });
    if (!reply.ok) return;
    const why = await reply.json();
    section.hidden = why.state !== "QUEUING";
    if (section.hidden || section.contains(document.activeElement)) return;
    document.getElementById("wait-lines").replaceChildren(...lines(why).map((text) => row(text)));
    document.getElementById("wait-now").hidden = !why.proposals.length;
    document.getElementById("wait-proposals").replaceChildren(...why.proposals.map(proposal));
  }

  const again = () => document.hidden || refresh().catch((error) => console.info("the service does not answer; trying again", error));
  again();
  setInterval(again, EVERY_MS);
})();
