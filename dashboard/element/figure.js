// Figures on a page: drawn once, at their final size, when they come near the screen.
//
// A change of page makes every element anew, and drawing a figure anew is most of what a visitor
// waits for. Here a figure that left the page waits in `pool`, drawn; when a page wants the same
// figure at the same size again, it is put back as it was. A figure is told by the digest that the
// server sends with its JSON.

import { fitted, unclip } from "./fit.js";
import { follow, layerOf } from "./layers.js";
import { plotly } from "./library.js";
import { Reader } from "./read.js";
import { tables } from "./table.js";
import { Walk } from "./walk.js";

const POOLED = 60;
const NEAR_PX = 300;
const SETTLED_MS = 120;
const MOVED_MS = 150;
const pool = new Map();
const waiting = new Set();
const figures = new WeakMap();
let drawing = false;
let look = "";

const style = document.createElement("style");
style.textContent = `
.figure { position: relative; width: 100%; overflow-x: auto; overflow-y: hidden; }
.figure:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.figure.read { min-height: 0 !important; }
.figure.read > .js-plotly-plot { position: fixed; left: -200vw; visibility: hidden; }
.figure-frame { position: relative; }
.figure-does { position: absolute; top: 0; right: 0; opacity: 0; z-index: 2;
  display: flex; gap: 4px; }
.figure-frame:hover .figure-does, .figure-frame:focus-within .figure-does,
.figure.read ~ .figure-does { opacity: 1; }
.figure-does button { font: 11px var(--st-font); padding: 1px 6px; cursor: pointer;
  color: var(--st-text-color); background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: 4px; }
.figure-does button[aria-pressed=true] { border-color: var(--st-primary-color); font-weight: 600; }
.figure.read ~ .figure-does { position: static; justify-content: flex-end; }
@media (hover: none) {
  .figure-does { position: static; justify-content: flex-end; opacity: 1; }
  .figure-does button { min-height: 28px; padding: 2px 10px; }
}`;
document.head.append(style);

const near = new IntersectionObserver(
  entries => entries.forEach(({ target, isIntersecting }) => {
    const figure = figures.get(target);
    if (!figure) return;
    figure.near = isIntersecting;
    if (isIntersecting) figure.want();
  }),
  // The page scrolls in an element of its own, to which only scrollMargin reaches.
  { rootMargin: `${NEAR_PX}px 0px`, scrollMargin: `${NEAR_PX}px 0px` },
);

const sizes = new ResizeObserver(entries =>
  entries.forEach(({ target }) => figures.get(target)?.resized()));

/** The page's colours. To ask for them lays out anew, so all that is shown at once asks once. */
function themeOf(place) {
  if (!look) {
    const page = getComputedStyle(place);
    look = page.getPropertyValue("--st-text-color").trim()
      + page.getPropertyValue("--st-background-color").trim();
    requestAnimationFrame(() => { look = ""; });
  }
  return look;
}

/** Draw what waits, the uppermost first, letting the page breathe between two figures. */
async function drawAll() {
  if (drawing) return;
  drawing = true;
  await plotly;
  while (waiting.size) {
    const next = [...waiting].reduce((a, b) => (a.top <= b.top ? a : b));
    waiting.delete(next);
    try {
      if (next.near && next.place.isConnected) await next.draw();
    } catch (error) {
      console.error(error); // of one figure; the others are drawn all the same
    }
    await new Promise(resolve => setTimeout(resolve));
  }
  drawing = false;
}

class Figure {
  constructor(parent) {
    this.frame = document.createElement("div");
    this.frame.className = "figure-frame";
    this.place = document.createElement("div");
    this.place.className = "figure";
    this.place.tabIndex = 0;
    this.does = document.createElement("div");
    this.does.className = "figure-does";
    this.reads = this.button("Table", "Show the values as a table", () => this.read());
    this.reads.setAttribute("aria-pressed", "false");
    for (const format of ["PNG", "SVG"]) {
      this.button(format, `Save this figure as ${format}`,
        () => this.download(format.toLowerCase()));
    }
    this.frame.append(this.place, this.does);
    this.walk = new Walk(this, this.frame);
    parent.append(this.frame);
    figures.set(this.place, this);
    near.observe(this.place);
    sizes.observe(this.place);
  }

  button(name, title, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.title = title;
    button.addEventListener("click", act);
    this.does.append(button);
    return button;
  }

  /** What the page wants to see now; `send` takes a click to the server. */
  show(wanted, json, theme, send) {
    this.send = send;
    this.left?.();
    this.left = wanted.group ? follow(wanted.group, () => this.plot && this.mark()) : null;
    const same = this.wanted?.digest === wanted.digest && this.theme === theme;
    if (!same) {
      Object.assign(this, { figure: JSON.parse(json), theme });
      this.walk.leave();
      this.extremes = "";
    }
    this.wanted = wanted;
    this.label();
    this.walk.offer();
    this.height = this.figure.layout.height;
    this.place.style.minHeight = `${this.height}px`;
    if (same && this.plot) this.mark();
    else this.want();
  }

  /** Draw what is chosen over the figure, which stays as it is; go to the strip's layer. */
  mark() {
    const { plot, step } = this;
    const marks = JSON.stringify(this.marks);
    if (plot.marks !== marks) {
      plot.marks = marks;
      window.Plotly.relayout(plot, { shapes: this.shapes });
    }
    if (step?.frame && plot.frame !== step.frame) {
      const still = !plot.frame || matchMedia("(prefers-reduced-motion: reduce)").matches;
      plot.frame = step.frame;
      window.Plotly.animate(plot, [step.frame], { mode: "immediate",
        frame: { duration: 0, redraw: false }, transition: { duration: still ? 0 : MOVED_MS } });
    }
  }

