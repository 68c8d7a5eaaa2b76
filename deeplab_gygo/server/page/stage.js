/** The frame and its mask on a canvas, with zoom and pan; one picture or two side by side. */

import { MaskLayer, edgeWidth } from "./layer.js";
import { union } from "./raster.js";

const MAX_ZOOM = 40; // pixels of the screen per pixel of the clip
const MARGIN = 12;

export class Stage {
  #zoom = 1; // 1 fits the frame into the pane
  #center; // of the view, pixels of the clip
  #drawn = null; // what the layer shows
  #waiting = false;
  #dirty = null;

  constructor(canvas, state, frames, masks) {
    Object.assign(this, { canvas, state, frames, masks, paintTool: () => {} });
    this.context = canvas.getContext("2d", { alpha: false });
    this.layer = new MaskLayer(state.clip.width, state.clip.height);
    this.cutout = document.createElement("canvas").getContext("2d");
    this.#center = [state.clip.width / 2, state.clip.height / 2];
    new ResizeObserver(() => this.#resize()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    state.on(
      ["frame", "view", "look", "sideBySide", "backdrop", "backdropColor", "objects", "object",
        "tool", "cursor"],
      () => this.redraw(),
    );
  }

  get panes() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!this.state.sideBySide) return [[0, 0, width, height]];
    if (width >= height) return [[0, 0, width / 2, height], [width / 2, 0, width / 2, height]];
    return [[0, 0, width, height / 2], [0, height / 2, width, height / 2]];
  }

  /** Pixels of the screen (CSS) per pixel of the clip, vertically. */
  get scale() {
    const [, , width, height] = this.panes[0];
    const { clip } = this.state;
    const fit = Math.min(
      (width - 2 * MARGIN) / (clip.width * clip.pixel_aspect),
      (height - 2 * MARGIN) / clip.height,
    );
    return Math.max(0.001, fit) * this.#zoom;
  }

  /** Converts a point of the clip to the screen, in the pane with a number. */
  toScreen([x, y], pane = 0) {
    const [left, top, width, height] = this.panes[pane];
    const { scale } = this;
    return [
      left + width / 2 + (x - this.#center[0]) * scale * this.state.clip.pixel_aspect,
      top + height / 2 + (y - this.#center[1]) * scale,
    ];
  }

  /** Converts a point of the canvas (CSS pixels) to the clip. */
  toClip([x, y]) {
    const inside = ([left, top, width, height]) =>
      x >= left && y >= top && x < left + width && y < top + height;
    const [left, top, width, height] = this.panes.find(inside) ?? this.panes[0];
    const { scale } = this;
    return [
      this.#center[0] + (x - left - width / 2) / (scale * this.state.clip.pixel_aspect),
      this.#center[1] + (y - top - height / 2) / scale,
    ];
  }

  /** Multiplies the zoom; the point of the clip that is at `anchor` on the screen stays there. */
  zoomBy(factor, anchor = this.toScreen(this.#center)) {
    const before = this.toClip(anchor);
    const limit = Math.max(1, (MAX_ZOOM * this.#zoom) / this.scale);
    this.#zoom = Math.min(limit, Math.max(1, this.#zoom * factor));
    const after = this.toClip(anchor);
    this.#moveTo([0, 1].map((i) => this.#center[i] + before[i] - after[i]));
  }

  /** Moves the picture by pixels of the screen. */
  panBy(dx, dy) {
    const { scale } = this;
    const [x, y] = this.#center;
    this.#moveTo([x - dx / (scale * this.state.clip.pixel_aspect), y - dy / scale]);
  }

  fit() {
    this.#zoom = 1;
    this.#moveTo([this.state.clip.width / 2, this.state.clip.height / 2]);
  }

  #moveTo([x, y]) {
    const { width, height } = this.state.clip;
    const whole = this.#zoom === 1;
    this.#center = whole
      ? [width / 2, height / 2]
      : [Math.min(width, Math.max(0, x)), Math.min(height, Math.max(0, y))];
    this.redraw();
  }

  #resize() {
    const ratio = devicePixelRatio;
    this.canvas.width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    this.#waiting = false;
    this.#draw(); // at once: a canvas whose size is set is empty
    this.state.set({ view: this.state.view + 1 });
  }

  /** Returns the width of frames to ask for. */
  get frameWidth() {
    const { clip } = this.state;
    return this.frames.width(clip.width * clip.pixel_aspect * this.scale * devicePixelRatio);
  }

  /** Draws again soon; `rect` is what changed of the mask, null for all of it. */
  redraw(rect) {
    if (rect && this.#dirty !== "all") this.#dirty = union(this.#dirty, rect);
    else if (rect === null) this.#dirty = "all";
    if (this.#waiting) return;
    this.#waiting = true;
    requestAnimationFrame(() => {
      if (this.#waiting) this.#draw();
      this.#waiting = false;
    });
  }

  #draw() {
    const { context, canvas, state } = this;
    const styles = getComputedStyle(canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = styles.getPropertyValue("--stage");
    context.fillRect(0, 0, canvas.width, canvas.height);
    const image = this.frames.peek(state.frame, this.frameWidth);
    const mask = this.masks.peek(state.frame);
    if (mask && state.look !== "frame") this.#drawLayer(mask);
    this.panes.forEach((pane, number) => {
      context.save();
      context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
      context.beginPath();
      context.rect(...pane);
      context.clip();
      const plain = state.look === "frame" || (state.sideBySide && number === 0);
      this.#drawPane(number, image, plain ? null : mask);
      if (number === 0 || state.look !== "frame") this.paintTool(context, number);
      context.restore();
    });
    if (state.sideBySide) this.#drawDivider(styles);
    const [x, y] = this.toScreen([0, 0]);
    canvas.dataset.view = [x, y, this.scale * state.clip.pixel_aspect, this.scale].join(" ");
    canvas.dataset.frame = image ? state.frame : "";
    canvas.dataset.sharp = Boolean(image && image.width >= this.frameWidth);
  }

  #drawDivider(styles) {
    const [left, top, width, height] = this.panes[1];
    this.context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    this.context.fillStyle = styles.getPropertyValue("--line");
    this.context.fillRect(left, top, left ? 1 : width, top ? 1 : height);
  }

  #drawLayer(mask) {
    const { state } = this;
    const scale = this.scale * devicePixelRatio;
    const key = JSON.stringify([state.look, edgeWidth(scale), state.objects]);
    if (this.#drawn?.mask !== mask || this.#drawn.key !== key || this.#dirty === "all") {
      this.layer.draw(mask.ids, state.objects, state.look, scale);
    } else if (this.#dirty) {
      this.layer.draw(mask.ids, state.objects, state.look, scale, this.#dirty);
    }
    this.#drawn = { mask, key };
    this.#dirty = null;
  }

  #drawPane(number, image, mask) {
    const { context, state } = this;
    const { width, height } = state.clip;
    const [x, y] = this.toScreen([0, 0], number);
    const [w, h] = [width * this.scale * state.clip.pixel_aspect, height * this.scale];
    const smooth = this.scale < 4;
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = "high";
    if (!image) {
      context.fillStyle = "#8885";
      context.fillRect(x, y, w, h);
    } else if (mask && state.look === "cutout") {
      this.#drawCutout(image, [x, y, w, h], smooth);
      return;
    } else {
      context.drawImage(image, x, y, w, h);
    }
    if (mask) context.drawImage(this.layer.canvas, x, y, w, h);
  }

  #drawCutout(image, [x, y, w, h], smooth) {
    const { context, cutout, state } = this;
    if (state.backdrop === "checker") {
      drawChecker(context, x, y, w, h);
    } else {
      context.fillStyle = state.backdrop === "white" ? "#ffffff" : state.backdropColor;
      context.fillRect(x, y, w, h);
    }
    const { width, height } = this.canvas;
    if (cutout.canvas.width !== width || cutout.canvas.height !== height) {
      Object.assign(cutout.canvas, { width, height });
    }
    cutout.setTransform(1, 0, 0, 1, 0, 0);
    cutout.globalCompositeOperation = "copy";
    cutout.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    cutout.imageSmoothingEnabled = smooth;
    cutout.drawImage(this.layer.canvas, x, y, w, h);
    cutout.globalCompositeOperation = "source-in";
    cutout.drawImage(image, x, y, w, h);
    context.drawImage(cutout.canvas, 0, 0, width / devicePixelRatio, height / devicePixelRatio);
  }
}

function drawChecker(context, x, y, w, h) {
  const size = 10;
  context.save();
  context.beginPath();
  context.rect(x, y, w, h);
  context.clip();
  context.fillStyle = "#ffffff";
  context.fillRect(x, y, w, h);
  context.fillStyle = "#cfd2d8";
  for (let row = 0; row * size < h; row++) {
    for (let column = row % 2; column * size < w; column += 2) {
      context.fillRect(x + column * size, y + row * size, size, size);
    }
  }
  context.restore();
}
