// Moves content between a page and the data host: requests with a ticket that is renewed in time, and files in parts.

const PART = 8 * 2 ** 20;
const AT_ONCE = 2;
const RENEW_BEFORE_MS = 120_000;
// How often something is tried again that may pass, by the status of the answer; 0 stands for a broken connection.
const AGAIN = { 0: 6, 400: 1, 408: 3, 409: 2, 429: 6, 500: 2, 502: 6, 503: 6, 504: 6 };
// After these nothing else would be taken either: signed out, not allowed, not there, no room.
const STOPS_ALL = new Set([401, 403, 404, 507]);

export class Refusal extends Error {
  constructor(status, body) {
    const told = body?.error ?? {};
    super(told.message ?? `the server answered ${status}`);
    this.status = status;
    this.hint = told.hint ?? "";
  }
}

export const inWords = (error) => {
  if (error instanceof Refusal) return `${sentence(error.message)} ${sentence(error.hint)}`.trim();
  if (error.name === "NotReadableError" || error.name === "NotFoundError") {
    return "This file cannot be read: it has changed or is gone. Choose it again.";
  }
  if (error instanceof URIError) return "This name has characters that no file name can have. Rename the file first.";
  return "The data host does not answer. Look at your network connection, and try again.";
};

function sentence(text) {
  return text && text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

// A path in an address. Bytes that are no text stand in it as lone surrogates, as in the page's JSON.
export function encodePath(path) {
  let encoded = "";
  for (const character of path) {
    const code = character.codePointAt(0);
    const raw = code >= 0xdc80 && code <= 0xdcff;
    encoded += raw ? `%${(code - 0xdc00).toString(16)}` : encodeURIComponent(character);
  }
  return encoded;
}

async function pause(ms, signal) {
  await new Promise((resolve) => setTimeout(resolve, ms));
  signal.throwIfAborted();
}

export class DataHost {
  #ticket;
  #ends;
  #renewing = null;

  constructor({ address, ticketUrl, ticket, seconds, xsrf, renewed }) {
    Object.assign(this, { address, ticketUrl, xsrf, renewed });
    this.#ticket = ticket;
    this.#ends = Date.now() + seconds * 1000;
  }

  get isOld() {
    return Date.now() > this.#ends - RENEW_BEFORE_MS;
  }

  // From the service, with this page's cookie: whoever is signed out by now gets none.
  renew() {
    this.#renewing ??= (async () => {
      try {
        const reply = await fetch(this.ticketUrl, { method: "POST", headers: { "X-XSRFToken": this.xsrf } });
        const body = await reply.json().catch(() => null);
        if (!reply.ok) throw new Refusal(reply.status, body);
        this.#ticket = body.ticket;
        this.#ends = Date.now() + body.seconds * 1000;
        this.renewed(body.ticket);
      } finally {
        this.#renewing = null;
      }
    })();
    return this.#renewing;
  }

  async send(method, what, { json, body = null, digest = "", signal, progress = () => {} } = {}) {
    if (this.isOld) await this.renew();
    const once = () => this.#once(method, what, { body: json ? JSON.stringify(json) : body, digest, signal, progress });
    try {
      return await once();
    } catch (error) {
      if (error.status !== 401) throw error;
      await this.renew();
      return once();
    }
  }

  // XMLHttpRequest, for it tells how much of a body has gone.
  #once(method, what, { body, digest, signal, progress }) {
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open(method, `${this.address}/${what}`);
      request.setRequestHeader("Authorization", `Bearer ${this.#ticket}`);
      request.setRequestHeader("Accept", "application/json");
      if (digest) request.setRequestHeader("Content-Digest", digest);
      request.responseType = "json";
      request.upload.onprogress = (event) => progress(event.loaded);
      request.onerror = () => reject(new Refusal(0));
      request.onload = () =>
        request.status < 300 ? resolve(request.response) : reject(new Refusal(request.status, request.response));
      signal?.throwIfAborted();
      const aborted = () => (request.abort(), reject(signal.reason));
      signal?.addEventListener("abort", aborted);
      request.onloadend = () => signal?.removeEventListener("abort", aborted);
      request.send(body);
    });
  }

  // Sends one file, from where the host has it already; `progress` is told how many of its bytes are there.
  async sendFile(file, path, signal, progress) {
    const facts = `path=${encodePath(path)}&size=${file.size}&mtime=${Math.max(Math.trunc(file.lastModified), 0)}`;
    let tries = 0;
    for (;;) {
      try {
        let { have } = await this.send("GET", `upload?${facts}`, { signal });
        for (;;) {
          const offset = have;
          progress(offset);
          const body = await file.slice(offset, offset + PART).arrayBuffer();
          const digest = await contentDigest(body);
          const sent = (bytes) => progress(offset + bytes);
          const answer = await this.send("PUT", `upload?${facts}&offset=${offset}`, { body, digest, signal, progress: sent });
          if (answer.whole) return;
          have = answer.have;
          tries = 0;
        }
      } catch (error) {
        if (signal.aborted || !(error instanceof Refusal) || tries >= (AGAIN[error.status] ?? 0)) throw error;
        tries += 1;
        await pause(Math.min(500 * 2 ** tries, 15_000), signal);
      }
    }
  }
}

