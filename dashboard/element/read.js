// A drawn plot's values, read for a table: of its heatmaps, its curves and bars, and its points.
//
// A trace may name its places along an axis, where ticks leave some out: `meta` {x: [...],
// y: [...]}, a heatmap's columns and rows, the points of any other trace in order.

const MOST_DIGITS = 6;
const MOST_REASONS = 9;

/** Plotly's words without its tags and entities; a line break is one. */
export const plain = words => String(words ?? "")
  .replace(/<br\s*\/?>/gi, "\n").replace(/<\/?[a-z][^>]*>/gi, "")
  .replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&nbsp;", " ")
  .replaceAll("&amp;", "&").trim();

/** What is said of a point of a trace; `place` is its number, or its row and column. */
export function wordsOf(trace, ...place) {
  const of = held => place.reduce((one, k) => (Array.isArray(one) ? one[k] : one), held);
  const said = of(trace.hovertext) || of(trace.text);
  if (!trace.hovertemplate) return plain(said);
  const template = trace.hovertemplate.replace(/<extra>.*<\/extra>/s, "");
  return plain(template.replaceAll("%{hovertext}", () => said));
}

export const axisOf = (plot, id) => plot._fullLayout[layoutKey(id)];

const layoutKey = id => `${id[0]}axis${id.slice(1)}`;
const oneLine = text => text.replace(/\s*\n\s*/g, "; ");
const isNumber = value => typeof value === "number" && Number.isFinite(value);
const written = (value, digits) => value.toFixed(digits).replace(/^-(0(\.0*)?)$/, "$1");

/** The words of the step that a slider stands at. */
export const stepOf = ({ active, currentvalue, steps }) =>
  plain(`${currentvalue.prefix ?? ""}${steps[active].label}`);

// Plotly calls a trace without a name so.
const nameOf = trace => (/^trace \d+$/.test(trace.name ?? "") ? "" : plain(trace.name));

/** Whether a trace only stands in the legend. */
const isKey = trace => !trace.x?.length || Array.from(trace.x).every(value => value == null);

/** Whether a trace is a level over the whole axis. */
const isLevel = trace => trace.hoverinfo === "skip" && trace.x?.length === 2
  && trace.y[0] === trace.y[1];

/** What stands in place of a value: the second line of its words, as the first says where it is. */
const gapOf = words => ({ gap: words.split("\n")[1] ?? words });

/** Rows whose gaps are numbers of notes, unless each of them says something else. */
function noted(rows) {
  const gaps = [...new Set(rows.flat().map(cell => cell?.gap).filter(Boolean))];
  const few = gaps.length <= MOST_REASONS;
  const said = ({ gap }) => (few && gap ? `(${gaps.indexOf(gap) + 1})` : gap);
  return {
    rows: rows.map(row => row.map(cell => (cell?.gap === undefined ? cell : said(cell)))),
    notes: few ? gaps.map((gap, k) => `(${k + 1}) ${gap}`) : [],
  };
}

/** Digits after the point that tell apart a thousandth of a range; none for whole numbers. */
function digitsOf(values, [low, high]) {
  if (Array.from(values).every(value => !isNumber(value) || Number.isInteger(value))) return 0;
  const thousandth = 3 - Math.floor(Math.log10(Math.abs(high - low) || 1));
  return Math.min(MOST_DIGITS, Math.max(0, thousandth));
}

/** The lower and the upper end of a filled band by its places. */
function endsOf({ x, y }) {
  const ends = new Map();
  Array.from(x, (place, k) => {
    if (!isNumber(y[k])) return;
    const [low, high] = ends.get(place) ?? [y[k], y[k]];
    ends.set(place, [Math.min(low, y[k]), Math.max(high, y[k])]);
  });
  return ends;
}

/** Reads a drawn plot; `layout` is its figure's own, with the ticks that the page asked for. */
export class Reader {
  constructor(plot, layout) {
    this.plot = plot;
    this.layout = layout;
    this.traces = plot._fullData.filter(trace => trace.visible === true);
    this.lines = this.readLines();
    this.dots = this.traces.filter(trace => trace.mode && !isKey(trace)
      && (!trace.mode.includes("lines") || this.inMap(trace))
      && (trace.hoverinfo !== "skip" || trace.mode === "text"));
  }

