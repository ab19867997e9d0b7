// The layer strip: every site of a stream in order, fusion layers shaded. A click or a key moves to
// a site, the mouse over one previews it, a drag (or Shift with a key) takes a range, Play goes
// through all sites of the range. A click outside the range, or Escape, shows all sites again.

import { stand } from "./layers.js";

const SETTLED_MS = 250;
const STEP_MS = 450;
const style = document.createElement("style");
style.textContent = `
.strip-place { position: sticky; top: 3.75rem; z-index: 90; }
.strip { background: var(--st-background-color); padding: 4px 0; display: flex; align-items: center; gap: 8px; }
.strip-play { font: 13px var(--st-font); width: 34px; height: 34px; flex: none; cursor: pointer;
  color: var(--st-text-color); background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: 6px; }
.strip-sites { display: flex; flex: 1; min-width: 0; touch-action: pan-y; cursor: pointer;
  border: 1px solid var(--st-border-color); border-radius: 6px; overflow: hidden; }
.strip-sites:focus-visible, .strip-play:focus-visible {
  outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.strip-site { flex: 1 1 0; min-width: 0; height: 34px; display: flex; align-items: center;
  justify-content: center; font: 11px var(--st-font); color: var(--st-text-color);
  user-select: none; white-space: nowrap; overflow: hidden;
  border-left: 1px solid var(--st-border-color); }
.strip-site:first-child { border-left: 0; }
.strip-site.fused { background: color-mix(in srgb, var(--st-text-color) 13%, transparent); }
.strip-site.beside { flex-grow: 0.6; }
.strip-site.outside { opacity: 0.35; }
.strip-site.preview { box-shadow: inset 0 0 0 2px var(--st-primary-color); }
.strip-site.here { background: var(--st-primary-color); color: #fff; font-weight: 600; }`;
document.head.append(style);

class Strip {
  constructor(parent) {
    this.frame = document.createElement("div");
    this.frame.className = "strip";
    this.play = document.createElement("button");
    this.play.type = "button";
    this.play.className = "strip-play";
    this.play.addEventListener("click", () => (this.timer ? this.pause() : this.start()));
    this.row = document.createElement("div");
    this.row.className = "strip-sites";
    this.row.tabIndex = 0;
    this.row.setAttribute("role", "slider");
    this.row.addEventListener("keydown", event => this.key(event));
    this.row.addEventListener("pointerdown", event => {
      this.row.setPointerCapture(event.pointerId);
      this.pause();
      this.from = this.under(event);
      this.move(this.from);
    });
    this.row.addEventListener("pointermove", event => {
      const at = this.under(event);
      if (this.from === null) this.preview(at);
      else if (at !== this.at) this.take(this.from, at);
    });
    for (const end of ["pointerup", "pointercancel"])
      this.row.addEventListener(end, () => {
        this.from = null;
        this.settleSoon();
      });
    this.row.addEventListener("pointerleave", () => this.preview(null));
    this.from = null;
    this.frame.append(this.play, this.row);
    parent.append(this.frame);
    // The page scrolls beneath it: it stands below the header while any of its panels is seen.
    parent.closest("[data-testid=stElementContainer]")?.classList.add("strip-place");
    this.pause();
  }

  /** The sites, the one to stand at, and who is told of another one. */
  show(wanted, send) {
    this.send = send;
    const sites = JSON.stringify(wanted.sites);
    if (sites !== this.drawn) {
      this.drawn = sites;
      this.row.replaceChildren(...wanted.sites.map(site => {
        const cell = document.createElement("div");
        const classes = ["strip-site", site.fused && "fused", site.beside && "beside"];
        cell.className = classes.filter(Boolean).join(" ");
        cell.textContent = site.short;
        cell.title = site.title;
        return cell;
      }));
    }
    this.wanted = wanted;
    this.row.setAttribute("aria-label", wanted.alt);
    this.row.setAttribute("aria-valuemin", 0);
    this.row.setAttribute("aria-valuemax", wanted.sites.length - 1);
    // What the server says counts once: after that this visitor's own moves are newer.
    const said = JSON.stringify([wanted.value, wanted.span]);
    if (said !== this.told) {
      this.at = this.index(wanted.value);
      this.range = wanted.span && wanted.span.map(label => this.index(label));
    }
    this.told = said;
    this.mark();
  }

  index(label) { return Math.max(0, this.wanted.sites.findIndex(site => site.label === label)); }

