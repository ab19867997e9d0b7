// The layer strip of this file: figures and rows of samples go to the layer that it stands at.
"use strict";
{
  const MOVED_MS = 150;
  const STEP_MS = 450;
  const row = document.querySelector(".strip [role=slider]");
  const sites = [...row.children];
  const play = document.querySelector(".strip button");
  let at = Number(row.getAttribute("aria-valuenow"));
  let timer = null;

  const read = name => JSON.parse(document.getElementById(name)?.textContent ?? "null");
  const made = (name, kind, text = "") => {
    const node = document.createElement(name);
    node.className = kind;
    node.textContent = text;
    return node;
  };

  const figures = [];
  for (const place of document.querySelectorAll("[data-figure]")) {
    const steps = read(`${place.dataset.figure}-steps`);
    if (!steps) continue;
    place.addEventListener("drawn", () => {
      const figure = { place, steps, shapes: [...(place.layout.shapes ?? [])], frame: null };
      figures.push(figure);
      show(figure);
    });
  }
  const decks = [...document.querySelectorAll("[data-cards]")].map(place => {
    return { place, ...read(place.dataset.cards) };
  });

  function show(figure) {
    const { place, steps, shapes } = figure;
    const { marks = [], frame } = steps[sites[at].dataset.label] ?? {};
    if (marks.length || place.layout.shapes?.length) {
      Plotly.relayout(place, { shapes: [...shapes, ...marks] });
    }
    if (!frame || frame === figure.frame) return;
    const still = !figure.frame || matchMedia("(prefers-reduced-motion: reduce)").matches;
    figure.frame = frame;
    Plotly.animate(place, [frame], {
      mode: "immediate",
      frame: { duration: 0, redraw: false },
      transition: { duration: still ? 0 : MOVED_MS },
    }).catch(() => {});  // a move that the next one overtakes
  }

  function deal({ place, samples, steps }) {
    const rows = steps[sites[at].dataset.label] ?? [];
    place.replaceChildren(...rows.flatMap(({ title, cards }) => {
      const line = made("div", "cards");
      line.tabIndex = 0;
      line.setAttribute("role", "group");
      line.setAttribute("aria-label", title);
      line.append(...cards.map(card => drawCard(card, samples[card.id])));
      return [made("h4", "", title), line];
    }));
  }

  function drawCard({ id, note, fresh }, { image, text, missing }) {
    const card = made("figure", fresh ? "fresh" : "");
    let picture = made("div", "none", missing);
    if (image) {
      picture = made("img", "");
      picture.src = `data:image/webp;base64,${image}`;
      picture.alt = `Image of sample ${id}`;
    }
    card.title = text;
    card.append(picture, made("div", "text", text), made("div", "note", note));
    return card;
  }

  function move(to) {
    at = Math.min(Math.max(to, 0), sites.length - 1);
    sites.forEach((site, place) => site.classList.toggle("here", place === at));
    row.setAttribute("aria-valuenow", at);
    row.setAttribute("aria-valuetext", sites[at].title);
    document.querySelector(".strip .where").textContent = sites[at].title;
    figures.forEach(show);
    decks.forEach(deal);
  }

  function pause() {
    clearInterval(timer);
    timer = null;
    play.textContent = "▶";
    play.setAttribute("aria-label", "Play through the layers");
  }

  function start() {
    if (at === sites.length - 1) move(0);
    timer = setInterval(() => {
      move(at + 1);
      if (at === sites.length - 1) pause();
    }, STEP_MS);
    play.textContent = "⏸";
    play.setAttribute("aria-label", "Pause");
  }

  function under({ clientX }) {
    const found = sites.findIndex(site => clientX < site.getBoundingClientRect().right);
    return found < 0 ? sites.length - 1 : found;
  }

  play.addEventListener("click", () => (timer ? pause() : start()));
  row.addEventListener("pointerdown", event => {
    row.setPointerCapture(event.pointerId);
    pause();
    move(under(event));
  });
  row.addEventListener("pointermove", event => {
    if (row.hasPointerCapture(event.pointerId) && under(event) !== at) move(under(event));
  });
  // Left and right move the strip from anywhere but what scrolls; other keys where it has the focus.
  document.addEventListener("keydown", event => {
    if (event.altKey || event.ctrlKey || event.metaKey
      || event.target.closest(".table, .cards, blockquote")) return;
    const steps = { ArrowLeft: at - 1, ArrowRight: at + 1 };
    const here = { ArrowDown: at - 1, ArrowUp: at + 1, Home: 0, End: sites.length - 1 };
    const to = steps[event.key] ?? (event.target === row ? here[event.key] : undefined);
    if (to === undefined) return;
    event.preventDefault();
    pause();
    move(to);
  });
  move(at);
}
