/**
 * The drawing tools.
 *
 * A tool has `down(point, inside)`, `move(point)`, `up(point)` and `cancel()`, points in pixels of
 * the clip, and `paint(context, toScreen)`, which draws what is being made. `inside` is false where
 * the person takes away: with the modifier key, the right button, or the switch.
 */

import { cut, drawLine, drawPolygon, fillArea, paste, union } from "./raster.js";

const INSIDE = "#2ee59d", OUTSIDE = "#ff5c7a", BOX = "#ffd60a";
const CLOSING = 10; // pixels of the screen around the first corner of a polygon

/** Makes the tools. `solve(index, object, prompts)` asks the server for a mask of strokes. */
export function makeTools({ state, masks, stage, solve, say }) {
  const context = { state, masks, stage, solve, say };
  return {
    strokes: new Strokes(context),
    box: new Box(context),
    brush: new Brush(context, false),
    eraser: new Brush(context, true),
    polygon: new Polygon(context),
    fill: new Fill(context),
    hand: new Tool(context),
  };
}

/** What happens to the pixels that a tool covers. */
function chooser(object, inside) {
  return inside ? () => object : (id) => (id === object ? 0 : id);
}

class Tool {
  constructor(context) {
    Object.assign(this, context);
  }

  get mask() {
    return this.masks.peek(this.state.frame);
  }

  down() {}
  move() {}
  up() {}
  cancel() {}
  finish() {}
  paint() {}
}

class Brush extends Tool {
  constructor(context, erases) {
    super(context);
    this.erases = erases;
  }

  down(point, inside) {
    if (!this.mask) return;
    this.frame = this.state.frame;
    this.before = this.mask.ids.slice();
    this.end = this.masks.begin(this.frame);
    this.choose = chooser(this.state.object, inside && !this.erases);
    [this.last, this.rect] = [point, null];
    this.move(point);
  }

  move(point) {
    if (!this.end) return;
    const mask = this.masks.peek(this.frame);
    const rect = drawLine(mask, this.last, point, this.state.radius, this.choose);
    this.rect = union(this.rect, rect);
    this.last = point;
    if (rect) this.stage.redraw(rect);
  }

  up() {
    const end = this.end;
    this.end = null;
    if (end) end(this.rect);
  }

  cancel() {
    if (!this.end) return;
    this.end = null;
    if (!this.rect) return;
    const mask = this.masks.peek(this.frame);
    paste(mask, this.rect, cut({ ...mask, ids: this.before }, this.rect));
    this.stage.redraw(null);
  }
}

class Polygon extends Tool {
  points = [];

  down(point, inside) {
    if (!this.mask) return;
    const first = this.points[0];
    if (first) {
      const [a, b] = [this.stage.toScreen(first), this.stage.toScreen(point)];
      const [dx, dy] = [a[0] - b[0], a[1] - b[1]];
      if (this.points.length > 2 && Math.hypot(dx, dy) < CLOSING) {
        this.finish();
        return;
      }
    } else {
      [this.frame, this.inside] = [this.state.frame, inside];
    }
    if (this.frame !== this.state.frame) {
      this.points = [];
      [this.frame, this.inside] = [this.state.frame, inside];
    }
    this.points.push(point);
    this.hover = point;
    this.stage.redraw();
  }

  move(point) {
    this.hover = point;
    if (this.points.length) this.stage.redraw();
  }

  finish() {
    const points = this.points;
    this.points = [];
    if (points.length > 2 && this.frame === this.state.frame) {
      const end = this.masks.begin(this.frame);
      const choose = chooser(this.state.object, this.inside);
      end(drawPolygon(this.mask, points, choose));
    }
    this.stage.redraw(null);
  }

  cancel() {
    this.points = [];
    this.stage.redraw();
  }

  paint(context, toScreen) {
    if (!this.points.length || this.frame !== this.state.frame) return;
    const points = [...this.points, this.hover].map(toScreen);
    trace(context, points, this.inside ? INSIDE : OUTSIDE, 2);
    for (const [i, [x, y]] of points.slice(0, -1).entries()) {
      context.fillStyle = i ? "#ffffff" : BOX;
      context.strokeStyle = "#000000";
      context.lineWidth = 1;
      context.beginPath();
      context.arc(x, y, i ? 4 : 6, 0, 7);
      context.fill();
      context.stroke();
    }
  }
}

