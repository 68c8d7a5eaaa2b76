/** Loads frames at the size shown; the newest wish comes first. */

import { frameUrl, request } from "./api.js";

const WIDTHS = [160, 320, 480, 640, 960, 1280, 1920, 2560, 3840];
const PARALLEL = 2;
const KEPT_BYTES = 192 << 20;

export class Frames {
  #images = new Map(); // "index/width" -> ImageBitmap
  #bytes = 0;
  #wanted = []; // [index, width], the most urgent first
  #running = new Map(); // key -> AbortController
  #first = ""; // the key of the most urgent

  constructor(clip, loaded) {
    [this.clip, this.loaded] = [clip, loaded];
  }

  /** Returns the width to ask for where a frame is shown with some pixels. */
  width(pixels) {
    const enough = WIDTHS.find((width) => width >= pixels) ?? Infinity;
    return Math.min(enough, this.clip.width);
  }

  /** Returns the image of a frame, at the width or else at the nearest one that is loaded. */
  peek(index, width) {
    const exact = this.#images.get(`${index}/${width}`);
    if (exact) return exact;
    const others = [...WIDTHS, this.clip.width]
      .map((other) => this.#images.get(`${index}/${other}`))
      .filter(Boolean);
    return others.find((image) => image.width >= width) ?? others.at(-1) ?? null;
  }

  /** Says which frames are wanted now, the most urgent first; others are no longer loaded. */
  want(list) {
    this.#first = list.length ? list[0].join("/") : "";
    const exists = (index) => index >= 0 && index < this.clip.frames;
    this.#wanted = list.filter(
      ([index, width]) => exists(index) && !this.#images.has(`${index}/${width}`),
    );
    const keys = new Set(this.#wanted.map(([index, width]) => `${index}/${width}`));
    for (const [key, controller] of this.#running) {
      if (!keys.has(key)) controller.abort();
    }
    this.#next();
  }

  #next() {
    for (const [index, width] of this.#wanted) {
      // The server decodes the most urgent one with all cores.
      if (this.#running.size >= PARALLEL || this.#running.has(this.#first)) return;
      if (!this.#running.has(`${index}/${width}`)) this.#load(index, width);
    }
  }

  async #load(index, width) {
    const key = `${index}/${width}`;
    const controller = new AbortController();
    this.#running.set(key, controller);
    try {
      const options = { signal: controller.signal, priority: "high" };
      const answer = await request(frameUrl(this.clip.id, index, width), options);
      const image = await createImageBitmap(await answer.blob());
      this.#keep(key, image);
      this.loaded(index, image);
    } catch (error) {
      if (error.name !== "AbortError") await new Promise((done) => setTimeout(done, 1000));
    }
    this.#running.delete(key);
    this.#wanted = this.#wanted.filter(([i, w]) => !this.#images.has(`${i}/${w}`));
    this.#next();
  }

  #keep(key, image) {
    this.#images.set(key, image);
    this.#bytes += image.width * image.height * 4;
    for (const [old, kept] of this.#images) {
      if (this.#bytes <= KEPT_BYTES || old === key) return;
      this.#images.delete(old);
      this.#bytes -= kept.width * kept.height * 4;
      kept.close();
    }
  }
}
