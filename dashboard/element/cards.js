// Rows of samples for the layer that the strip stands at: picture, text, a number. Everything is
// here from the start, so that moving the strip asks nobody. Text is text, never HTML.

import { follow, layerOf } from "./layers.js";

const style = document.createElement("style");
style.textContent = `
.cards-title { font: 600 13px var(--st-font); color: var(--st-text-color); margin: 0 0 4px; }
.cards-row { display: flex; gap: 8px; overflow-x: auto; padding-bottom: 6px; margin-bottom: 6px; }
.cards-row:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.cards-card { flex: 0 0 104px; margin: 0; font: 11px/1.35 var(--st-font);
  color: var(--st-text-color); border-top: 3px solid transparent; }
.cards-card.new { border-top-color: var(--st-primary-color); }
.cards-card img, .cards-card .none { width: 104px; height: 104px; object-fit: contain;
  background: var(--st-secondary-background-color); border-radius: 6px; display: block; }
.cards-card .text { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical;
  overflow: hidden; overflow-wrap: anywhere; }
.cards-card .note { opacity: 0.75; }`;
document.head.append(style);

const made = (tag, name, text = "") => {
  const node = document.createElement(tag);
  node.className = name;
  node.textContent = text;
  return node;
};

class Cards {
  constructor(parent) {
    this.frame = made("div", "cards");
    this.frame.setAttribute("aria-live", "polite");
    parent.append(this.frame);
  }

  show(wanted) {
    this.wanted = wanted;
    this.left?.();
    this.left = follow(wanted.group, () => this.draw());
    this.drawn = null;
    this.draw();
  }

  draw() {
    const rows = this.wanted.steps[layerOf(this.wanted.group)] ?? [];
    const name = JSON.stringify(rows);
    if (name === this.drawn) return;
    this.drawn = name;
    this.frame.replaceChildren(...rows.flatMap(({ title, cards }) => {
      const row = made("div", "cards-row");
      row.tabIndex = 0;
      row.setAttribute("role", "group");
      row.setAttribute("aria-label", title);
      row.append(...cards.map(card => this.card(card)));
      return [made("p", "cards-title", title), row];
    }));
  }

  card({ id, note, fresh }) {
    const { image, text, missing } = this.wanted.samples[id];
    const card = made("figure", fresh ? "cards-card new" : "cards-card");
    let picture = made("div", "none", image ? "" : missing);
    if (image) {
      picture = made("img", "");
      picture.src = `data:image/webp;base64,${image}`;
      picture.alt = `Image of sample ${id}`;
      picture.loading = "lazy";
    }
    card.title = text;
    card.append(picture, made("div", "text", text), made("div", "note", note));
    return card;
  }

  end() {
    this.left?.();
    this.frame.remove();
  }
}

const all = new WeakMap();

/** Called by Streamlit when the element is made and whenever its script has run again. */
export function show({ data, parentElement }) {
  let cards = all.get(parentElement);
  if (!cards) all.set(parentElement, cards = new Cards(parentElement));
  cards.show(data);
  return () => {
    all.delete(parentElement);
    cards.end();
  };
}
