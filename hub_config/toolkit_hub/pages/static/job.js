"use strict";
// Keeps a job's page true: state and reason from the event stream, output from the log stream.
(() => {
  const card = document.getElementById("job");
  const token = document.querySelector('meta[name="xsrf-token"]').content;
  const get = (path, headers) => fetch(card.dataset.api + path, { headers: { "X-XSRFToken": token, ...headers } });

  function show(job) {
    const state = document.getElementById("state");
    state.textContent = job.state;
    state.className = "state " + job.state.toLowerCase();
    document.getElementById("info").textContent = job.stateInfo;
    document.getElementById("actions").hidden = !job.alive;
    if (job.state === "RUNNING" && "openLab" in card.dataset) {
      delete card.dataset.openLab;
      location.replace(card.dataset.lab);
    }
  }

  // What a long answer brings, as it comes; the status if it brings nothing.
  async function read(path, headers, use, opened = () => {}) {
    const reply = await get(path, headers);
    if (!reply.ok) return reply.status;
    opened(reply.headers);
    const reader = reply.body.getReader();
    const decoder = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return 200;
      await use(decoder.decode(value, { stream: true }), value.length);
    }
  }

  const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

  // Until the job has ended; a broken connection is taken up again where it broke.
  async function follow(step) {
    for (;;) {
      try {
        const reply = await get("");
        if (reply.status === 401 || reply.status === 404) return location.reload();
        if (reply.ok) {
          const job = await reply.json();
          show(job);
          await step();
          if (!job.alive) return;
          continue;
        }
      } catch (error) {
        console.info("the service does not answer; trying again", error);
      }
      await pause(1000);
    }
  }

  let lastEvent = "0";
  let buffered = "";
  follow(() =>
    read("/events", { "Last-Event-ID": lastEvent }, async (text) => {
      buffered += text;
      const parts = buffered.split("\n\n");
      buffered = parts.pop();
      for (const part of parts) {
        const id = /^id: (\d+)$/m.exec(part);
        if (id) lastEvent = id[1];
      }
      if (parts.length) {
        const reply = await get("");
        if (reply.ok) show(await reply.json());
      }
    }),
  );

  const log = document.getElementById("log");
  const KEEP = 400000; // characters; the command line has the rest
  let run = null; // index of the run that is shown; null: the newest, whichever that is
  let offset = 0; // position in the run's whole output

  function print(text) {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.textContent = (log.textContent + text).slice(-KEEP);
    if (atEnd) log.scrollTop = log.scrollHeight;
  }

  // One answer is without gaps: where it begins later than asked for, output is not kept.
  function logOpened(headers) {
    const start = Number(headers.get("X-Toolkit-Log-Start"));
    run = Number(headers.get("X-Toolkit-Run-Index"));
    if (start > offset) print(`\n[… ${start - offset} bytes of output are not kept here …]\n`);
    offset = start;
  }

  async function runHasEnded() {
    const reply = await get("");
    if (!reply.ok) return false;
    const job = await reply.json();
    const newest = Math.max(0, ...job.runs.map((one) => one.index));
    if (job.alive && newest <= run) return false;
    return { next: newest > run };
  }

  (async () => {
    for (;;) {
      const wanted = `/logs?follow=true&gap=end&offset=${offset}${run === null ? "" : `&run=${run}`}`;
      let status = 0;
      let received = 0;
      let ended = false;
      try {
        status = await read(wanted, {}, (text, length) => {
          offset += length;
          received += length;
          print(text);
        }, logOpened);
        if (status === 200 && received === 0) ended = await runHasEnded();
      } catch (error) {
        console.info("the output breaks off; going on where it broke", error);
      }
      if (status >= 400 && status < 500) return;
      if (ended && !ended.next) return;
      if (ended) {
        run += 1;
        offset = 0;
        print(`\n[… run ${run} …]\n`);
      } else if (received === 0) await pause(1000);
    }
  })();
})();
