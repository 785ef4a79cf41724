// Draws every figure.chart from the figures that stand in its data-chart:
//   {"x": [unix seconds], "series": [{"name", "values", "kind": "line" | "bar", "unit", "tone"}]}
// and, where a page says so: "stacked": true (bars on top of each other), "sums": true (the legend
// shows what bars come to), "period": "hour" | "day" | "month" (what a bar stands for), "zone" (the
// time zone of the periods; else the browser's), and as a series' tone "failed" or "rest".
// A chart is drawn anew when its page brings other figures, its width changes, or the theme does;
// series that a visitor hid stay hidden.
"use strict";
(() => {
  const SECONDS = { hour: 3600, day: 86400, month: 2_630_000 };
  const STEPS = { hour: [1, 2, 3, 6, 12, 24, 48, 72, 168], day: [1, 2, 3, 5, 7, 14, 28, 56], month: [1, 2, 3, 6, 12] };
  const LABEL = { hour: 46, day: 54, month: 70 };
  const DASHES = [[], [7, 4], [2, 3]];
  const COLOURS = 6;
  const drawn = new Map();

  // --- words ---

  const small = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
  const plain = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
  const money = new Intl.NumberFormat("en", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

  function spell(value, unit) {
    if (value == null) return "—";
    const large = /^[A-Z]{3}$/.test(unit || "") ? money : plain;
    const text = (value !== 0 && Math.abs(value) < 1 ? small : large).format(value);
    return unit ? `${text} ${unit}` : text;
  }

  const clocks = new Map();

  function clock(zone, kind) {
    const name = `${zone} ${kind}`;
    if (!clocks.has(name)) {
      const parts = {
        hour: { hour: "2-digit", minute: "2-digit" },
        second: { hour: "2-digit", minute: "2-digit", second: "2-digit" },
        day: { day: "numeric", month: "short" },
        month: { month: "short", year: "numeric" },
        whole: { day: "numeric", month: "short", year: "numeric" },
      }[kind];
      clocks.set(name, new Intl.DateTimeFormat("en-GB", { timeZone: zone, hourCycle: "h23", ...parts }));
    }
    return clocks.get(name);
  }

  function say(at, zone, kind) {
    return clock(zone, kind).format(at * 1000);
  }

  function sayWhole(data, at) {
    if (data.period === "month") return say(at, data.zone, "month");
    if (data.period === "day") return say(at, data.zone, "whole");
    return `${say(at, data.zone, "whole")}, ${say(at, data.zone, data.period ? "hour" : "second")}`;
  }

  // --- axes ---

  // A token says a colour for each theme: it is one of them only where it is used.
  function token(name) {
    const probe = document.body.appendChild(document.createElement("span"));
    probe.style.color = `var(${name})`;
    const colour = getComputedStyle(probe).color;
    probe.remove();
    return colour;
  }

  // The periods that have room for a label: every hour of a step, else counted from the latest.
  function labelled(data, width) {
    const room = Math.max(1, Math.floor(width / LABEL[data.period]));
    const step = STEPS[data.period].find((one) => data.x.length / one <= room) || Math.ceil(data.x.length / room);
    if (data.period === "hour" && step <= 24) {
      const fits = data.x.filter((at) => Number(say(at, data.zone, "hour").slice(0, 2)) % step === 0);
      if (fits.length) return fits;
    }
    return data.x.filter((_at, index) => (data.x.length - 1 - index) % step === 0);
  }

  // Times of day, with the date beneath where it is another than before.
  function withDates(ticks, zone, kind) {
    let day = null;
    return ticks.map((at) => {
      const [before, text] = [day, say(at, zone, kind)];
      day = say(at, zone, "day");
      return day === before ? text : `${text}\n${day}`;
    });
  }

  function tickTexts(data, ticks, apart) {
    if (data.period === "month") return ticks.map((at) => say(at, data.zone, "month"));
    if (data.period === "day" || (!data.period && apart >= SECONDS.day)) return ticks.map((at) => say(at, data.zone, "day"));
    return withDates(ticks, data.zone, data.period || apart >= 60 ? "hour" : "second");
  }

  function timeAxis(data, looks) {
    const axis = { ...looks, size: 46, values: (_plot, ticks, _axis, _space, apart) => tickTexts(data, ticks, apart) };
    if (data.period) axis.splits = (plot) => labelled(data, plot.width - 80);
    return axis;
  }

  function sharedUnit(data) {
    const units = new Set(data.series.map((one) => one.unit || ""));
    const [unit] = units;
    return units.size === 1 && unit.length <= 4 ? unit : "";
  }

  function valueAxis(data, looks) {
    const unit = sharedUnit(data);
    const isWhole = data.series.every((one) => one.values.every((value) => value == null || Number.isInteger(value)));
    const axis = {
      ...looks,
      size: (_plot, texts) => Math.max(44, 20 + 7 * Math.max(0, ...(texts || []).map((text) => text.length))),
      values: (_plot, ticks) => ticks.map((tick) => (unit ? `${compact.format(tick)} ${unit}` : compact.format(tick))),
    };
    if (isWhole) axis.incrs = Array.from({ length: 16 }, (_one, power) => [1, 2, 5].map((digit) => digit * 10 ** power)).flat();
    return axis;
  }

  // Half a period of room at both ends, so that the outer bars are whole and a lone point is in the middle.
  function timeRange(data, low, high) {
    if (low == null) return [0, 1];
    const alone = low === high ? 60 : 0;
    const half = data.period ? SECONDS[data.period] * 0.6 : alone;
    return [low - half, high + half];
  }

  // --- series; stacked ones are drawn from the top down, each over what reaches higher ---

  function order(data) {
    const indexes = data.series.map((_one, index) => index);
    return data.stacked ? indexes.reverse() : indexes;
  }

  // A bar of nothing is not drawn: it would be a dash on the axis.
  function raised(one, sums) {
    return one.values.map((value, at) => (value ? (sums[at] += value) : null));
  }

  function heights(data, hidden) {
    const sums = data.x.map(() => 0);
    const values = data.series.map((one) => {
      if (hidden.has(one.name)) return one.values.map(() => null);
      return data.stacked ? raised(one, sums) : one.values;
    });
    return [data.x, ...order(data).map((index) => values[index])];
  }

  function colourName(one, index) {
    if (one.tone === "failed") return "--failed";
    return `--chart-${one.tone === "rest" ? COLOURS : (index % COLOURS) + 1}`;
  }

  // A point between gaps would not be seen as a line.
  function lonePoints(plot, at) {
    const values = plot.data[at];
    if (values.length < 40) return values.map((value, index) => (value == null ? -1 : index)).filter((index) => index >= 0);
    return values.flatMap((value, index) => (value != null && values[index - 1] == null && values[index + 1] == null ? [index] : []));
  }

  function plotted(one, index) {
    const colour = token(colourName(one, index));
    if (one.kind === "bar") {
      return { label: one.name, stroke: token("--card"), width: 1, fill: colour, paths: uPlot.paths.bars({ size: [0.72, 56] }), points: { show: false } };
    }
    const points = { show: true, filter: lonePoints, size: 6, fill: colour };
    return { label: one.name, stroke: colour, width: 2, dash: DASHES[index % DASHES.length], points };
  }

  function optionsOf(figure, data, state) {
    const line = { stroke: token("--line"), width: 1 };
    const looks = { stroke: token("--quiet"), grid: line, ticks: line };
    return {
      width: figure.clientWidth,
      height: Number(figure.dataset.height),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, y: false, points: { show: !data.series.some((one) => one.kind === "bar") } },
      scales: {
        x: { time: true, range: (_plot, low, high) => timeRange(state.data, low, high) },
        y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
      },
      axes: [timeAxis(data, { ...looks, grid: { show: false } }), valueAxis(data, looks)],
      series: [{}, ...order(data).map((index) => plotted(data.series[index], index))],
      hooks: { setCursor: [(plot) => tell(state, plot.cursor.idx)] },
    };
  }

  // --- legend: what each colour is, its value where the pointer is, and a switch ---

  function element(name, className, text) {
    const made = document.createElement(name);
    made.className = className;
    if (text != null) made.textContent = text;
    return made;
  }

  function entry(one, index, state) {
    const button = element("button", "quiet small");
    button.type = "button";
    button.setAttribute("aria-pressed", String(!state.hidden.has(one.name)));
    const mark = element("span", `swatch ${one.kind === "bar" ? "bar-mark" : `line-mark dash-${index % DASHES.length}`} ${colourName(one, index).slice(2)}`);
    const value = element("span", "value");
    button.append(mark, element("span", "series", one.name), value);
    button.addEventListener("click", () => toggle(state, one.name, button));
    state.values.push(value);
    const item = element("li", "");
    item.append(button);
    return item;
  }

  function legend(state) {
    const list = element("ul", "");
    state.when = element("span", "when");
    state.values = [];
    list.append(...state.data.series.map((one, index) => entry(one, index, state)));
    const whole = element("figcaption", "legend");
    whole.append(list, state.when);
    return whole;
  }

  function toggle(state, name, button) {
    if (!state.hidden.delete(name)) state.hidden.add(name);
    button.setAttribute("aria-pressed", String(!state.hidden.has(name)));
    state.plot.setData(heights(state.data, state.hidden));
  }

  function atRest(data, one) {
    if (data.sums) return one.values.reduce((sum, value) => sum + (value || 0), 0);
    return one.values.findLast((value) => value != null);
  }

  function tell(state, at) {
    if (!state.when) return;
    const { data } = state;
    const idle = data.sums ? "Total" : "Latest";
    state.when.textContent = at == null ? idle : sayWhole(data, data.x[at]);
    data.series.forEach((one, index) => {
      state.values[index].textContent = spell(at == null ? atRest(data, one) : one.values[at], one.unit);
    });
  }

  // --- drawing ---

  // What of a chart cannot change without drawing it anew.
  function shapeOf(data) {
    const whole = data.series.map((one) => one.values.every((value) => value == null || Number.isInteger(value)));
    return JSON.stringify([data.stacked, data.sums, data.period, data.zone, data.x.length > 0, whole, data.series.map((one) => [one.name, one.kind, one.unit, one.tone])]);
  }

  function clear(figure, state) {
    if (state.plot) state.plot.destroy();
    figure.replaceChildren();
  }

  function draw(figure, state) {
    clear(figure, state);
    state.text = figure.dataset.chart;
    state.data = JSON.parse(state.text);
    state.shape = shapeOf(state.data);
    state.width = figure.clientWidth;
    state.plot = state.when = null;
    if (!state.data.x.length || !state.data.series.length) {
      figure.append(element("p", "quiet", "Nothing in this time."));
      return;
    }
    const canvas = element("div", "canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", figure.getAttribute("aria-label"));
    figure.append(canvas, legend(state));
    state.plot = new uPlot(optionsOf(figure, state.data, state), heights(state.data, state.hidden), canvas);
    tell(state, null);
  }

  // The same chart with other figures: nothing is built anew, so nothing flickers.
  function renew(figure, state) {
    const data = JSON.parse(figure.dataset.chart);
    if (!state.plot || shapeOf(data) !== state.shape) return draw(figure, state);
    state.text = figure.dataset.chart;
    // What the axes were made with is this very object.
    Object.assign(state.data, data);
    state.plot.setData(heights(state.data, state.hidden));
    tell(state, state.plot.cursor.idx);
  }

  function resize(figure, state) {
    state.width = figure.clientWidth;
    state.plot.setSize({ width: state.width, height: Number(figure.dataset.height) });
  }

  function fit(figure, isForced) {
    const state = drawn.get(figure);
    if (!state || !figure.isConnected || figure.clientWidth === 0) return;
    if (isForced || state.text === null) draw(figure, state);
    else if (state.text !== figure.dataset.chart) renew(figure, state);
    else if (state.plot && state.width !== figure.clientWidth) resize(figure, state);
  }

  // Later, so that drawing does not disturb the very measuring that led here.
  const watcher = new ResizeObserver((entries) => {
    requestAnimationFrame(() => entries.forEach((one) => fit(one.target, false)));
  });

  function forget(figure, state) {
    watcher.unobserve(figure);
    if (state.plot) state.plot.destroy();
    drawn.delete(figure);
  }

  function refresh(isForced) {
    for (const [figure, state] of drawn) if (!figure.isConnected) forget(figure, state);
    for (const figure of document.querySelectorAll("figure.chart")) {
      if (!drawn.has(figure)) {
        drawn.set(figure, { text: null, hidden: new Set(), values: [] });
        watcher.observe(figure);
      }
      fit(figure, isForced);
    }
  }

  // A renewed page holds an empty figure with new data: what is drawn stays, and is drawn on.
  const callbacks = Idiomorph.defaults.callbacks;
  const morphed = callbacks.beforeNodeMorphed;
  callbacks.beforeNodeMorphed = (old, fresh) => {
    if (!(old instanceof Element) || !old.matches("figure.chart")) return morphed(old, fresh);
    old.dataset.chart = fresh.dataset.chart;
    old.setAttribute("aria-label", fresh.getAttribute("aria-label"));
    return false;
  };

  document.addEventListener("htmx:afterSettle", () => refresh(false));
  document.addEventListener("themechange", () => refresh(true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => refresh(true));
  refresh(false);
})();
