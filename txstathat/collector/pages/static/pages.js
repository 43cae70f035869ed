// Updates the .live parts of a visible page: the list of stats, and the summary of a
// stat. All pages work without this script.
"use strict";

(function () {
  const SECONDS = 10;
  const live = [...document.querySelectorAll(".live[id]")].map((part) => part.id);

  // Preserves the focus of a link.
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
    let response, html;
    try {
      response = await fetch(location.href, { credentials: "same-origin" });
      html = new DOMParser().parseFromString(await response.text(), "text/html");
    } catch {
      return;
    }
    if (!response.ok) {
      // The collector, or a proxy, cannot answer now. The next turn tries again.
      return;
    }
    if (response.redirected || html.title !== document.title) {
      // Another page: the session has ended, or the first stat has arrived.
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
