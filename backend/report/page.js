// Draws the figures of this file, one after the other from the top, in the reader's light or dark;
// their PNG and SVG files carry the provenance that stands in this file.
"use strict";
const PRINTED_PX = 680;
const places = [...document.querySelectorAll("[data-figure]")];
const provenance = document.getElementById("provenance").textContent;
const root = document.documentElement;

function colours() {
  const page = getComputedStyle(root);
  const of = name => page.getPropertyValue(`--${name}`).trim();
  return {
    "font.color": of("text"), "font.family": getComputedStyle(document.body).fontFamily,
    "hoverlabel.bgcolor": of("ground"), "hoverlabel.bordercolor": of("line"),
    "hoverlabel.font.color": of("text"),
  };
}

function save(content, type, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** The PNG with a text chunk in front of its last one, which is 12 bytes long. */
function described(png) {
  const text = new TextEncoder().encode(`iTXtfusionscope.provenance\0\0\0\0\0${provenance}`);
  const chunk = new Uint8Array(text.length + 8);
  const view = new DataView(chunk.buffer);
  view.setUint32(0, text.length - 4);
  chunk.set(text, 4);
  view.setUint32(text.length + 4, crc32(text));
  return new Blob([png.subarray(0, -12), chunk, png.subarray(-12)]);
}

async function saveImage(place, format) {
  const layout = { ...place.layout, paper_bgcolor: getComputedStyle(root).getPropertyValue("--ground") };
  const address = await Plotly.toImage(
    { data: place.data, layout },
    { format, width: place.clientWidth, height: place.layout.height, scale: format === "png" ? 2 : 1 },
  );
  const name = `${place.dataset.name.replace(/[^\p{L}\p{N}]+/gu, "-")}.${format}`;
  if (format === "png") {
    const bytes = Uint8Array.from(atob(address.split(",")[1]), letter => letter.charCodeAt(0));
    save(described(bytes), "image/png", name);
  } else {
    const svg = decodeURIComponent(address.slice(address.indexOf(",") + 1));
    const text = provenance.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    const metadata = `<metadata id="fusionscope.provenance">${text}</metadata>`;
    save(svg.replace(/<svg[^>]*>/, start => start + metadata), "image/svg+xml", name);
  }
}

function button(format) {
  return {
    name: `Save as ${format.toUpperCase()}`,
    icon: format === "png" ? Plotly.Icons.camera : Plotly.Icons.disk,
    click: place => saveImage(place, format),
  };
}

async function draw(place) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  const config = {
    displaylogo: false, responsive: true, scrollZoom: false,
    modeBarButtons: [[button("png"), button("svg")]],
  };
  await Plotly.newPlot(place, { ...figure, config });
  await Plotly.relayout(place, colours());
  place.dispatchEvent(new Event("drawn"));
}

function recolour(also = {}) {
  for (const place of places) if (place.data) Plotly.relayout(place, { ...colours(), ...also });
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => recolour());
addEventListener("beforeprint", () => {
  root.dataset.printing = "";
  recolour({ autosize: false, width: PRINTED_PX });
});
addEventListener("afterprint", () => {
  delete root.dataset.printing;
  recolour({ autosize: true, width: null });
});
document.getElementById("save-provenance")
  .addEventListener("click", () => save(provenance, "application/json", "provenance.json"));

(async () => {
  for (const place of places) {
    await draw(place);
    await new Promise(resolve => setTimeout(resolve));
  }
  root.dataset.drawn = places.length;
})();
