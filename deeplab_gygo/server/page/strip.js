/** Thumbnails of the frames; only those in view are in the document. */

import { frameUrl } from "./api.js";
import { describeFrame } from "./timeline.js";

const GAP = 4;
const BEYOND = 3; // thumbnails beyond both ends of the view
const THUMB_WIDTH = 160; // pixels of the picture
const PARALLEL = 2; // the frame in view is more urgent
const SETTLED = 120; // ms without scrolling before far thumbnails are loaded

export class Strip {
  #items = new Map(); // index -> element

  constructor(element, state) {
    [this.element, this.state] = [element, state];
    this.inner = element.firstElementChild;
    const { clip } = state;
    const ratio = (clip.width * clip.pixel_aspect) / clip.height;
    this.height = element.clientHeight - 8;
    this.width = Math.round(Math.min(160, Math.max(34, this.height * ratio)));
    this.inner.style.width = `${clip.frames * (this.width + GAP)}px`;
    element.addEventListener("scroll", () => this.#fill(), { passive: true });
    element.addEventListener("click", (event) => {
      const item = event.target.closest("[data-index]");
      if (item) state.set({ frame: Number(item.dataset.index), playing: false, follow: false });
    });
    new ResizeObserver(() => this.#fill()).observe(element);
    state.on(["frame"], () => this.#reveal());
    state.on(["frame", "annotated", "doubtful", "confidence"], () => this.#mark());
  }

  #reveal() {
    const { element, state } = this;
    const step = this.width + GAP;
    const left = state.frame * step;
    const margin = Math.min(step, element.clientWidth / 4);
    if (left < element.scrollLeft + margin) element.scrollLeft = left - margin;
    else if (left + step > element.scrollLeft + element.clientWidth - margin) {
      element.scrollLeft = left + step - element.clientWidth + margin;
    }
    this.#fill();
  }

  #fill() {
    const step = this.width + GAP;
    const { scrollLeft, clientWidth } = this.element;
    const first = Math.max(0, Math.floor(scrollLeft / step) - BEYOND);
    const shown = Math.ceil((scrollLeft + clientWidth) / step);
    const end = Math.min(this.state.clip.frames, shown + BEYOND);
    for (const [index, item] of this.#items) {
      if (index >= first && index < end) continue;
      item.firstElementChild?.removeAttribute("src"); // gives its request up
      item.remove();
      this.#items.delete(index);
    }
    for (let index = first; index < end; index++) {
      if (!this.#items.has(index)) this.#add(index);
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.#load(), SETTLED);
  }

  #add(index) {
    const item = document.createElement("div");
    item.className = "thumb";
    item.id = `thumb-${index}`;
    item.dataset.index = index;
    item.setAttribute("role", "option");
    item.style.left = `${index * (this.width + GAP)}px`;
    item.style.width = `${this.width}px`;
    const image = Object.assign(new Image(), {
      alt: "", draggable: false, decoding: "async", fetchPriority: "low",
    });
    image.addEventListener("load", () => {
      image.classList.add("loaded");
      this.#load();
    });
    image.addEventListener("error", () => this.#load());
    item.append(image, Object.assign(document.createElement("span"), { textContent: index }));
    this.#items.set(index, item);
    this.inner.append(item);
    this.#markOne(item, index);
  }

  /**
   * Loads some thumbnails; the others follow when they come. Those from the frame in view on come
   * first, each part in the order of the clip: a video is decoded forwards.
   */
  #load() {
    const { clip, frame } = this.state;
    const images = [...this.#items].map(([index, item]) => [index, item.firstElementChild]);
    const begun = images.filter(([, image]) => image.hasAttribute("src") && !image.complete);
    const waiting = images.filter(([, image]) => !image.hasAttribute("src"));
    waiting.sort(([a], [b]) => (a < frame) - (b < frame) || a - b);
    for (const [index, image] of waiting.slice(0, Math.max(0, PARALLEL - begun.length))) {
      image.src = frameUrl(clip.id, index, Math.min(THUMB_WIDTH, clip.width));
    }
  }

  #mark() {
    for (const [index, item] of this.#items) this.#markOne(item, index);
    const { frame } = this.state;
    if (this.#items.has(frame)) this.element.setAttribute("aria-activedescendant", `thumb-${frame}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  #markOne(item, index) {
    const { state } = this;
    item.setAttribute("aria-selected", String(index === state.frame));
    item.setAttribute("aria-label", describeFrame(state, index));
    item.classList.toggle("annotated", state.annotated.has(index));
    item.classList.toggle("doubtful", state.doubtful.has(index));
    item.classList.toggle("segmented", typeof state.confidence[index] === "number");
  }
}
