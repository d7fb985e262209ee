"use strict";
// Charts of what a job uses: small SVG pictures, drawn anew every few seconds, with their values in a table.
(() => {
  const section = document.getElementById("use");
  const token = document.querySelector('meta[name="xsrf-token"]').content;
  const charts = document.getElementById("charts");
  const choice = document.getElementById("window");
  const note = document.getElementById("use-note");
  const values = document.getElementById("values");
  const SVG = "http://www.w3.org/2000/svg";
  // The picture's own units: it is as wide as its place, and its letters grow with it only a little.
  const WIDTH = 560, HEIGHT = 170, LEFT = 66, RIGHT = 12, TOP = 10, BOTTOM = 24;
  const EVERY_S = { 1800: 5, 7200: 30, 86400: 60, 2592000: 300 };
  let shown = null; // the newest answer
  let timer = 0;

  // --- words

  const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"];
  function bytes(value) {
    let power = 0;
    while (value >= 1023.95 && power < UNITS.length - 1) {
      value /= 1024;
      power += 1;
    }
    return `${power && value < 99.95 ? Number(value.toFixed(1)) : Math.round(value)} ${UNITS[power]}`;
  }
  const FORMS = {
    cores: (value) => `${Number(value.toFixed(value < 1 ? 3 : 2))}`,
    memory: (value) => bytes(value * 2 ** 30),
    rate: (value) => `${bytes(value)}/s`,
    percent: (value) => `${Math.round(value)}%`,
  };
  const two = (number) => String(number).padStart(2, "0");
  function clockWords(ms, long) {
    const at = new Date(ms);
    const day = `${at.getUTCFullYear()}-${two(at.getUTCMonth() + 1)}-${two(at.getUTCDate())}`;
    const hours = `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}`;
    return long ? `${day} ${hours}:${two(at.getUTCSeconds())}` : hours;
  }

  // --- scales

  // Round numbers from 0 up to a little over `most`; in bytes they are round by powers of two.
  function ticks(most, binary) {
    const base = binary ? 2 : 10;
    const unit = base ** Math.floor(Math.log(most / 4) / Math.log(base));
    const steps = binary ? [1, 2] : [1, 2, 5, 10];
    const step = (steps.find((one) => (unit * one * 4) >= most) ?? steps.at(-1)) * unit;
    const found = [];
    for (let value = 0; value < most + step * 0.999 && found.length < 8; value += step) found.push(value);
    return found;
  }

  // Some full hours, or whatever fits the window.
  const TIME_STEPS = [300, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 432000];
  function timeTicks(begin, end) {
    const step = 1000 * (TIME_STEPS.find((one) => (end - begin) / 1000 / one <= 7) ?? TIME_STEPS.at(-1));
    const found = [];
    for (let at = Math.ceil(begin / step) * step; at <= end; at += step) found.push(at);
    return { at: found, days: step >= 86400000 };
  }

  // --- drawing

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  // A line is broken where nothing is known.
  function path(points, x, y, value, gap) {
    let text = "";
    let before = null;
    for (const point of points) {
      const height = value(point);
      if (height === null || height === undefined) {
        before = null;
        continue;
      }
      const at = Date.parse(point.time);
      const joined = before !== null && at - before <= gap;
      // A point by itself is drawn as a short stroke.
      text += joined ? `L${x(at).toFixed(1)} ${y(height).toFixed(1)}` : `M${x(at).toFixed(1)} ${y(height).toFixed(1)}h.01`;
      before = at;
    }
    return text;
  }

  function draw(chart, begin, end, step) {
    const most = Math.max(0, ...chart.lines.flatMap((line) => line.points.map((one) => line.high(one) ?? 0)));
    // A limit far above what is used would press the line to the floor; the heading tells it anyway.
    const withLimit = chart.limit && most >= chart.limit / 4;
    const highest = withLimit ? Math.max(chart.limit, most) : most * 1.05;
    const heights = chart.heights ?? ticks(Math.max(highest, chart.least), chart.binary);
    const top = heights.at(-1);
    const x = (at) => LEFT + ((at - begin) / (end - begin)) * (WIDTH - LEFT - RIGHT);
    const y = (value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - TOP - BOTTOM);
    const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": `${chart.id}-title` });
    element("title", { id: `${chart.id}-title` }, svg, `${chart.name}: ${chart.words}`);
    for (const value of heights) {
      element("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }, svg);
      element("text", { class: "tick", x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, svg, chart.form(value));
    }
    const times = timeTicks(begin, end);
    for (const at of times.at) {
      const words = times.days ? clockWords(at, true).slice(5, 10) : clockWords(at, false);
      element("text", { class: "tick", x: x(at), y: HEIGHT - 6, "text-anchor": "middle" }, svg, words);
    }
    if (withLimit) {
      element("line", { class: "limit", x1: LEFT, x2: WIDTH - RIGHT, y1: y(chart.limit), y2: y(chart.limit) }, svg);
    }
    chart.lines.forEach((line, number) => {
      const gap = step * 2500;
      element("path", { class: `high line-${number % 4}`, d: path(line.points, x, y, line.high, gap) }, svg);
      element("path", { class: `line line-${number % 4}`, d: path(line.points, x, y, line.mean, gap) }, svg);
    });
    return svg;
  }

  function legend(chart) {
    const list = document.createElement("span");
    list.className = "legend";
    chart.lines.forEach((line, number) => {
      const sample = element("svg", { viewBox: "0 0 22 8", width: 22, height: 8, "aria-hidden": "true" });
      element("path", { class: `line line-${number % 4}`, d: "M0 4H22" }, sample);
      const item = document.createElement("span");
      item.append(sample, ` ${line.name}`);
      list.append(item);
    });
    return list;
  }

  function figure(chart, begin, end, step) {
    const made = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("b");
    name.textContent = chart.name;
    const now = document.createElement("span");
    now.textContent = chart.words;
    caption.append(name, now);
    if (chart.lines.length > 1) caption.append(legend(chart));
    made.append(caption, draw(chart, begin, end, step));
    return made;
  }

  // --- what there is to draw

  const line = (name, points, key) => ({ name, points, key, mean: (one) => one[key], high: (one) => one[`${key}Max`] });

  function lastKnown(points, key) {
    for (let index = points.length - 1; index >= 0; index -= 1) {
      if (points[index][key] !== null) return points[index][key];
    }
    return null;
  }

  function chartOf(id, name, form, lines, options = {}) {
    const last = lines.map((one) => [one.name, lastKnown(one.points, one.key)]);
    const told = last.filter(([, value]) => value !== null).map(([label, value]) => (label ? `${label} ${form(value)}` : form(value)));
    const words = (told.join(", ") || "not known") + (options.limit ? ` of ${form(options.limit)}` : "") + (options.unit ?? "");
    return { id, name, form, lines, words, least: 1, binary: false, ...options };
  }

  function chartsOf(answer) {
    const { points, devicePoints } = answer;
    const found = [
      chartOf("cpu", "CPU", FORMS.cores, [line("", points, "cpu")], { limit: answer.cpuLimit, least: 0.1, unit: answer.cpuLimit === 1 ? " core" : " cores" }),
      chartOf("memory", "Memory", FORMS.memory, [line("", points, "memory")], { limit: answer.memoryLimit, least: 2 ** -6, binary: true }),
      chartOf("disk", "Disks", FORMS.rate, [line("read", points, "diskRead"), line("write", points, "diskWrite")], { least: 4096, binary: true }),
      chartOf("network", "Network", FORMS.rate, [line("in", points, "netReceived"), line("out", points, "netSent")], { least: 4096, binary: true }),
    ];
    const uuids = [...new Set(devicePoints.map((one) => one.device))];
    if (uuids.length) {
      const each = (key) => uuids.map((uuid, number) => {
        return line(uuids.length > 1 ? `GPU ${number}` : "", devicePoints.filter((one) => one.device === uuid), key);
      });
      found.push(chartOf("gpu", "GPU use", FORMS.percent, each("use"), { heights: [0, 25, 50, 75, 100] }));
      found.push(chartOf("gpu-memory", "GPU memory", FORMS.memory, each("memory"), { least: 2 ** -4, binary: true }));
    }
    return found;
  }

  // --- the table

  function fillTable(list) {
    const columns = list.flatMap((chart) => chart.lines.map((one) => ({ title: `${chart.name} ${one.name}`.trim(), chart, one })));
    const rows = new Map();
    columns.forEach(({ one }, number) => {
      for (const point of one.points) {
        if (!rows.has(point.time)) rows.set(point.time, []);
        rows.get(point.time)[number] = one.mean(point);
      }
    });
    const head = document.createElement("tr");
    for (const title of ["time (UTC)", ...columns.map((one) => one.title)]) {
      const cell = document.createElement("th");
      if (head.children.length) cell.className = "number";
      cell.scope = "col";
      cell.textContent = title;
      head.append(cell);
    }
    const lines = [...rows.keys()].sort().reverse().map((time) => {
      const row = document.createElement("tr");
      const first = document.createElement("th");
      first.scope = "row";
      first.textContent = clockWords(Date.parse(time), true);
      row.append(first);
      columns.forEach(({ chart }, number) => {
        const cell = document.createElement("td");
        const value = rows.get(time)[number];
        cell.className = "number";
        cell.textContent = value === null || value === undefined ? "–" : chart.form(value);
        row.append(cell);
      });
      return row;
    });
    values.querySelector("thead").replaceChildren(head);
    values.querySelector("tbody").replaceChildren(...lines);
  }

  function show(answer) {
    shown = answer;
    const begin = Date.parse(answer.begin), end = Date.parse(answer.end);
    const list = chartsOf(answer);
    const any = answer.points.length > 0;
    charts.replaceChildren(...(any ? list.map((chart) => figure(chart, begin, end, answer.step)) : []));
    values.hidden = !any;
    const each = answer.step < 60 ? `${answer.step} s` : answer.step < 3600 ? `${answer.step / 60} min` : `${answer.step / 3600} h`;
    const told = answer.step <= 5 ? "Each point is one reading" : `Each point is the mean of ${each}; the pale line is the highest reading in it`;
    note.textContent = any ? `${told}. Times are in UTC.` : "Nothing was measured in this time.";
    if (values.open) fillTable(list);
  }

  // --- fetching

  async function load() {
    clearTimeout(timer);
    const length = Number(choice.value);
    // Of a job that has ended, its last moments.
    const end = section.dataset.ended ? new Date(Date.parse(section.dataset.ended) + 5000) : new Date();
    const begin = new Date(end - length * 1000);
    const query = new URLSearchParams({ from: begin.toISOString(), to: end.toISOString() });
    try {
      const reply = await fetch(`${section.dataset.api}/metrics?${query}`, { headers: { "X-XSRFToken": token } });
      if (reply.ok && Number(choice.value) === length) show(await reply.json());
      if (reply.status === 401 || reply.status === 404) return;
    } catch (error) {
      console.info("the service does not answer; trying again", error);
    }
    timer = setTimeout(load, 1000 * (EVERY_S[length] ?? 60));
  }

  choice.addEventListener("change", load);
  values.addEventListener("toggle", () => values.open && shown && fillTable(chartsOf(shown)));
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : load()));
  load();
})();
