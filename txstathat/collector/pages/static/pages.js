// Keeps what is marked .live fresh while it is in view: the list of stats, and a
// stat's summary. All pages work without this.
"use strict";

(function () {
  const SECONDS = 10;
  const live = [...document.querySelectorAll(".live[id]")].map((part) => part.id);

  // A link keeps the focus, though the element is another one.
  function replace(id, fresh) {
    const old = document.getElementById(id);
    const focused = old.contains(document.activeElement) && document.activeElement;
    old.replaceWith(fresh);
    if (focused && focused.href) {
      [...fresh.querySelectorAll("a")].find((a) => a.href === focused.href)?.focus();
    }
  }

  function isSelecting() {
    const selection = getSelection();
    return selection && !selection.isCollapsed;
  }

  async function refresh() {
    if (document.hidden || isSelecting()) {
      return;
    }
    let answer, html;
    try {
      answer = await fetch(location.href, { credentials: "same-origin" });
      html = new DOMParser().parseFromString(await answer.text(), "text/html");
    } catch {
      return;
    }
    if (!answer.ok) {
      // The collector or a proxy before it says: not now. This page goes on trying.
      return;
    }
    if (answer.redirected || html.title !== document.title) {
      // Another page: signed out in another window, say, or the first stat has come.
      location.reload();
      return;
    }
    for (const id of live) {
      const fresh = html.getElementById(id);
      if (fresh) {
        replace(id, fresh);
      }
    }
  }

  if (live.length > 0) {
    setInterval(refresh, SECONDS * 1000);
    document.addEventListener("visibilitychange", refresh);
  }
})();