  /** Tables {title, head, rows, notes}; a cell is a text, or a text and its interval. */
  tables() { return [...this.heats(), ...this.curves(), ...this.points()]; }

  /** The lowest and the highest value of the map or the curves in words; "" where there is none. */
  extremes() {
    const references = this.lines.filter(({ trace }) => trace.hoverinfo === "skip");
    const quiet = new Set(references.map(line => line.name));
    const [{ head, rows } = { rows: [] }] = [...this.heats(), ...this.curves()];
    const cells = rows.flatMap(([row, ...said]) => said.map((one, k) => {
      const [text] = [one].flat();
      return { text, value: text ? Number(text) : NaN, of: head[k + 1], at: row };
    })).filter(({ value, of, at }) => value === value && of !== at && !quiet.has(of));
    if (!cells.length) return "";
    const words = way => {
      const { of, at, text } = cells.reduce((a, b) => (way * b.value > way * a.value ? b : a));
      return `${of} at ${at}, ${text}`;
    };
    return `Lowest: ${words(-1)}; highest: ${words(1)}`;
  }

  /** The name of a place along an axis: that of its tick, else its number. */
  place(id, value) {
    if (!isNumber(value)) return oneLine(plain(value));
    const { tickvals, ticktext } = this.layout[layoutKey(id)] ?? {};
    const tick = Array.isArray(tickvals) ? tickvals.indexOf(value) : -1;
    return plain(ticktext?.[tick]).replace(/\s+/g, " ")
      || written(value, digitsOf([value], axisOf(this.plot, id).range));
  }

  title(id) {
    const { title, ticktext } = this.layout[layoutKey(id)] ?? {};
    const named = ticktext || axisOf(this.plot, id).type === "category";
    return oneLine(plain(title?.text)) || (named ? "name" : id[0]);
  }

  /** Whether a trace lies in a map: neither of its axes has numbers. */
  inMap({ xaxis, yaxis }) {
    return [xaxis, yaxis].every(id => !axisOf(this.plot, id).showticklabels);
  }

  /** A row a row of the map, from the top. */
  *heats() {
    for (const trace of this.traces) {
      if (trace.type !== "heatmap" || trace.hoverinfo === "skip") continue;
      const z = Array.from(trace.z, row => Array.from(row));
      const digits = digitsOf(z.flat(), [trace.zmin, trace.zmax]);
      const names = (way, length) => Array.from({ length }, (_, k) =>
        plain(trace.meta?.[way]?.[k]) || this.place(trace[`${way}axis`], trace[way]?.[k] ?? k));
      const rows = names("y", z.length).map((name, row) => [name, ...z[row].map((value, column) =>
        (isNumber(value) ? written(value, digits) : gapOf(wordsOf(trace, row, column))))]);
      const [low, high] = axisOf(this.plot, trace.yaxis).range;
      const { rows: shown, notes } = noted(low < high ? rows.reverse() : rows);
      yield {
        head: ["row", ...names("x", z[0]?.length ?? 0)],
        rows: shown,
        notes: [`Rows: ${this.title(trace.yaxis)}`, `Columns: ${this.title(trace.xaxis)}`,
          ...notes],
      };
    }
  }

  /** A row a place, a column a curve or a colour of bars; a table an axis of values. */
  *curves() {
    const keys = this.traces.filter(one => one.name && (isKey(one) || isLevel(one)));
    const said = [...keys.map(nameOf), ...(this.plot._fullLayout.sliders ?? []).map(stepOf)];
    for (const [axis, lines] of Map.groupBy(this.lines, line => line.valueAxis)) {
      const [first] = lines;
      const places = [...new Set(lines.flatMap(line => [...line.values.keys()]))];
      if (places.every(isNumber)) places.sort((a, b) => a - b);
      const values = lines.flatMap(line => [...line.values.values()]);
      const digits = digitsOf(values, axisOf(this.plot, axis).range);
      const { rows, notes } = noted(places.map(place => [
        lines.map(line => line.names.get(place)).find(Boolean)
          || this.place(first.placeAxis, place),
        ...lines.map(line => this.valueAt(line, place, digits))]));
      yield {
        head: [this.title(first.placeAxis).replace(`${first.name}: `, ""),
          ...lines.map(line => line.name || this.title(axis))],
        rows,
        notes: [...said, ...notes],
      };
    }
  }

