// What a figure takes from the page that it stands on: font and colours, and, where the page is
// narrow, fewer ticks and titles in several lines.

const NARROW_PX = 480;
const LETTER_PX = 7;
const LINE_PX = 15;

/** The settings that a layout takes from its place; a figure's own axes keep theirs. */
export function fitted(place, layout, width) {
  return { ...colours(place, layout), ...(width < NARROW_PX ? narrow(layout, width) : {}),
    // Else a finger that scrolls the page is held by the map.
    ...(matchMedia("(pointer: coarse)").matches ? { dragmode: false } : {}) };
}

function colours(place, layout) {
  const page = getComputedStyle(place);
  const of = name => page.getPropertyValue(`--st-${name}`).trim();
  return {
    font: { family: of("font") || "sans-serif", size: 12, color: of("text-color"), ...layout.font },
    hoverlabel: { ...layout.hoverlabel, bgcolor: of("background-color"),
      bordercolor: of("border-color"),
      font: { family: of("font"), size: 12, color: of("text-color") } },
  };
}

/** Horizontal axes with as many ticks as there is room for. */
function narrow(layout, width) {
  const room = width - (layout.margin?.l ?? 0) - (layout.margin?.r ?? 0);
  const axes = Object.entries(layout).filter(([name]) => /^xaxis\d*$/.test(name));
  return Object.fromEntries(axes.map(([name, axis]) => {
    const [from, to] = axis.domain ?? [0, 1];
    return [name, { ...axis, ...(axis.nticks ? { nticks: Math.ceil(axis.nticks / 2) } : {}),
      ...thinned(axis, room * (to - from)) }];
  }));
}

/** Ticks of which only so many are numbered; what stands below a number stays. */
function thinned({ tickvals, ticktext, range }, room) {
  if (!Array.isArray(tickvals) || tickvals.length < 3 || !range) return {};
  const texts = (ticktext ?? tickvals).map(String);
  const widest = Math.max(...texts.map(text => text.split("<br>")[0].length)) * LETTER_PX + 4;
  const apart = Math.min(...tickvals.slice(1).map((value, k) => value - tickvals[k]));
  const every = Math.ceil(widest / (room * apart / Math.abs(range[1] - range[0])));
  if (!(every > 1)) return {};
  let last = -Infinity;
  const short = (text, k) => {
    const [head, ...below] = text.split("<br>");
    const number = Number(head);
    const round = (Number.isInteger(number) ? number : k) % every === 0;
    if (!round || tickvals[k] - last < every * apart) return ["&nbsp;", ...below].join("<br>");
    last = tickvals[k];
    return text;
  };
  return { tickvals, ticktext: texts.map(short) };
}

/** Break titles below the axes of a drawn plot that stick out of it. */
export async function unclip(Plotly, plot) {
  const { left, right } = plot.querySelector(".main-svg").getBoundingClientRect();
  const changes = {};
  let most = 1;
  for (const title of plot.querySelectorAll(".infolayer text[class^=x][class$=title]")) {
    const [, number] = /^x(\d*)title$/.exec(title.getAttribute("class"));
    const own = title.getBoundingClientRect();
    if (own.left >= left && own.right <= right) continue;
    const middle = (own.left + own.right) / 2;
    const share = 2 * Math.min(middle - left, right - middle) / own.width;
    const text = plot.layout[`xaxis${number}`].title.text;
    const lines = broken(text, Math.floor(text.length * share));
    most = Math.max(most, lines.length);
    changes[`xaxis${number}.title.text`] = lines.join("<br>");
  }
  if (most === 1) return;
  const foot = plot.layout.margin.b ?? plot._fullLayout.margin.b;
  await Plotly.relayout(plot, { ...changes, "margin.b": foot + LINE_PX * (most - 1) });
}

/** A text in lines of at most so many letters, unless a word is longer. */
function broken(text, most) {
  const lines = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= most) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else lines.push(word);
  }
  return lines;
}
