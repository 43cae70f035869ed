// Boards: times in the viewer's time zone, the order of tiles, and the full screen of a
// wall. All of it also works without this script, except the last.
"use strict";

(function () {
  // -- times

  function pad(number) {
    return String(number).padStart(2, "0");
  }

  function localizeTimes() {
    for (const time of document.querySelectorAll(".plot-times time")) {
      if (time.dateTime.endsWith("Z") && !time.dataset.local) {
        const t = new Date(time.dateTime);
        time.dataset.local = "yes";
        time.textContent = `${pad(t.getMonth() + 1)}-${pad(t.getDate())} ` +
          `${pad(t.getHours())}:${pad(t.getMinutes())}`;
      }
    }
  }

  const main = document.querySelector("main");
  if (document.getElementById("board")) {
    localizeTimes();
    // The page replaces its numbers.
    new MutationObserver(localizeTimes).observe(main, { childList: true, subtree: true });
  }

  // -- the order of tiles

  function startOrder(list) {
    const status = document.getElementById("order-status");
    let saved = order();
    let saving = Promise.resolve();

    function rows() {
      return [...list.children];
    }

    function order() {
      return [...list.children].map((row) => row.dataset.tile).join(",");
    }

    function setButtons() {
      rows().forEach((row, n, all) => {
        row.querySelector("[value=up]").disabled = n === 0;
        row.querySelector("[value=down]").disabled = n === all.length - 1;
      });
    }

    async function send(wanted) {
      if (wanted !== order()) {
        return; // it was moved again
      }
      let response;
      try {
        response = await fetch(list.dataset.path, {
          method: "POST",
          credentials: "same-origin",
          body: new URLSearchParams({ action: "order", order: wanted }),
        });
      } catch {
        status.textContent = "The order is not saved: the server does not answer.";
        return;
      }
      if (!response.ok || response.redirected &&
          new URL(response.url).pathname !== new URL(list.dataset.path, location).pathname) {
        location.reload(); // the session has ended, or the board is deleted
        return;
      }
      saved = wanted;
    }

    function save(row) {
      setButtons();
      const place = rows().indexOf(row) + 1;
      status.textContent = `Place ${place} of ${rows().length}`;
      const wanted = order();
      if (wanted !== saved) {
        saving = saving.then(() => send(wanted));
      }
    }

    // The other row moves in the page: so this one keeps the focus and the pointer.
    function swap(row, other, by) {
      if (by < 0) {
        row.after(other);
      } else {
        row.before(other);
      }
    }

    function move(row, by) {
      const other = by < 0 ? row.previousElementSibling : row.nextElementSibling;
      if (!other) {
        return;
      }
      swap(row, other, by);
      save(row);
    }

    function drag(row, handle, event) {
      handle.setPointerCapture(event.pointerId);
      row.classList.add("dragged");
      const follow = (moved) => {
        const before = row.previousElementSibling;
        const after = row.nextElementSibling;
        const middle = (other) => {
          const box = other.getBoundingClientRect();
          return box.top + box.height / 2;
        };
        if (before && moved.clientY < middle(before)) {
          swap(row, before, -1);
        } else if (after && moved.clientY > middle(after)) {
          swap(row, after, 1);
        }
      };
      const end = () => {
        handle.removeEventListener("pointermove", follow);
        handle.removeEventListener("pointerup", end);
        handle.removeEventListener("pointercancel", end);
        row.classList.remove("dragged");
        save(row);
        handle.focus();
      };
      handle.addEventListener("pointermove", follow);
      handle.addEventListener("pointerup", end);
      handle.addEventListener("pointercancel", end);
    }

    document.getElementById("order-hint").hidden = false;
    for (const row of rows()) {
      const handle = row.querySelector(".handle");
      handle.hidden = false;
      handle.addEventListener("pointerdown", (event) => {
        if (event.button === 0) {
          event.preventDefault();
          drag(row, handle, event);
        }
      });
      handle.addEventListener("keydown", (event) => {
        const by = { ArrowUp: -1, ArrowDown: 1 }[event.key];
        if (by) {
          event.preventDefault();
          move(row, by);
        }
      });
    }
    list.dataset.ready = "yes";
  }

  document.querySelectorAll(".tile-rows").forEach(startOrder);

  // -- the wall

  // The controls and the pointer disappear when the mouse rests.
  if (document.querySelector(".wall-controls")) {
    let resting = 0;
    document.addEventListener("pointermove", () => {
      document.documentElement.classList.add("moved");
      clearTimeout(resting);
      resting = setTimeout(() => document.documentElement.classList.remove("moved"), 3000);
    });
  }

  const button = document.getElementById("full-screen");
  if (button && document.fullscreenEnabled) {
    button.hidden = false;
    const toggle = () => (document.fullscreenElement
      ? document.exitFullscreen() : document.documentElement.requestFullscreen());
    button.addEventListener("click", toggle);
    document.addEventListener("fullscreenchange", () => {
      button.textContent = document.fullscreenElement ? "Leave full screen" : "Full screen";
    });
  }
})();
