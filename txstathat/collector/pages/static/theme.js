// Applies the theme that was chosen in this browser. It runs before the page is drawn,
// so that the page does not flash in other colors.
"use strict";

(function () {
  const KEY = "txstathat-theme";
  const THEMES = ["light", "dark"];

  function stored() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      // Storage may be turned off.
      return null;
    }
  }

  function store(theme) {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // The choice lasts as long as the page.
    }
  }

  function apply(theme) {
    const root = document.documentElement;
    if (THEMES.includes(theme)) {
      root.dataset.theme = theme;
    } else {
      delete root.dataset.theme;
    }
    // Charts are drawn with the colors of the page.
    document.dispatchEvent(new Event("txstathat-theme"));
  }

  function offer() {
    const select = document.querySelector(".theme select");
    if (!select) {
      return;
    }
    select.value = document.documentElement.dataset.theme || "system";
    select.addEventListener("change", () => {
      store(select.value);
      apply(select.value);
    });
    select.closest(".theme").hidden = false;
  }

  apply(stored());
  document.addEventListener("DOMContentLoaded", offer);
})();
