// A short table of the page. Streamlit's own renders every cell as Markdown, which for the probes of
// a model takes longer than all else on the page.

import { frameOf, table } from "./table.js";

const frames = new WeakMap();

/** Called by Streamlit when the element is made and whenever its script has run again. */
export function show({ data, parentElement }) {
  const frame = frameOf(data.alt);
  frame.append(table(data));
  frames.get(parentElement)?.remove();
  frames.set(parentElement, frame);
  parentElement.append(frame);
  return () => frames.get(parentElement)?.remove();
}