  valueAt({ values, bands, trace }, place, digits) {
    const value = values.get(place);
    if (!isNumber(value)) return this.gapAt(trace, place);
    const ends = bands.map(band => band.get(place)).filter(Boolean);
    return [written(value, digits),
      ends.map(pair => pair.map(end => written(end, digits)).join(" to ")).join(", ")];
  }

  /** Why a curve has no value at a place: what a mark there says. */
  gapAt(trace, place) {
    for (const dots of this.dots.filter(one => this.isOf(one, trace))) {
      const k = dots.x.indexOf(place);
      if (k >= 0) return gapOf(wordsOf(dots, k));
    }
    return "";
  }

  /** Whether marks belong to a curve: those of its group, and those of no group. */
  isOf(dots, { yaxis, legendgroup }) {
    return dots.yaxis === yaxis && (!dots.legendgroup || dots.legendgroup === legendgroup);
  }

  /** Curves and bars with their values by place, and the bands that were drawn before each. */
  readLines() {
    const lines = [];
    let bands = [];
    for (const trace of this.traces) {
      const bars = trace.type === "bar";
      if (trace.fill && trace.fill !== "none") bands.push(endsOf(trace));
      else if ((bars || trace.mode?.includes("lines")) && !isKey(trace) && !isLevel(trace)
        && !this.inMap(trace)) {
        const flat = bars && trace.orientation === "h";
        const [along, up] = flat ? ["y", "x"] : ["x", "y"];
        const names = Array.from(trace.meta?.x ?? [], (name, k) => [trace[along][k], plain(name)]);
        lines.push({
          trace, bands, name: nameOf(trace), names: new Map(names),
          values: new Map(Array.from(trace[along], (place, k) => [place, trace[up][k]])),
          placeAxis: trace[`${along}axis`], valueAxis: trace[`${up}axis`],
        });
        bands = [];
      }
    }
    return lines;
  }

  /** A row a point: what it is of, where it lies, what is said of it. */
  *points() {
    for (const [axis, traces] of Map.groupBy(this.dots, dots => dots.yaxis)) {
      const ways = ["y", "x"].filter(way => this.says(traces, way));
      const rows = traces.flatMap(dots => Array.from(dots.x, (_, k) => k)
        .filter(k => !this.isGap(dots, k))
        .map(k => [...ways.map(way => this.where(dots, way, k)), nameOf(dots),
          oneLine(wordsOf(dots, k))]));
      const titles = ways.map(way => this.title(traces[0][`${way}axis`]));
      const head = [...titles, "kind", "in words"];
      const told = head.map((_, column) => rows.some(row => String(row[column])
        && (column === 0 || row[column] !== row[0])));
      const picked = row => row.filter((_, column) => told[column]);
      if (!rows.length) continue;
      yield { title: this.title(axis), head: picked(head), rows: rows.map(picked) };
    }
  }

  /** Whether where points lie along an axis says anything, as it does not in a drawing. */
  says(traces, way) {
    const axis = axisOf(this.plot, traces[0][`${way}axis`]);
    const inRows = traces.every(trace => new Set(trace[way]).size <= 1);
    return axis.visible && (axis.showticklabels || !inRows);
  }

  /** Whether a point only marks that its curves have no value there. */
  isGap(dots, k) {
    const curves = this.lines.filter(line => this.isOf(dots, line.trace));
    return curves.length > 0 && curves.every(({ values }) =>
      values.has(dots.x[k]) && !isNumber(values.get(dots.x[k])));
  }

  where(dots, way, k) {
    const value = dots[way][k];
    if (!isNumber(value)) return oneLine(plain(value));
    if (dots.hoverinfo === "skip") return "";
    const axis = axisOf(this.plot, dots[`${way}axis`]);
    const digits = digitsOf(dots[way], axis.range);
    const text = digits ? written(value, digits) : this.place(dots[`${way}axis`], value);
    const { visible, array, arrayminus } = dots[`error_${way}`] ?? {};
    if (!visible) return text;
    return [text, [value - arrayminus[k], value + array[k]].map(end => written(end, digits))
      .join(" to ")];
  }
}
