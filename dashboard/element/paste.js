// An image on the clipboard goes into a file uploader as if it had been chosen there: by a button,
// and by Ctrl+V or a drop anywhere on the page. It takes the uploader's own way to the server.

const KEYS = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘V" : "Ctrl+V";
const style = document.createElement("style");
style.textContent = `
.paste { display: flex; flex-wrap: wrap; align-items: center; gap: 4px 10px;
  font: 13px var(--st-font); color: var(--st-text-color); }
.paste button { font: inherit; min-height: 34px; padding: 0 12px; cursor: pointer;
  color: inherit; background: var(--st-secondary-background-color);
  border: 1px solid var(--st-border-color); border-radius: 6px; }
.paste button:focus-visible { outline: 2px solid var(--st-primary-color); outline-offset: 2px; }`;
document.head.append(style);

class Paste {
  constructor(parent) {
    this.frame = document.createElement("div");
    this.frame.className = "paste";
    this.button = document.createElement("button");
    this.button.type = "button";
    this.button.textContent = "Paste";
    this.button.addEventListener("click", () => this.read());
    this.line = document.createElement("span");
    this.line.setAttribute("role", "status");
    this.frame.append(this.button, this.line);
    parent.append(this.frame);
  }

  /** Whose file input it fills, and whether it listens to the whole page. */
  show({ uploader, everywhere }) {
    this.uploader = uploader;
    this.listening?.abort();
    this.listening = new AbortController();
    this.say(everywhere ? `an image, press ${KEYS}, or drop a file anywhere on the page.` : "");
    if (!everywhere) return;
    const { signal } = this.listening;
    document.addEventListener("paste", event => this.pasted(event), { signal });
    document.addEventListener("dragover", event => {
      if (event.dataTransfer.types.includes("Files")) event.preventDefault();
    }, { signal });
    document.addEventListener("drop", event => this.dropped(event), { signal });
  }

  pasted(event) {
    const { files, types } = event.clipboardData;
    const typing = event.target.closest?.("input, textarea, [contenteditable]");
    if (typing && types.includes("text/plain")) return;
    const image = [...files].find(file => file.type.startsWith("image/"));
    if (!image) return;
    event.preventDefault();
    this.give(image);
  }

  dropped(event) {
    const [file] = event.dataTransfer.files;
    if (!file || event.target.closest?.("[data-testid=stFileUploaderDropzone]")) return;
    event.preventDefault();
    this.give(file);
  }

  async read() {
    if (!navigator.clipboard?.read) {
      this.say(`This browser lets no page read the clipboard: press ${KEYS}, or choose a file.`);
      return;
    }
    try {
      for (const item of await navigator.clipboard.read()) {
        const type = item.types.find(one => one.startsWith("image/"));
        if (type) {
          const name = `pasted.${type.slice("image/".length)}`;
          this.give(new File([await item.getType(type)], name, { type }));
          return;
        }
      }
      this.say("There is no image on the clipboard.");
    } catch {
      this.say(`The browser did not allow it: press ${KEYS}, or choose a file.`);
    }
  }

  give(file) {
    const input = document.querySelector(`.${this.uploader} input[type=file]`);
    const held = new DataTransfer();
    held.items.add(file);
    input.files = held.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }

  say(words) { this.line.textContent = words; }

  end() {
    this.listening?.abort();
    this.frame.remove();
  }
}

const all = new WeakMap();

/** Called by Streamlit when the element is made and whenever its script has run again. */
export function show({ data, parentElement }) {
  let paste = all.get(parentElement);
  if (!paste) all.set(parentElement, paste = new Paste(parentElement));
  paste.show(data);
  return () => {
    all.delete(parentElement);
    paste.end();
  };
}