class Fill extends Tool {
  down(point, inside) {
    const { mask, state } = this;
    const [x, y] = point.map(Math.floor);
    if (!mask || x < 0 || y < 0 || x >= mask.width || y >= mask.height) return;
    const end = this.masks.begin(state.frame);
    const { rect, open } = fillArea(mask, point, chooser(state.object, inside));
    if (open) this.say("Only an area that a mask encloses can be filled.");
    end(rect);
    this.stage.redraw(null);
  }
}

/** Returns the strokes and the box of an object of a mask. */
function promptsOf(mask, object) {
  return mask.prompts[object] ?? { strokes: [], box: null };
}

class Strokes extends Tool {
  down(point, inside) {
    if (!this.mask) return;
    this.frame = this.state.frame;
    this.stroke = { inside, points: [point], width: 2 * Math.min(this.state.radius, 8) };
    this.stage.redraw();
  }

  move(point) {
    if (!this.stroke) return;
    const last = this.stroke.points.at(-1);
    if (Math.hypot(point[0] - last[0], point[1] - last[1]) < 1.5) return;
    this.stroke.points.push(point);
    this.stage.redraw();
  }

  up() {
    const { stroke, frame, state } = this;
    if (!stroke) return;
    this.stroke = null;
    const { strokes, box } = promptsOf(this.masks.peek(frame), state.object);
    this.solve(frame, state.object, { strokes: [...strokes, stroke], box });
  }

  cancel() {
    this.stroke = null;
    this.stage.redraw();
  }

  paint(context, toScreen) {
    paintPrompts(context, toScreen, this.mask, this.state.object);
    if (this.stroke && this.frame === this.state.frame) paintStroke(context, toScreen, this.stroke);
  }
}

class Box extends Tool {
  down(point) {
    if (!this.mask) return;
    [this.from, this.to, this.frame] = [point, point, this.state.frame];
  }

  move(point) {
    if (!this.from) return;
    this.to = point;
    this.stage.redraw();
  }

  up() {
    const { from, to, frame, state } = this;
    this.from = null;
    if (!from) return;
    const { width, height } = state.clip;
    const clamp = (value, limit) => Math.min(limit, Math.max(0, value));
    const box = [
      clamp(Math.min(from[0], to[0]), width), clamp(Math.min(from[1], to[1]), height),
      clamp(Math.max(from[0], to[0]), width), clamp(Math.max(from[1], to[1]), height),
    ];
    this.stage.redraw();
    if (box[2] - box[0] < 3 || box[3] - box[1] < 3) return;
    const { strokes } = promptsOf(this.masks.peek(frame), state.object);
    this.solve(frame, state.object, { strokes, box });
  }

  cancel() {
    this.from = null;
    this.stage.redraw();
  }

  paint(context, toScreen) {
    paintPrompts(context, toScreen, this.mask, this.state.object);
    if (this.from) paintBox(context, toScreen, [...this.from, ...this.to]);
  }
}

function paintPrompts(context, toScreen, mask, object) {
  if (!mask) return;
  const { strokes, box } = promptsOf(mask, object);
  if (box) paintBox(context, toScreen, box);
  for (const stroke of strokes) paintStroke(context, toScreen, stroke);
}

function paintBox(context, toScreen, [x0, y0, x1, y1]) {
  const corners = [[x0, y0], [x1, y0], [x1, y1], [x0, y1], [x0, y0]];
  trace(context, corners.map(toScreen), BOX, 2, [6, 4]);
}

function paintStroke(context, toScreen, { inside, points }) {
  const shown = points.map(toScreen);
  if (shown.length === 1) shown.push([shown[0][0] + 0.1, shown[0][1]]);
  trace(context, shown, inside ? INSIDE : OUTSIDE, 5, inside ? [] : [1, 9]);
}

/** Draws a line that is seen on every ground. */
function trace(context, points, color, width, dash = []) {
  context.save();
  context.lineJoin = context.lineCap = "round";
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  context.strokeStyle = "#000000a0";
  context.lineWidth = width + 2;
  if (width < 4) context.setLineDash(dash);
  context.stroke();
  context.strokeStyle = color;
  context.lineWidth = width;
  context.setLineDash(dash);
  context.stroke();
  context.restore();
}
