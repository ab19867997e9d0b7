// What a click in a figure does, by the keyboard: arrow keys move over its points or cells, or
// through its steps; a ring shows where one stands and a line says it.

import { axisOf, stepOf, wordsOf } from "./read.js";

const RING_PX = 18;
const POINTS = "Arrow keys move over the points, Enter chooses one, Escape leaves.";
const STEPS = "Arrow keys move through the steps, Space plays and pauses.";
const style = document.createElement("style");
style.textContent = `
.figure-ring { position: absolute; box-sizing: border-box; border: 2px dashed #111;
  outline: 2px solid #fff; pointer-events: none; z-index: 1; }
.figure-words { position: absolute; left: 0; bottom: 0; max-width: 100%; box-sizing: border-box;
  padding: 2px 6px; font: 12px/1.4 var(--st-font); white-space: pre-line; pointer-events: none;
  color: var(--st-text-color); background: var(--st-background-color);
  border: 1px solid var(--st-border-color); border-radius: 4px; z-index: 1; }
.figure-words:empty { display: none; }`;
document.head.append(style);

let told = 0;

function made(tag, name) {
  const node = document.createElement(tag);
  node.className = name;
  return node;
}

/** Walks over a figure, which has `place`, `plot`, `wanted`, `marks` and `clicked`. */
export class Walk {
  constructor(figure, frame) {
    this.figure = figure;
    this.ring = made("div", "figure-ring");
    this.words = made("div", "figure-words");
    this.words.setAttribute("role", "status");
    this.help = made("div", "");
    this.help.id = `figure-help-${told += 1}`;
    this.help.hidden = true;
    frame.append(this.words, this.help);
    figure.place.addEventListener("keydown", event => this.key(event));
    figure.place.addEventListener("blur", () => this.leave());
  }

  /** Say what the keys do, where they do anything. */
  offer() {
    const { place, wanted, figure, reading } = this.figure;
    const help = reading ? "" : wanted.clicks ? POINTS : figure.layout.sliders ? STEPS : "";
    this.help.textContent = help;
    // Else a screen reader keeps the arrow keys to itself.
    place.setAttribute("role", help ? "application" : "figure");
    if (help) place.setAttribute("aria-describedby", this.help.id);
    else place.removeAttribute("aria-describedby");
  }

  leave() {
    this.at = null;
    this.ring.remove();
    this.words.textContent = "";
  }

  key(event) {
    const { place, plot, wanted } = this.figure;
    if (!plot || event.target !== place || event.altKey || event.ctrlKey || event.metaKey) return;
    const [slider] = plot._fullLayout.sliders ?? [];
    const taken = wanted.clicks ? this.step(event.key) : slider && this.turn(slider, event.key);
    if (taken) event.preventDefault();
  }

  /** A key on points; whether it means anything here. */
  step(key) {
    if (key === "Escape" && this.at) {
      this.leave();
    } else if ((key === "Enter" || key === " ") && this.at) {
      this.figure.clicked(this.at.point);
      this.words.textContent = `Chosen: ${this.at.words}`;
    } else if (MOVES.has(key)) {
      const stops = stopsOf(this.figure.plot);
      if (stops.length) this.stand(this.at ? moved(stops, this.at, key) : this.first(stops));
    } else return false;
    return true;
  }

  /** The point that is chosen now, else the first one. */
  first(stops) {
    const { plot, marks } = this.figure;
    const chosen = marks.find(mark => mark.name === "selected");
    if (!chosen) return stops[0];
    const [{ trace }] = stops;
    const x = onScreen(plot, trace.xaxis, chosen.xanchor ?? (chosen.x0 + chosen.x1) / 2);
    const y = onScreen(plot, trace.yaxis, chosen.yanchor ?? (chosen.y0 + chosen.y1) / 2);
    return least(stops, stop => Math.hypot(stop.x - x, stop.y - y));
  }

  stand(stop) {
    this.at = stop;
    const { x, y, width, height } = stop;
    Object.assign(this.ring.style, { left: `${x - width / 2}px`, top: `${y - height / 2}px`,
      width: `${width}px`, height: `${height}px` });
    this.figure.place.append(this.ring);
    this.ring.scrollIntoView({ block: "nearest", inline: "nearest" });
    this.words.textContent = stop.words;
  }

