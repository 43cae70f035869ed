// Draws every .txstathat-chart of a page from the table in it, updates it, and handles
// its controls. Needs plotly.js; needs no inline script or style.
"use strict";

(function () {
  const FINE = ["hour", "minute"];
  const COLORS = [
    "#3b82c4", "#d9822b", "#3a9d5d", "#c0504d", "#8064a2",
    "#8c6d46", "#d06fa8", "#7f8a93", "#a8a23c", "#2aa5b5",
  ];

  // Plotly interprets some HTML in texts; the name of a choice is plain text.
  function plain(text) {
    return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
  }

  function pad(number) {
    return String(number).padStart(2, "0");
  }

  // A time in the viewer's time zone.
  function local(instant) {
    const t = new Date(instant);
    return `${t.getFullYear()}-${pad(t.getMonth() + 1)}-${pad(t.getDate())}` +
      ` ${pad(t.getHours())}:${pad(t.getMinutes())}`;
  }

  // The viewer's offset from UTC at a time, in minutes.
  function offset(instant) {
    return -new Date(instant).getTimezoneOffset();
  }

  function offsetText(minutes) {
    const size = Math.abs(minutes);
    return `${minutes < 0 ? "-" : "+"}${pad(Math.floor(size / 60))}:${pad(size % 60)}`;
  }

  // A time at a fixed offset from UTC.
  function at(minutes, instant) {
    const moved = new Date(new Date(instant).getTime() + minutes * 60000);
    return moved.toISOString().slice(0, 16).replace("T", " ");
  }

  // Whether the viewer's clock is changed within the times of a table: then an hour
  // comes twice, or is left out.
  function clockChanges(instants) {
    return new Set(instants.map(offset)).size > 1;
  }

  function instantsIn(chart) {
    return [...chart.querySelectorAll("tbody th time")].map((time) => time.dateTime);
  }

  function viewerZone() {
    return Intl.DateTimeFormat().resolvedOptions().timeZone || "local time";
  }

  function isFine(chart) {
    return FINE.includes(chart.dataset.scale);
  }

  function timesIn(chart) {
    return `Times in ${isFine(chart) ? viewerZone() : chart.dataset.zone}`;
  }

  function number(cell) {
    return cell.textContent === "" ? null : Number(cell.textContent);
  }

  // The table as columns: the picture is drawn from it.
  function read(chart) {
    const table = chart.querySelector("table");
    const heads = [...table.querySelectorAll("thead th")].map((th) => th.textContent);
    const rows = [...table.querySelectorAll("tbody tr")].filter((tr) =>
      tr.querySelector("th"));
    const labels = rows.map((tr) => tr.querySelector("th").textContent);
    const links = rows.map((tr) => tr.querySelector("th a"));
    const columns = heads.slice(1).map((_, n) =>
      rows.map((tr) => number(tr.querySelectorAll("td")[n])));
    const instants = isFine(chart) ? instantsIn(chart) : [];
    if (!clockChanges(instants)) {
      return { heads, labels, links, columns, x: labels };
    }
    // At one offset for all, or the line would run back where an hour comes twice.
    const fixed = offset(instants[instants.length - 1]);
    return { heads, labels, links, columns, fixed,
      x: instants.map((instant) => at(fixed, instant)) };
  }

  function localizeTimes(chart) {
    const caption = chart.querySelector("caption");
    if (!chart.dataset.scale) {
      return;
    }
    caption.textContent =
      `${chart.querySelector("h2").textContent}. ${timesIn(chart)}`;
    if (isFine(chart)) {
      const changes = clockChanges(instantsIn(chart));
      for (const time of chart.querySelectorAll("tbody time, .txstathat-note time")) {
        const instant = time.dateTime;
        time.textContent = local(instant) +
          (changes ? ` ${offsetText(offset(instant))}` : "");
      }
    }
  }

  // A point between gaps, which no line makes visible.
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
        type: "bar", x: data.x, y: data.columns[0], name: plain(data.heads[1]),
        marker: { color: COLORS[0] },
      }];
    },
    lines(data) {
      return data.columns.map((column, n) => ({
        type: "scatter",
        mode: column.length > 60 && !column.some(isLonely) ? "lines" : "lines+markers",
        x: data.x, y: column, name: plain(data.heads[n + 1]),
        line: { color: COLORS[n % COLORS.length], width: 2 }, marker: { size: 5 },
        connectgaps: false,
      }));
    },
    pair(data) {
      return draw.lines(data).map((line, n) => ({ ...line, yaxis: `y${n + 1}` }));
    },
    axes(data) {
      return draw.pair(data);
    },
    panels(data) {
      // From top to bottom as in the table. Long names are cut; hovering shows them.
      const names = data.labels.map(plain);
      const keys = names.map((_, n) => n);
      return data.columns.map((column, n) => ({
        type: "bar", orientation: "h", x: column, y: keys, name: data.heads[n + 1],
        xaxis: n ? "x2" : "x", marker: { color: COLORS[n] },
        customdata: names, hovertemplate: "%{customdata}: %{x}<extra></extra>",
      }));
    },
  };

  // An axis for each line, in its color; in turn on the left and on the right. Where
  // there is no room for them, hovering and the table show the numbers.
  function addAxes(shared, data, isNarrow) {
    data.columns.forEach((_, n) => {
      const color = COLORS[n % COLORS.length];
      shared[n ? `yaxis${n + 1}` : "yaxis"] = {
        color, gridcolor: "rgba(128, 128, 128, 0.3)", showgrid: n === 0,
        rangemode: "tozero", side: n % 2 ? "right" : "left", nticks: 6,
        showticklabels: !isNarrow, automargin: true, zeroline: n === 0,
        ...(n ? { overlaying: "y" } : {}),
        ...(n > 1 ? { anchor: "free", autoshift: true, ticks: "outside" } : {}),
      };
    });
  }

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
    if (kind !== "pie" && kind !== "panels") {
      shared.hovermode = kind === "bars" ? "closest" : "x unified";
      shared.hoverlabel.bgcolor = style.getPropertyValue("--txstathat-raised");
      shared.xaxis.type = "date";
      shared.xaxis.title = { text: plain(data.fixed === undefined ? timesIn(chart)
        : `Times at UTC${offsetText(data.fixed)}: the clock is changed here`) };
      shared.showlegend = data.columns.length > 1;
      Object.assign(shared.xaxis, { tickangle: 0, nticks: chart.clientWidth < 500 ? 4 : 9 });
      if (!isFine(chart) && data.labels.length <= (chart.clientWidth < 500 ? 4 : 9)) {
        // With few whole days, ticks at hours between them would mislead.
        Object.assign(shared.xaxis, { tickvals: data.labels, ticktext: data.labels });
      }
    }
    if (kind === "pair") {
      shared.yaxis.title = { text: plain(data.heads[1]) };
      shared.yaxis2 = { title: { text: plain(data.heads[2]) }, overlaying: "y",
        side: "right", showgrid: false, rangemode: "tozero", automargin: true };
    }
    if (kind === "axes") {
      addAxes(shared, data, chart.clientWidth < 700);
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
      for (const name of Object.keys(shared).filter((key) => /^[xy]axis/.test(key))) {
        Object.assign(shared[name], { exponentformat: "e" });
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
      picture.textContent = "No data yet.";
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
            load(chart, link.href);
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

  async function fetchChart(chart, url) {
    const address = new URL(url, location.href);
    address.searchParams.set("format", "fragment");
    const response = await fetch(address, { credentials: "same-origin" });
    const html = new DOMParser().parseFromString(await response.text(), "text/html");
    const section = html.querySelector("section.txstathat-chart");
    const message = html.querySelector(".txstathat-message");
    if (!section && !message) {
      throw new Error(`status ${response.status}`);
    }
    return { section, message };
  }

  function showMessage(chart, text) {
    let line = chart.querySelector(".txstathat-message");
    if (!line) {
      line = document.createElement("p");
      line.className = "txstathat-message";
      line.setAttribute("role", "alert");
      chart.querySelector(".txstathat-picture").before(line);
    }
    line.textContent = text;
    line.hidden = !text;
  }

  // A new query: replace the whole chart.
  async function load(chart, url) {
    let response;
    try {
      response = await fetchChart(chart, url);
    } catch {
      showMessage(chart, "The server does not answer. Try again.");
      return;
    }
    if (response.message) {
      showMessage(chart, response.message.textContent);
      return;
    }
    if (isWholePage(chart)) {
      history.replaceState(null, "", url);
    }
    const open = chart.querySelector("details").open;
    const focus = document.activeElement && document.activeElement.id;
    Plotly.purge(chart.querySelector(".txstathat-picture"));
    chart.replaceWith(response.section);
    response.section.querySelector("details").open = open;
    start(response.section);
    if (focus) {
      document.getElementById(focus)?.focus();
    }
  }

  // The same query: replace only the numbers, so that the controls stay usable.
  async function refresh(chart) {
    if (document.hidden || !chart.isConnected) {
      return;
    }
    let response;
    try {
      response = await fetchChart(chart, chart.dataset.url);
    } catch {
      showMessage(chart,
        "The server does not answer. These numbers are out of date.");
      return;
    }
    if (response.message) {
      showMessage(chart, response.message.textContent);
      return;
    }
    showMessage(chart, "");
    for (const part of [".txstathat-total", ".txstathat-note", "table"]) {
      chart.querySelector(part).replaceWith(response.section.querySelector(part));
    }
    localizeTimes(chart);
    show(chart);
  }

  function start(chart) {
    if (chart.dataset.started) {
      return;
    }
    chart.dataset.started = "yes";
    chart.dataset.url = `${chart.dataset.path}?${chart.dataset.query}`;
    const form = chart.querySelector("form");
    const submit = () => load(chart,
      `${form.getAttribute("action")}?${new URLSearchParams(new FormData(form))}`);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      submit();
    });
    form.addEventListener("change", submit);
    chart.addEventListener("click", (event) => {
      const link = event.target.closest("tbody a, .txstathat-trail a");
      if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
        event.preventDefault();
        load(chart, link.href);
      }
    });
    localizeTimes(chart);
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
