// Sends a form once, and has screen readers say what it did. All forms work without this
// script.
"use strict";

(function () {
  // A second click on a button does not send its form again, unless the first request
  // was stopped, or somebody went back.
  const TWICE = 3000;
  const sent = new Set();
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") {
      return;
    }
    if (sent.has(event.target)) {
      event.preventDefault();
      return;
    }
    sent.add(event.target);
    setTimeout(() => sent.delete(event.target), TWICE);
  });
  addEventListener("pageshow", () => sent.clear());

  // Screen readers announce a status that changes, not one that was there from the start.
  const flash = document.querySelector(".flash");
  if (flash) {
    setTimeout(() => flash.replaceChildren(...flash.childNodes), 500);
  }
})();
