// Updates the .live parts of a visible page by conditional requests for the page, and
// says when it last did. All pages work without this script.
"use strict";

(function () {
  // Seconds between updates: the first number after a change, the last one at most.
  const FAST = 10;
  // A wall is watched by people who cannot press a key.
  const SLOW = document.documentElement.classList.contains("wall") ? FAST : 60;

  const live = [...document.querySelectorAll(".live[id]")].map((part) => part.id);
  const bar = document.querySelector(".updates");
  let delay = FAST;
  let timer = 0;
  let tag = "";
  let paused = false;
  let asking = false;
  let updated = Date.now();

  function ago(seconds) {
    return seconds < 60 ? `${seconds} s ago`
      : seconds < 3600 ? `${Math.floor(seconds / 60)} min ago`
        : `${Math.floor(seconds / 3600)} h ago`;
  }

  function showAge() {
    if (!bar) {
      return;
    }
    const age = Math.floor((Date.now() - updated) / 1000);
    bar.querySelector(".age").textContent = ago(age);
    bar.classList.toggle("stale", age > 2 * SLOW);
  }

  function pause() {
    const button = bar.querySelector("button");
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    if (!paused) {
      refresh();
    }
  }

  function isSelecting() {
    const selection = getSelection();
    return selection && !selection.isCollapsed;
  }

  function isTypingIn(part) {
    return part.contains(document.activeElement) &&
      document.activeElement.matches("input, select, textarea");
  }

  // Preserves the focus of a link or a button. A chart is drawn anew by its own script.
  function replace(old, fresh) {
    if (!fresh || isTypingIn(old)) {
      return;
    }
    if (old.matches(".txstathat-chart") && fresh.matches(".txstathat-chart")) {
      old.dispatchEvent(new CustomEvent("txstathat-fresh", { detail: fresh }));
      return;
    }
    const focused = old.contains(document.activeElement) && document.activeElement;
    old.replaceWith(fresh);
    if (focused) {
      [...fresh.querySelectorAll(focused.tagName)].find((each) =>
        each.href === focused.href && each.value === focused.value)?.focus();
    }
  }

  // What was shown is no longer there: say so, and stop.
  function end(html) {
    paused = true;
    bar?.setAttribute("hidden", "");
    const message = html.querySelector("[role=alert]");
    if (message) {
      document.getElementById("main").prepend(message);
    }
  }

  function show(html) {
    const page = (document) => document.getElementById("main")?.dataset.page;
    if (page(html) !== page(document)) {
      // Another page: the first stat has arrived, for example.
      location.reload();
      return;
    }
    document.title = html.title;
    for (const id of live) {
      const old = document.getElementById(id);
      if (old) {
        replace(old, html.getElementById(id));
      }
    }
  }

  async function ask() {
    const headers = tag ? { "If-None-Match": tag } : {};
    const response = await fetch(location.href, { credentials: "same-origin", headers });
    if (response.redirected || response.status === 403) {
      // The session has ended, or the shared link is revoked.
      location.reload();
      return;
    }
    if (response.status === 304) {
      delay = Math.min(2 * delay, SLOW);
      updated = Date.now();
      return;
    }
    const html = new DOMParser().parseFromString(await response.text(), "text/html");
    if (response.status === 404) {
      end(html);
    } else if (response.ok) {
      delay = tag ? FAST : delay;
      tag = response.headers.get("ETag") || "";
      updated = Date.now();
      show(html);
    } else {
      // The collector, or a proxy, cannot answer now.
      delay = Math.min(2 * delay, SLOW);
    }
  }

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden || paused || asking) {
      return;
    }
    if (!isSelecting()) {
      asking = true;
      try {
        await ask();
      } catch {
        delay = Math.min(2 * delay, SLOW);
      }
      asking = false;
    }
    showAge();
    timer = setTimeout(refresh, delay * 1000);
  }

  // A page with an error of a form stays as it is until the form is sent again.
  if (live.length > 0 && !document.querySelector("[aria-invalid]")) {
    bar?.removeAttribute("hidden");
    bar?.querySelector("button").addEventListener("click", pause);
    showAge();
    setInterval(() => document.hidden || showAge(), 1000);
    timer = setTimeout(refresh, delay * 1000);
    document.addEventListener("visibilitychange", refresh);
  }
})();
