/** The mask of a frame as a picture, at the resolution of the clip. */

const EDGE = 1.6; // pixels of the screen

/** Parses #rrggbb. */
export function rgb(color) {
  return [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
}

/** Returns the width of outlines in pixels of the clip. */
export function edgeWidth(scale) {
  return Math.max(1, Math.round(EDGE / scale));
}

export class MaskLayer {
  constructor(width, height) {
    this.canvas = Object.assign(document.createElement("canvas"), { width, height });
    this.context = this.canvas.getContext("2d");
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.key = "";
  }

  /**
   * Draws ids; where only a rectangle changed, only that is drawn anew.
   *
   * `look` is overlay, outline or cutout (the alpha of a cut-out); `scale` is pixels of the screen
   * per pixel of the clip.
   */
  draw(ids, objects, look, scale, rect) {
    const edge = look === "cutout" ? 0 : edgeWidth(scale);
    const { width, height } = this.canvas;
    let [x0, y0, x1, y1] = rect ?? [0, 0, width, height];
    [x0, y0] = [Math.max(0, x0 - edge), Math.max(0, y0 - edge)];
    [x1, y1] = [Math.min(width, x1 + edge), Math.min(height, y1 + edge)];
    if (x0 >= x1 || y0 >= y1) return;
    const { fills, edges } = this.#colors(objects, look);
    const { pixels } = this;
    for (let y = y0; y < y1; y++) {
      const up = Math.max(0, y - edge) * width;
      const down = Math.min(height - 1, y + edge) * width;
      const row = y * width;
      for (let x = x0; x < x1; x++) {
        const id = ids[row + x];
        if (!id) {
          pixels[row + x] = 0;
          continue;
        }
        const left = row + Math.max(0, x - edge);
        const right = row + Math.min(width - 1, x + edge);
        const border =
          ids[up + x] !== id || ids[down + x] !== id || ids[left] !== id || ids[right] !== id;
        pixels[row + x] = border ? edges[id] : fills[id];
      }
    }
    this.context.putImageData(this.image, 0, 0, x0, y0, x1 - x0, y1 - y0);
  }

  #colors(objects, look) {
    const pack = ([r, g, b], alpha) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;
    const fills = new Uint32Array(256).fill(pack([255, 255, 255], look === "outline" ? 0 : 110));
    const edges = new Uint32Array(256).fill(pack([255, 255, 255], 255));
    for (const { id, color } of objects) {
      fills[id] = pack(rgb(color), look === "outline" ? 0 : 110);
      edges[id] = pack(rgb(color), 255);
    }
    if (look === "cutout") {
      fills.fill(0xff000000);
      edges.fill(0xff000000);
    }
    return { fills, edges };
  }
}
