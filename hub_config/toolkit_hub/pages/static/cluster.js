"use strict";
// Keeps the page of the cluster true: every few seconds its own content is fetched again, while somebody looks at it.
(() => {
  const EVERY_MS = 5000;
  const token = document.querySelector('meta[name="xsrf-token"]').content;

  async function refresh() {
    if (document.hidden) return;
    const reply = await fetch(location.pathname, { headers: { "X-XSRFToken": token } });
    if (!reply.ok || reply.redirected) return;
    const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").getElementById("live");
    const live = document.getElementById("live");
    // What is focused stays: a keyboard user must not lose the place.
    if (fresh && fresh.innerHTML !== live.innerHTML && !live.contains(document.activeElement)) live.replaceWith(fresh);
  }

  const again = () => refresh().catch((error) => console.info("the service does not answer; trying again", error));
  setInterval(again, EVERY_MS);
  document.addEventListener("visibilitychange", again);
})();
