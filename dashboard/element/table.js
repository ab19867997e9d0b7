// A figure's values as tables of the page. Text is text, never HTML.

const MOST_ROWS = 2000;
const FIRST_ROWS = 1000;
const style = document.createElement("style");
style.textContent = `
.figure-table { overflow: auto; max-height: max(300px, 70vh); font: 12px/1.4 var(--st-font);
  color: var(--st-text-color); font-variant-numeric: tabular-nums; }
.figure-table:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }
.figure-table table { border-collapse: collapse; margin-bottom: 12px; }
.figure-table caption { text-align: left; font-weight: 600; padding: 4px 8px; }
.figure-table th, .figure-table td { text-align: left; vertical-align: top; padding: 3px 8px;
  border-bottom: 1px solid var(--st-border-color); }
.figure-table caption span { display: inline-block; position: sticky; left: 8px;
  max-width: min(80em, 75vw); }
.figure-table tr:first-child th, .figure-table th:first-child {
  position: sticky; top: 0; left: 0; background: var(--st-background-color); }
.figure-table thead th { z-index: 1; }
.figure-table thead th:first-child { z-index: 2; }
.figure-table td { max-width: 22em; }
.figure-table small { white-space: nowrap; }
.figure-note { margin: 0 8px 8px; }`;
document.head.append(style);

const number = count => count.toLocaleString("en");

function made(tag, text = "", settings = {}) {
  const node = Object.assign(document.createElement(tag), settings);
  node.textContent = text;
  return node;
}

const noteOf = text => made("div", text, { className: "figure-note" });

function cell(said, settings) {
  const [text, within] = [said].flat();
  const node = made(settings ? "th" : "td", text, settings);
  if (within) node.append(" ", made("small", `(${within})`));
  return node;
}

/** A table of text; the first cell of a row names it. */
export function table({ head, rows }, caption = "") {
  const node = document.createElement("table");
  if (caption) node.createCaption().append(made("span", caption));
  node.createTHead().insertRow().append(...head.map(name => cell(name, { scope: "col" })));
  const body = node.createTBody();
  for (const [name, ...cells] of rows) {
    body.insertRow().append(cell(name, { scope: "row" }), ...cells.map(one => cell(one)));
  }
  return node;
}

/** Where tables scroll. */
export function frameOf(alt) {
  return made("div", "", { className: "figure-table", tabIndex: 0, role: "region",
    ariaLabel: `Table: ${alt}` });
}

/** What stands in a plot's place: the values that its reader reads. */
export function tables(reader, alt) {
  const frame = frameOf(alt);
  const parts = reader.tables();
  if (!parts.length) frame.append(noteOf("This figure shows no values."));
  parts.forEach(({ title, head, rows, notes = [] }, k) => {
    const long = rows.length > MOST_ROWS;
    const shown = long ? rows.slice(0, FIRST_ROWS) : rows;
    frame.append(table({ head, rows: shown }, k && title ? `${alt}: ${title}` : alt));
    const said = long ? [`The first ${number(FIRST_ROWS)} of ${number(rows.length)} rows; the `
      + "page's download has all of them."] : [];
    frame.append(...[...notes, ...said].map(noteOf));
  });
  return frame;
}