// RFC 9530. Only pages that came over a safe way have the means.
async function contentDigest(body) {
  if (!globalThis.crypto?.subtle) return "";
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", body));
  return `sha-256=:${btoa(String.fromCharCode(...digest))}:`;
}

// Files on their way in, some at a time. `view` is told of each that begins, goes on or ends, and of the whole.
export class Uploads {
  items = [];
  folders = [];
  active = false;
  // Why nothing more is sent, if that is so.
  stopped = "";
  sums = { files: 0, filesDone: 0, bytes: 0, sent: 0 };
  #next = 0;
  #abort = null;

  constructor(host, view) {
    Object.assign(this, { host, view });
  }

  get failed() {
    return this.items.filter((item) => item.state === "failed");
  }

  // `files` are {file, path}, `folders` the paths of empty ones.
  add(files, folders) {
    for (const { file, path } of files) {
      this.items.push({ file, path, sent: 0, state: "waiting", words: "" });
      this.sums.files += 1;
      this.sums.bytes += file.size;
    }
    this.folders.push(...folders);
    return this.run();
  }

  again() {
    for (const item of this.failed) Object.assign(item, { state: "waiting", words: "" });
    this.#next = 0;
    return this.run();
  }

  cancel() {
    this.#abort?.abort();
  }

  async run() {
    if (this.active) return;
    Object.assign(this, { active: true, stopped: "" });
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const results = await Promise.allSettled(Array.from({ length: AT_ONCE }, () => this.#work(signal)));
    const error = results.find((result) => result.status === "rejected" && result.reason !== signal.reason)?.reason;
    if (signal.aborted) {
      this.stopped = error ? inWords(error) : "Cancelled.";
      for (const item of this.items) if (item.state === "waiting") item.state = "failed";
    }
    this.active = false;
    this.view.ended(this);
  }

  // Until nothing waits. What would stop every other file too ends all of it.
  async #work(signal) {
    try {
      for (;;) {
        signal.throwIfAborted();
        const item = this.items[this.#next];
        if (item) {
          this.#next += 1;
          if (item.state === "waiting") await this.#send(item, signal);
        } else if (this.folders.length) await this.#makeFolders(signal);
        else return;
      }
    } catch (error) {
      this.#abort.abort();
      throw error;
    }
  }

  async #makeFolders(signal) {
    const paths = this.folders.splice(0, 500);
    try {
      await this.host.send("POST", "mkdir", { json: { paths }, signal });
    } catch (error) {
      this.folders.push(...paths);
      throw error;
    }
  }

  async #send(item, signal) {
    const at = (bytes) => {
      this.sums.sent += bytes - item.sent;
      item.sent = bytes;
      this.view.moved(this, item);
    };
    item.state = "sending";
    this.view.began(item);
    try {
      await this.host.sendFile(item.file, item.path, signal, at);
      item.state = "done";
      this.sums.filesDone += 1;
      at(item.file.size);
    } catch (error) {
      Object.assign(item, { state: "failed", words: signal.aborted ? "Cancelled." : inWords(error) });
      at(0);
      if (signal.aborted || STOPS_ALL.has(error.status)) throw error;
    }
  }
}
