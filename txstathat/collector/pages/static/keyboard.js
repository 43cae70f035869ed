// Keys: an element names its own in aria-keyshortcuts. A key focuses a field, and
// presses anything else. The key ? lists all keys of the page.
"use strict";

(function () {
  const NAMES = { ArrowLeft: "←", ArrowRight: "→", "Shift+ArrowLeft": "Shift ←",
    "Shift+ArrowRight": "Shift →" };

  function isBusy(target) {
    return target.closest("input, select, textarea, [contenteditable], dialog") !== null;
  }

  function nameOf(event) {
    const shift = event.shiftKey && event.key.length > 1 ? "Shift+" : "";
    return shift + event.key;
  }

  function find(key) {
    return [...document.querySelectorAll("[aria-keyshortcuts]")].find((each) =>
      each.getAttribute("aria-keyshortcuts").split(" ").includes(key) && !each.hidden);
  }

  function use(element) {
    if (element.matches("input, select, textarea")) {
      element.focus();
      element.select?.();
    } else {
      element.click();
    }
  }

  function describe(element) {
    return element.dataset.help || element.getAttribute("aria-label") ||
      element.labels?.[0]?.textContent || element.textContent;
  }

  function line(key, text) {
    const row = document.createElement("div");
    const name = document.createElement("dt");
    const what = document.createElement("dd");
    const cap = document.createElement("kbd");
    cap.textContent = NAMES[key] || key;
    name.append(cap);
    what.textContent = text;
    row.append(name, what);
    return row;
  }

  function showHelp() {
    const dialog = document.querySelector(".keys");
    const list = dialog.querySelector("dl");
    list.textContent = "";
    for (const element of document.querySelectorAll("[aria-keyshortcuts]")) {
      for (const key of element.getAttribute("aria-keyshortcuts").split(" ")) {
        list.append(line(key, describe(element)));
      }
    }
    list.append(line("Esc", "Close this list"));
    dialog.showModal();
  }

  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey ||
      isBusy(event.target)) {
      return;
    }
    const element = find(nameOf(event));
    if (element) {
      event.preventDefault();
      use(element);
    }
  });

  const help = document.querySelector(".help");
  if (help) {
    help.hidden = false;
    help.addEventListener("click", showHelp);
  }
})();
