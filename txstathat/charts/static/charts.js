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

  // The color behind what is shown beside the pointer, and behind a saved picture.
  function raised(chart) {
    return getComputedStyle(chart.querySelector(".txstathat-picture")).caretColor;
  }

  function isFine(chart) {
    return FINE.includes(chart.dataset.scale);
  }

  function timesIn(chart) {
    return `Times in ${isFine(chart) ? viewerZone() : chart.dataset.zone}`;
  }

  // A number is in the text of its cell, unless the text is shortened for people.
  function number(cell) {
    const text = cell.dataset.value ?? cell.textContent;
    return text === "" ? null : Number(text);
  }

  // The notes of a table: their moments and words.
  function marksIn(chart) {
    return [...chart.querySelectorAll("tbody .txstathat-marks [data-time]")].map((mark) =>
      ({ time: mark.dataset.time, text: mark.textContent }));
  }

  function levelsIn(chart) {
    return [...chart.querySelectorAll(".txstathat-levels [data-value]")].map((level) =>
      ({ value: number(level), figure: level.textContent,
        text: level.parentElement.textContent }));
  }

  // The table as columns: the picture is drawn from it.
  function read(chart) {
    const table = chart.querySelector("table");
    const heads = [...table.querySelectorAll("thead th:not(.txstathat-marks)")].map((th) =>
      th.textContent);
    const rows = [...table.querySelectorAll("tbody tr")].filter((tr) =>
      tr.querySelector("th"));
    const labels = rows.map((tr) => tr.querySelector("th").textContent);
    const links = rows.map((tr) => tr.querySelector("th a"));
    const cells = rows.map((tr) => tr.querySelectorAll("td"));
    const columns = heads.slice(1).map((_, n) => cells.map((row) => number(row[n])));
    const texts = heads.slice(1).map((_, n) =>
      cells.map((row) => plain(row[n].textContent)));
    const { unfinished, earlier, figures, unit } = chart.dataset;
    const data = { heads, labels, links, columns, texts, unit, x: labels,
      marks: marksIn(chart), levels: levelsIn(chart), unfinished: unfinished === "yes",
      earlier: earlier === "yes", short: figures === "short", kind: chart.dataset.kind };
    const instants = isFine(chart) ? instantsIn(chart) : [];
    const changes = clockChanges(instants);
    if (changes) {
      // At one offset for all, or the line would run back where an hour comes twice.
      data.fixed = offset(instants[instants.length - 1]);
      data.x = instants.map((instant) => at(data.fixed, instant));
    }
    data.step = stepOf(instants.length ? instants : labels);
    for (const mark of data.marks) {
      mark.x = changes ? at(data.fixed, mark.time) : isFine(chart) ? local(mark.time)
        : mark.time.slice(0, 16).replace("T", " ");
    }
    return data;
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

  // What is shown beside the pointer: the text of the table, with the unit.
  function hover(data, n) {
    if (!data.short) {
      return {};
    }
    const unit = data.unit ? ` ${plain(data.unit)}` : "";
    return { customdata: data.texts[n],
      hovertemplate: `${plain(data.heads[n + 1])} %{customdata}${unit}<extra></extra>` };
  }

  function line(data, column, n, more) {
    return {
      type: "scatter",
      mode: column.length > 60 && !column.some(isLonely) ? "lines" : "lines+markers",
      x: data.x, y: column, name: plain(data.heads[n + 1]),
      line: { color: COLORS[n % COLORS.length], width: 2 }, marker: { size: 5 },
      connectgaps: false, ...hover(data, n), ...more,
    };
  }

  // How long the first step lasts, for plotly: milliseconds, or months such as "M1".
  function stepOf(labels) {
    const [begin, end] = labels.slice(0, 2).map((label) => new Date(label));
    if (!end || Number.isNaN(end.getTime())) {
      return undefined;
    }
    const months = 12 * (end.getUTCFullYear() - begin.getUTCFullYear()) +
      end.getUTCMonth() - begin.getUTCMonth();
    return months > 0 && end - begin > 27 * 864e5 ? `M${months}` : end - begin;
  }

  // Draws the values of steps in the middle of their time, where notes are at their own.
  function inSteps(data) {
    return data.short ? { xperiod: data.step, xperiodalignment: "middle",
      xperiod0: data.x[0] } : {};
  }

  // The line of an earlier time, across its gaps.
  function earlierLine(data) {
    const n = data.columns.length - 1;
    return line(data, data.columns[n], n, { mode: "lines", connectgaps: true,
      ...(data.kind === "bars" ? inSteps(data) : {}),
      opacity: 0.55, line: { color: data.color, width: 1.5, dash: "dash" } });
  }

  // A line to the last point, which is dotted: its time is not over.
  function unfinishedLine(data, column, n) {
    const last = column.length - 1;
    const all = line(data, column, n);
    if (last < 1 || column[last] === null || column[last - 1] === null) {
      return [all];
    }
    const still = { ...all, mode: "lines", hoverinfo: "skip", hovertemplate: undefined };
    const seen = all.mode.includes("markers") ? 1 : 0;
    return [
      { ...still, y: column.with(last, null) },
      { ...still, y: column.map((value, at) => at < last - 1 ? null : value),
        showlegend: false, line: { ...all.line, dash: "dot" } },
      // All points, for the pointer.
      { ...all, mode: "markers", showlegend: false, marker: { ...all.marker,
        color: all.line.color, opacity: column.map((_, at) => at === last ? 1 : seen) } },
    ];
  }

  function pieces(data, column, n) {
    return data.unfinished ? unfinishedLine(data, column, n) : [line(data, column, n)];
  }

  // The notes, as points at the top that show their words.
  function markPoints(data) {
    if (data.marks.length === 0) {
      return [];
    }
    return [{
      type: "scatter", mode: "markers", yaxis: "y9", x: data.marks.map((mark) => mark.x),
      y: data.marks.map(() => 1), customdata: data.marks.map((mark) => plain(mark.text)),
      hovertemplate: "%{customdata}<extra></extra>", showlegend: false, cliponaxis: false,
      marker: { symbol: "triangle-down", size: 10, color: COLORS[1] },
    }];
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
      const last = data.x.length - 1;
      const bars = {
        type: "bar", x: data.x, y: data.columns[0], name: plain(data.heads[1]),
        marker: { color: COLORS[0] }, ...hover(data, 0), ...inSteps(data),
      };
      if (data.unfinished) {
        // Its bar is dotted: its time is not over.
        bars.marker.pattern = { shape: data.x.map((_, n) => n === last ? "." : ""),
          fgcolor: COLORS[0], bgcolor: "rgba(0, 0, 0, 0)", solidity: 0.5, size: 5 };
      }
      return [bars, ...(data.earlier ? [earlierLine(data)] : []), ...markPoints(data)];
    },
    lines(data) {
      const own = data.earlier ? data.columns.slice(0, -1) : data.columns;
      const lines = own.flatMap((column, n) => pieces(data, column, n));
      return [...(data.earlier ? [earlierLine(data)] : []), ...lines, ...markPoints(data)];
    },
    pair(data) {
      return draw.axes(data);
    },
    axes(data) {
      const lines = data.columns.flatMap((column, n) =>
        pieces(data, column, n).map((each) => ({ ...each, yaxis: n ? `y${n + 1}` : "y" })));
      return [...lines, ...markPoints(data)];
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

  // Whole numbers have no ticks between them. Others may share their axis.
  function wholeTicks(axis, column, others = []) {
    if (column.every((n) => n === null || Number.isInteger(n))) {
      const most = Math.max(...[...column, ...others].map(Math.abs));
      Object.assign(axis, most > 10 ? { tickformat: ",d" } : { tickformat: ",d", dtick: 1 });
    }
  }

  // The vertical lines of notes, and the horizontal ones of levels.
  function shapes(data) {
    const thin = { width: 1, color: COLORS[1] };
    return [
      ...data.marks.map((mark) => ({ type: "line", x0: mark.x, x1: mark.x, y0: 0, y1: 1,
        yref: "paper", line: thin })),
      ...data.levels.map((level) => ({ type: "line", x0: 0, x1: 1, xref: "paper",
        y0: level.value, y1: level.value, line: { ...thin, color: COLORS[3], dash: "dash" } })),
    ];
  }

  // The heights of levels, in the margin at the right: there they cover nothing. The list
  // above the picture says what they mean.
  function addLevelFigures(shared, data) {
    shared.annotations = data.levels.map((level) => ({ x: 1, xref: "paper",
      xanchor: "left", xshift: 2, y: level.value, text: plain(level.figure),
      showarrow: false, font: { size: 12 } }));
    const longest = Math.max(0, ...data.levels.map((level) => level.figure.length));
    shared.margin.r += 8 * longest;
  }

  // A picture that leaves the page has no list: so the words stand above it.
  function withLevelTexts(shown, data) {
    if (data.levels.length === 0) {
      return shown;
    }
    const texts = data.levels.map((level, n) => ({ x: 0, xref: "paper", xanchor: "left",
      y: 1, yref: "paper", yanchor: "bottom", yshift: 4 + 18 * n, text: plain(level.text),
      showarrow: false, font: { size: 12 } }));
    return { ...shown, annotations: [...shown.annotations, ...texts],
      margin: { ...shown.margin, t: shown.margin.t + 18 * texts.length } };
  }

  // Axes with thousands separators, a unit, and room for levels.
  function refine(shared, data) {
    Object.assign(shared.yaxis, { separatethousands: true, exponentformat: "none" });
    if (data.unit) {
      shared.yaxis.title = { text: plain(data.unit) };
    }
    if (data.short) {
      shared.bargap = data.x.length > 60 ? 0.1 : 0.2;
      wholeTicks(shared.yaxis, data.columns[0],
        [...data.columns.flat(), ...data.levels.map((level) => level.value)]);
      shared.hovermode = "x unified";
    }
    addLevelFigures(shared, data);
    addMarks(shared, data);
  }

  function addMarks(shared, data) {
    shared.shapes = shapes(data);
    if (data.marks.length > 0) {
      shared.yaxis9 = { overlaying: "y", range: [0, 1], visible: false, fixedrange: true };
    }
  }

  // An axis for each line, in its color; in turn on the left and on the right. Where
  // there is no room for more than two, hovering and the table show the other numbers.
  function addAxes(shared, data, isNarrow) {
    data.columns.forEach((_, n) => {
      const color = COLORS[n % COLORS.length];
      shared[n ? `yaxis${n + 1}` : "yaxis"] = {
        color, gridcolor: "rgba(128, 128, 128, 0.3)", showgrid: n === 0,
        rangemode: "tozero", side: n % 2 ? "right" : "left", nticks: 6,
        showticklabels: !isNarrow || n < 2, automargin: true, zeroline: n === 0,
        ...(n ? { overlaying: "y" } : {}),
        ...(n > 1 && !isNarrow
          ? { anchor: "free", autoshift: true, ticks: "outside" } : {}),
      };
      wholeTicks(shared[n ? `yaxis${n + 1}` : "yaxis"], data.columns[n]);
    });
    addMarks(shared, data);
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
      shared.hoverlabel.bgcolor = raised(chart);
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
    if (kind === "lines" || kind === "bars") {
      refine(shared, data);
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
    data.color = style.color;
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

  // The section or the message at an address; neither if nothing has changed since the
  // response with a tag.
  async function fetchChart(url, tag) {
    const address = new URL(url, location.href);
    address.searchParams.set("format", "fragment");
    const headers = tag ? { "If-None-Match": tag } : {};
    const response = await fetch(address, { credentials: "same-origin", headers });
    if (response.status === 304) {
      return {};
    }
    const html = new DOMParser().parseFromString(await response.text(), "text/html");
    const section = html.querySelector("section.txstathat-chart");
    const message = html.querySelector(".txstathat-message");
    if (!section && !message) {
      throw new Error(`status ${response.status}`);
    }
    return { section, message, tag: response.headers.get("ETag") };
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
      response = await fetchChart(url);
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
      response = await fetchChart(chart.dataset.url, chart.dataset.tag);
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
    if (response.section) {
      chart.dataset.tag = response.tag || "";
      update(chart, response.section);
    }
  }

  // Takes the numbers of a fresh chart.
  function update(chart, fresh) {
    for (const part of [".txstathat-total", ".txstathat-note", ".txstathat-levels", "table"]) {
      chart.querySelector(part).replaceWith(fresh.querySelector(part));
    }
    for (const name of ["kind", "scale", "zone", "unit", "unfinished", "earlier"]) {
      chart.dataset[name] = fresh.dataset[name];
    }
    localizeTimes(chart);
    show(chart);
  }

  function save(address, name) {
    const link = document.createElement("a");
    link.href = address;
    link.download = name;
    link.click();
  }

  function nameOf(chart, form) {
    return `${chart.dataset.file}.${form}`;
  }

  // The picture as SVG, in the colors of the page.
  async function pictureOf(chart) {
    const picture = chart.querySelector(".txstathat-picture");
    const { width, height } = picture.getBoundingClientRect();
    const { data, layout: shown } = picture;
    return { width, height, address: await Plotly.toImage(
      { data, layout: withLevelTexts({ ...shown, paper_bgcolor: raised(chart) },
        read(chart)) },
      { format: "svg", width, height }) };
  }

  // Plotly's own PNG needs blob: addresses, which the policy forbids.
  async function download(chart, form) {
    const { address, width, height } = await pictureOf(chart);
    if (form === "svg") {
      save(address, nameOf(chart, form));
      return;
    }
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = 2 * width;
    canvas.height = 2 * height;
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    save(canvas.toDataURL("image/png"), nameOf(chart, form));
  }

  function addDownloads(chart) {
    for (const button of chart.querySelectorAll(".txstathat-save")) {
      button.addEventListener("click", () => download(chart, button.dataset.form).catch(
        () => showMessage(chart, "This browser cannot save the picture.")));
    }
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
    // A page that updates itself hands over the fresh chart.
    chart.addEventListener("txstathat-fresh", (event) => update(chart, event.detail));
    addDownloads(chart);
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
  function showAll() {
    document.querySelectorAll(".txstathat-chart[data-drawn]").forEach(show);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAll);
  // A page with a choice of colors says so when it changes them.
  document.addEventListener("txstathat-theme", showAll);
})();