  /** What the figure shows at the layer that the strip stands at. */
  get step() { return this.wanted.steps?.[layerOf(this.wanted.group)]; }

  get marks() { return [...this.wanted.marks, ...(this.step?.marks ?? [])]; }

  get shapes() { return [...(this.figure.layout.shapes ?? []), ...this.marks]; }

  get top() { return this.place.getBoundingClientRect().top; }

  get width() { return Math.max(this.place.clientWidth, this.wanted.least ?? 0); }

  get name() { return `${this.wanted.digest} ${this.width} ${this.theme}`; }

  /** Take the figure from the pool at once, else wait for its turn to be drawn. */
  want() {
    if (!this.wanted || !this.place.clientWidth || (this.plot && this.drawn === this.name)) return;
    const pooled = pool.get(this.name);
    if (pooled) {
      pool.delete(this.name);
      this.release();
      this.put(pooled);
    } else if (this.near) {
      waiting.add(this);
      drawAll();
    }
  }

  put(plot, name = this.name) {
    this.plot = plot;
    this.drawn = name;
    this.place.replaceChildren(plot);
    plot.removeAllListeners?.("plotly_click");
    plot.on?.("plotly_click", ({ points: [point] }) => this.clicked(point));
    plot.removeAllListeners?.("plotly_animated");
    plot.on?.("plotly_animated", () => this.tell());
    this.mark();
    this.tell();
  }

  /** Between the figure and its values as a table. */
  read() {
    this.reading = !this.reading;
    this.reads.setAttribute("aria-pressed", String(this.reading));
    this.place.classList.toggle("read", this.reading);
    this.place.tabIndex = this.reading ? -1 : 0; // the table has its own place among the tabs
    this.walk.leave();
    this.walk.offer();
    this.tell();
  }

  /** The values that are drawn now, in the figure's name and, where they are read, as tables. */
  tell() {
    this.table?.remove();
    if (!this.plot) return;
    const reader = new Reader(this.plot, this.figure.layout);
    this.extremes = reader.extremes();
    this.label();
    if (!this.reading) return;
    this.table = tables(reader, this.wanted.alt);
    this.place.append(this.table);
  }

  label() {
    const words = [this.wanted.alt.replace(/\.$/, ""), this.extremes].filter(Boolean);
    this.place.setAttribute("aria-label", words.join(". "));
  }

  async draw() {
    if (this.plot && this.drawn === this.name) return;
    const { name, width, height } = this;
    const { data, layout, frames } = structuredClone(this.figure);
    const figure = {
      data,
      frames,
      layout: { ...layout, ...fitted(this.place, layout, width), shapes: this.shapes, width, height,
        autosize: false },
      config: { displayModeBar: false, scrollZoom: false },
    };
    const Plotly = await plotly;
    const marks = JSON.stringify(this.marks);
    if (this.plot) {
      await Plotly.react(this.plot, figure);
      Object.assign(this.plot, { marks, frame: null });
      this.drawn = name;
      await unclip(Plotly, this.plot);
      this.tell();
    } else {
      const plot = document.createElement("div");
      this.place.replaceChildren(plot);
      plot.setAttribute("aria-hidden", "true");
      await Plotly.newPlot(plot, figure);
      await unclip(Plotly, plot);
      plot.marks = marks;
      this.put(plot, name);
    }
    if (this.name !== name) this.want(); // the page wanted another one meanwhile
  }

  clicked({ x, y, customdata, curveNumber }) {
    if (this.wanted.clicks) this.send({ x, y, customdata: customdata ?? null, curve: curveNumber });
  }

  resized() {
    clearTimeout(this.timer);
    if (!this.plot) this.want();
    else this.timer = setTimeout(() => this.want(), SETTLED_MS);
  }

  async download(format) {
    const { data, layout } = structuredClone(this.figure);
    const background = getComputedStyle(this.place).getPropertyValue("--st-background-color");
    (await plotly).downloadImage(
      { data, layout: { ...layout, ...fitted(this.place, layout, this.width), shapes: this.shapes,
        paper_bgcolor: background } },
      { format, filename: this.wanted.file, width: this.width, height: this.height,
        scale: format === "png" ? 2 : 1 },
    );
  }

  /** Give the drawn figure to the pool, in which those that waited longest make room. */
  release() {
    if (!this.plot) return;
    this.plot.remove();
    pool.set(this.drawn, this.plot);
    for (const name of [...pool.keys()].slice(0, Math.max(0, pool.size - POOLED))) {
      window.Plotly.purge(pool.get(name));
      pool.delete(name);
    }
    this.plot = null;
  }

  end() {
    this.left?.();
    near.unobserve(this.place);
    sizes.unobserve(this.place);
    waiting.delete(this);
    this.release();
    this.frame.remove();
  }
}

/** Called by Streamlit when the element is made and whenever its script has run again. */
export function show({ data, parentElement, setTriggerValue }) {
  const end = data.indexOf(10);
  const text = new TextDecoder();
  const wanted = JSON.parse(text.decode(data.subarray(0, end)));
  let figure = figures.get(parentElement);
  if (!figure) figures.set(parentElement, figure = new Figure(parentElement));
  figure.show(wanted, text.decode(data.subarray(end + 1)), themeOf(parentElement),
    point => setTriggerValue("click", point));
  return () => {
    figures.delete(parentElement);
    figure.end();
  };
}