  under({ clientX }) {
    const { left, width } = this.row.getBoundingClientRect();
    const cells = [...this.row.children];
    const at = cells.findIndex(cell => clientX < cell.getBoundingClientRect().right);
    return clientX < left ? 0 : clientX >= left + width ? cells.length - 1 : at;
  }

  mark(preview = null) {
    const [first, last] = this.ends;
    [...this.row.children].forEach((cell, at) => {
      cell.classList.toggle("here", at === this.at);
      cell.classList.toggle("outside", at < first || at > last);
      cell.classList.toggle("preview", at === preview);
    });
    this.row.setAttribute("aria-valuenow", this.at);
    const { title } = this.wanted.sites[this.at];
    this.row.setAttribute("aria-valuetext", this.range
      ? `${title}, in the range ${this.label(first)} to ${this.label(last)}` : title);
    stand(this.wanted.group, this.wanted.sites[preview ?? this.at].label);
  }

  /** The first and the last site that are shown. */
  get ends() { return this.range ?? [0, this.wanted.sites.length - 1]; }

  label(at) { return this.wanted.sites[at].label; }

  preview(at) {
    const [first, last] = this.ends;
    this.mark(at !== null && at >= first && at <= last ? at : null);
  }

  /** Go to a site; one outside the range ends it. */
  move(at) {
    this.at = Math.min(Math.max(at, 0), this.wanted.sites.length - 1);
    const [first, last] = this.ends;
    if (this.at < first || this.at > last) this.range = null;
    this.settleSoon();
  }

  /** Show the sites between two, standing at the second. */
  take(from, to) {
    this.at = Math.min(Math.max(to, 0), this.wanted.sites.length - 1);
    this.range = from === this.at ? null : [Math.min(from, this.at), Math.max(from, this.at)];
    this.settleSoon();
  }

  settleSoon() {
    this.mark();
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.settle(), SETTLED_MS);
  }

  settle() {
    const layer = this.label(this.at);
    const span = this.range && this.range.map(at => this.label(at));
    const said = JSON.stringify([layer, span]);
    if (this.timer || this.from !== null || said === this.told) return;
    this.told = said;
    this.send({ layer, span });
  }

  key(event) {
    const [first, last] = this.ends;
    const all = this.wanted.sites.length - 1;
    const shift = event.shiftKey && this.range;
    const to = { ArrowLeft: this.at - 1, ArrowRight: this.at + 1, ArrowDown: this.at - 1,
      ArrowUp: this.at + 1, Home: 0, End: all }[event.key];
    if (event.key === "Escape" && this.range) this.range = null;
    else if (to === undefined) return;
    event.preventDefault();
    this.pause();
    if (to === undefined) this.move(this.at);
    else if (!event.shiftKey) this.move(to);
    // The other end stays where it is.
    else this.take(shift ? (this.at === first ? last : first) : this.at, to);
  }

  start() {
    const [first, last] = this.ends;
    if (this.at === last) this.move(first);
    this.timer = setInterval(() => {
      this.move(this.at + 1);
      if (this.at === this.ends[1]) this.pause();
    }, STEP_MS);
    this.named("⏸", "Pause");
  }

  pause() {
    clearInterval(this.timer);
    this.timer = null;
    this.named("▶", "Play through the layers");
    if (this.wanted) this.move(this.at);
  }

  named(sign, words) {
    this.play.textContent = sign;
    this.play.title = words;
    this.play.setAttribute("aria-label", words);
  }

  end() {
    clearInterval(this.timer);
    clearTimeout(this.settling);
    this.frame.remove();
  }
}

const strips = new WeakMap();

/** Called by Streamlit when the element is made and whenever its script has run again. */
export function show({ data, parentElement, setTriggerValue }) {
  let strip = strips.get(parentElement);
  if (!strip) strips.set(parentElement, strip = new Strip(parentElement));
  strip.show(data, standing => setTriggerValue("standing", standing));
  return () => {
    strips.delete(parentElement);
    strip.end();
  };
}

// Left and right move the strip from anywhere on the page where nothing else takes the keys.
document.addEventListener("keydown", event => {
  if (!["ArrowLeft", "ArrowRight"].includes(event.key) || event.altKey || event.ctrlKey
    || event.metaKey || event.defaultPrevented) return;
  const busy = event.target.closest("input, textarea, select, [contenteditable], [role=slider], "
    + "[role=radiogroup], [role=tablist], [role=listbox], [role=combobox], [role=menu]");
  const row = document.querySelector(".strip-sites");
  if (busy || !row) return;
  row.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, bubbles: false }));
});
