// Plotly itself, loaded once.

export const plotly = new Promise((resolve, reject) => {
  const script = document.createElement("script");
  script.src = new URL("plotly.js", import.meta.url);
  script.onload = () => resolve(window.Plotly);
  script.onerror = () => reject(new Error(`${script.src} could not be loaded`));
  document.head.append(script);
});