  /** A key on a slider of steps; whether it means anything here. */
  turn(slider, key) {
    const { plot } = this.figure;
    const last = slider.steps.length - 1;
    if (key === " " || key === "Enter") {
      const [play, pause] = plot._fullLayout.updatemenus[0].buttons;
      this.plays = !this.plays || slider.active === last; // it may have come to its end by itself
      window.Plotly.animate(plot, ...(this.plays ? play : pause).args);
      return true;
    }
    const to = { ArrowLeft: slider.active - 1, ArrowDown: slider.active - 1, Home: 0,
      ArrowRight: slider.active + 1, ArrowUp: slider.active + 1, End: last }[key];
    if (to === undefined) return false;
    const active = Math.min(Math.max(to, 0), last);
    this.plays = false;
    window.Plotly.animate(plot, ...slider.steps[active].args);
    this.words.textContent = stepOf({ ...slider, active });
    return true;
  }
}

const MOVES = new Set(["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End"]);

const least = (stops, cost) => stops.reduce((a, b) => (cost(b) < cost(a) ? b : a));

function onScreen(plot, id, value) {
  const axis = axisOf(plot, id);
  return axis._offset + axis.d2p(value);
}

/** Where one can stand, in reading order: a map's cells, else its points, in pixels of the plot. */
function stopsOf(plot) {
  const traces = plot._fullData.map((trace, curve) => ({ trace, curve })).filter(({ trace }) =>
    trace.visible === true && !["skip", "none"].includes(trace.hoverinfo));
  const maps = traces.filter(({ trace }) => trace.type === "heatmap");
  const stops = maps.length ? maps.flatMap(one => cells(plot, one))
    : traces.flatMap(one => points(plot, one));
  const rows = new Set(stops.map(stop => stop.y)).size;
  const columns = new Set(stops.map(stop => stop.x)).size;
  const inRows = rows * columns <= 2 * stops.length;
  return stops.sort(inRows ? (a, b) => a.y - b.y || a.x - b.x : (a, b) => a.x - b.x || a.y - b.y);
}

function stop(plot, { trace, curve }, value, size, words, customdata) {
  return {
    trace, words, ...size,
    x: Math.round(onScreen(plot, trace.xaxis, value.x)),
    y: Math.round(onScreen(plot, trace.yaxis, value.y)),
    point: { ...value, customdata, curveNumber: curve },
  };
}

function cells(plot, one) {
  const { trace } = one;
  const [width, height] = ["xaxis", "yaxis"].map(way =>
    Math.abs(onScreen(plot, trace[way], 1) - onScreen(plot, trace[way], 0)));
  return Array.from(trace.z, (row, y) => Array.from(row, (_, x) =>
    stop(plot, one, { x: trace.x?.[x] ?? x, y: trace.y?.[y] ?? y }, { width, height },
      wordsOf(trace, y, x), trace.customdata?.[y]?.[x]))).flat();
}

function points(plot, one) {
  const { trace } = one;
  const size = { width: RING_PX, height: RING_PX };
  return Array.from(trace.x ?? [], (x, k) => stop(plot, one, { x, y: trace.y[k] }, size,
    wordsOf(trace, k), trace.customdata?.[k])).filter(({ x, y }) => x === x && y === y);
}

/** The next stop: left and right in order, up and down the nearest one that lies there. */
function moved(stops, at, key) {
  const same = ["curveNumber", "x", "y", "customdata"];
  const here = stops.findIndex(({ point }) => same.every(name => point[name] === at.point[name]));
  const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: stops.length - 1 }[key];
  if (to !== undefined) return stops[Math.min(Math.max(to, 0), stops.length - 1)];
  const way = key === "ArrowDown" ? 1 : -1;
  const there = stops.filter(({ y }) => (y - at.y) * way > 1);
  if (!there.length) return at;
  return least(there, ({ x, y }) => Math.abs(y - at.y) + 2 * Math.abs(x - at.x));
}
