// Draws every .txstathat-chart of a page from the table of numbers in it, keeps it
// fresh, and answers its controls. Needs plotly.js; needs no inline script or style.
"use strict";

(function () {
  const FINE = ["hour", "minute"];
  const COLORS = [
    "#3b82c4", "#d9822b", "#3a9d5d", "#c0504d", "#8064a2",
    "#8c6d46", "#d06fa8", "#7f8a93", "#a8a23c", "#2aa5b5",
  ];

  // Plotly reads some HTML in texts; a choice's name is text and nothing else.
  function plain(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function pad(number) {
    return String(number).padStart(2, "0");
  }

  // An instant as the viewer's clock shows it.
  function local(instant) {
    const t = new Date(instant);
    return `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())}` +
      ` ${pad(t.getHours())}:${pad(t.getMinutes())}`;
  }

  function viewerZone() {
    return Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
  }

  function isFine(chart) {
    return FINE.includes(chart.dataset.scale);
  }

  function zoneShown(chart) {
    return isFine(chart) ? `${viewerZone()}, your zone` : chart.dataset.zone;
  }

  function number(cell) {
    return cell.textContent === "" ? null : Number(cell.textContent);
  }

  // The table, as columns: what is drawn is what is written.
  function read(chart) {
    const table = chart.querySelector("table");
    const heads = [...table.querySelectorAll("thead th")].map((th) => th.textContent);
    const rows = [...table.querySelectorAll("tbody tr")].filter((tr) =>
      tr.querySelector("th"));
    const labels = rows.map((tr) => tr.querySelector("th").textContent);
    const links = rows.map((tr) => tr.querySelector("th a"));
    const columns = heads.slice(1).map((_, n) =>
      rows.map((tr) => number(tr.querySelectorAll("td")[n])));
    return { heads, labels, links, columns };
  }

  function tellTimes(chart) {
    const caption = chart.querySelector("caption");
    if (!chart.dataset.scale) {
      return;
    }
    caption.textContent = `${chart.querySelector("h2").textContent}` +
      ` (times: ${zoneShown(chart)})`;
    if (isFine(chart)) {
      for (const time of chart.querySelectorAll("tbody time")) {
        time.textContent = local(time.dateTime);
      }
    }
  }

  // A point between gaps, which has no line to be seen by.
  function isLonely(n, at, column) {
    return n !== null && (column[at - 1] ?? null) === null &&
      (column[at + 1] ?? null) === null;
  }

  const draw = {
    pie(data) {
      return [{
        type: "pie", labels: data.labels.map(plain), values: data.columns[0],
        sort: false, textinfo: "percent", hoverinfo: "label+value+percent",
        textposition: "inside", marker: { colors: COLORS },
      }];
    },
    bars(data) {
      return [{
        type: "bar", x: data.labels, y: data.columns[0], name: plain(data.heads[1]),
        marker: { color: COLORS[0] },
      }];
    },
    lines(data) {
      return data.columns.map((column, n) => ({
        type: "scatter",
        mode: column.length > 60 && !column.some(isLonely) ? "lines" : "lines+markers",
        x: data.labels, y: column, name: plain(data.heads[n + 1]),
        line: { color: COLORS[n % COLORS.length], width: 2 }, marker: { size: 5 },
        connectgaps: false,
      }));
    },
    panels(data) {
      // From top to bottom as in the table; long names are cut, hovering tells all.
      const names = data.labels.map(plain);
      const keys = names.map((_, n) => n);
      return data.columns.map((column, n) => ({
        type: "bar", orientation: "h", x: column, y: keys, name: data.heads[n + 1],
        xaxis: n ? "x2" : "x", marker: { color: COLORS[n] },
        customdata: names, hovertemplate: "%{customdata}: %{x}<extra></extra>",
      }));
    },
  };

  function layout(chart, data, style) {
    const kind = chart.dataset.kind;
    const line = "rgba(128, 128, 128, 0.3)";
    const shared = {
      paper_bgcolor: "rgba(0, 0, 0, 0)", plot_bgcolor: "rgba(0, 0, 0, 0)",
      font: { color: style.color, family: style.fontFamily, size: 13 },
      margin: { l: 56, r: 16, t: 16, b: 56 }, autosize: true,
      legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" },
      hoverlabel: { namelength: -1 }, uirevision: location.search,
      xaxis: { gridcolor: line, linecolor: line, automargin: true },
      yaxis: { gridcolor: line, zerolinecolor: line, rangemode: "tozero",
        automargin: true },
    };
    if (kind === "bars" || kind === "lines") {
      shared.hovermode = kind === "lines" ? "x unified" : "closest";
      shared.hoverlabel.bgcolor = style.getPropertyValue("--txstathat-raised");
      shared.xaxis.type = "date";
      shared.xaxis.title = {
        text: plain(`${chart.dataset.scale} (${zoneShown(chart)})`),
      };
      shared.showlegend = data.columns.length > 1;
      Object.assign(shared.xaxis, { tickangle: 0, nticks: chart.clientWidth < 500 ? 4 : 9 });
      if (!isFine(chart) && data.labels.length <= (chart.clientWidth < 500 ? 4 : 9)) {
        // Few whole days need no hours between them.
        Object.assign(shared.xaxis, { tickvals: data.labels, ticktext: data.labels });
      }
    }
    if (kind === "panels") {
      shared.showlegend = false;
      shared.height = Math.max(240, 120 + 28 * data.labels.length);
      shared.margin.b = 72;
      const most = chart.clientWidth < 500 ? 16 : 32;
      const short = data.labels.map((l) => plain(l.length > most ? `…${l.slice(1 - most)}` : l));
      shared.yaxis = { autorange: "reversed", automargin: true, fixedrange: true,
        ticklabelstandoff: 6, tickvals: short.map((_, n) => n), ticktext: short };
      shared.xaxis = { gridcolor: line, domain: [0, 0.45], title: { text: "count" },
        nticks: 4, tickangle: 0, rangemode: "tozero" };
      shared.xaxis2 = { gridcolor: line, domain: [0.55, 1], title: { text: "average" },
        nticks: 4, tickangle: 0, rangemode: "tozero" };
    }
    // Powers of ten are drawn with inline styles, which the policy forbids: 1e15 instead.
    const most = Math.max(...data.columns.flat().map(Math.abs));
    if (most !== 0 && (most >= 1e14 || most < 1e-9)) {
      for (const axis of [shared.xaxis, shared.xaxis2, shared.yaxis]) {
        Object.assign(axis || {}, { exponentformat: "e" });
      }
    }
    return shared;
  }

  function show(chart) {
    const picture = chart.querySelector(".txstathat-picture");
    const data = read(chart);
    const style = getComputedStyle(chart);
    const traces = draw[chart.dataset.kind];
    if (data.labels.length === 0) {
      Plotly.purge(picture);
      picture.textContent = "Nothing yet.";
      chart.dataset.drawn = "empty";
      return;
    }
    if (chart.dataset.drawn === "empty") {
      picture.textContent = "";
    }
    Plotly.react(picture, traces(data), layout(chart, data, style), {
      responsive: true, displaylogo: false, displayModeBar: false,
    }).then(() => {
      if (chart.dataset.drawn !== "yes") {
        picture.on("plotly_click", (event) => {
          const link = read(chart).links[event.points[0].pointNumber];
          if (link) {
            go(chart, link.href);
          }
        });
      }
      chart.dataset.drawn = "yes";
    });
  }

  function isWholePage(chart) {
    return document.body.classList.contains("txstathat-page") &&
      location.pathname.replace(/\/$/, "") === chart.dataset.path;
  }

  async function fetched(chart, url) {
    const address = new URL(url, location.href);
    address.searchParams.set("format", "fragment");
    const answer = await fetch(address, { credentials: "same-origin" });
    const html = new DOMParser().parseFromString(await answer.text(), "text/html");
    const section = html.querySelector("section.txstathat-chart");
    const words = html.querySelector(".txstathat-words");
    if (!section && !words) {
      throw new Error(`status ${answer.status}`);
    }
    return { section, words };
  }

  function tell(chart, text) {
    let line = chart.querySelector(".txstathat-words");
    if (!line) {
      line = document.createElement("p");
      line.className = "txstathat-words";
      line.setAttribute("role", "alert");
      chart.querySelector(".txstathat-picture").before(line);
    }
    line.textContent = text;
    line.hidden = !text;
  }

  // Another question: the whole chart is replaced.
  async function go(chart, url) {
    let answer;
    try {
      answer = await fetched(chart, url);
    } catch {
      tell(chart, "No answer: is the server there?");
      return;
    }
    if (answer.words) {
      tell(chart, answer.words.textContent);
      return;
    }
    if (isWholePage(chart)) {
      history.replaceState(null, "", url);
    }
    const open = chart.querySelector("details").open;
    const focus = document.activeElement && document.activeElement.id;
    Plotly.purge(chart.querySelector(".txstathat-picture"));
    chart.replaceWith(answer.section);
    answer.section.querySelector("details").open = open;
    start(answer.section);
    if (focus) {
      document.getElementById(focus)?.focus();
    }
  }

  // The same question again: only the numbers change, under the viewer's hands.
  async function refresh(chart) {
    if (document.hidden || !chart.isConnected) {
      return;
    }
    let answer;
    try {
      answer = await fetched(chart, chart.dataset.url);
    } catch {
      tell(chart, "No answer: these numbers are old.");
      return;
    }
    if (answer.words) {
      tell(chart, answer.words.textContent);
      return;
    }
    tell(chart, "");
    for (const part of [".txstathat-total", "table"]) {
      chart.querySelector(part).replaceWith(answer.section.querySelector(part));
    }
    tellTimes(chart);
    show(chart);
  }

  function start(chart) {
    if (chart.dataset.started) {
      return;
    }
    chart.dataset.started = "yes";
    chart.dataset.url = `${chart.dataset.path}?${chart.dataset.query}`;
    const form = chart.querySelector("form");
    const ask = () => go(chart,
      `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      ask();
    });
    form.addEventListener("change", ask);
    chart.addEventListener("click", (event) => {
      const link = event.target.closest("tbody a, .txstathat-trail a");
      if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
        event.preventDefault();
        go(chart, link.href);
      }
    });
    tellTimes(chart);
    show(chart);
    const seconds = Number(chart.dataset.refresh);
    if (seconds > 0) {
      const timer = setInterval(() => {
        if (chart.isConnected) {
          refresh(chart);
        } else {
          clearInterval(timer);
        }
      }, seconds * 1000);
    }
  }

  function startAll() {
    document.querySelectorAll(".txstathat-chart").forEach(start);
  }

  startAll();
  new MutationObserver(startAll).observe(document.body, {
    childList: true, subtree: true,
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    document.querySelectorAll(".txstathat-chart").forEach(show));
})();
