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

  async function read(path, headers, use) {
    const reply = await get(path, headers);
    if (!reply.ok) return reply.status;
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
  let offset = 0;
  (async () => {
    let status;
    do {
      try {
        status = await read(`/logs?follow=true&offset=${offset}`, {}, (text, length) => {
          offset += length;
          const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
          log.textContent = (log.textContent + text).slice(-KEEP);
          if (atEnd) log.scrollTop = log.scrollHeight;
        });
      } catch {
        status = 0;
      }
      if (status !== 200) await pause(1000);
    } while (status === 0 || status >= 500);
  })();
})();
