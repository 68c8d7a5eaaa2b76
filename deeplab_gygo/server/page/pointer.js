/**
 * Pointer, wheel and keyboard on the stage.
 *
 * One pointer draws with the chosen tool; two pan and zoom; the wheel zooms, with Shift it pans. On
 * the keyboard Enter shows a cross that the arrow keys move; Enter again puts the pen down and up.
 */

const STEP = 2, LEAP = 20; // pixels of the clip an arrow key moves the cross

export class Pointer {
  #pointers = new Map(); // id -> [x, y] on the canvas
  #drawing = null; // id of the pointer that draws
  #panning = false;
  #pinch = null;
  #usesKeys = false; // whether the keyboard moves the cross
  #down = false; // whether the pen of the keyboard is down

  constructor({ canvas, stage, state, tools }) {
    Object.assign(this, { canvas, stage, state, tools });
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#drag(event));
    canvas.addEventListener("pointerup", (event) => this.#release(event, true));
    canvas.addEventListener("pointercancel", (event) => this.#release(event, false));
    canvas.addEventListener("pointerleave", () => state.set({ cursor: null }));
    canvas.addEventListener("dblclick", () => this.tool.finish());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    stage.paintTool = (context, pane) => this.#paint(context, pane);
    state.on(["tool"], () => {
      canvas.classList.toggle("moves", state.tool === "hand");
      canvas.classList.toggle("sized", ["brush", "eraser"].includes(state.tool));
    });
    // A tool that is given up, or a frame that is left, ends what was begun on it.
    state.on(["tool", "frame", "object"], () => this.cancel());
  }

  get tool() {
    return this.tools[this.state.tool];
  }

  /** Whether something is being drawn. */
  get isDrawing() {
    return this.#drawing !== null || this.#down;
  }

  cancel() {
    for (const tool of Object.values(this.tools)) tool.cancel();
    [this.#drawing, this.#down] = [null, false];
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  #press(event) {
    if (event.pointerType === "touch" || event.button === 1) event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const place = this.#place(event);
    this.#pointers.set(event.pointerId, place);
    this.state.set({ playing: false });
    if (this.#pointers.size === 2) {
      // The first of two fingers did not mean to draw.
      if (this.#drawing !== null) this.tool.cancel();
      this.#drawing = null;
      this.#pinch = this.#fingers();
      return;
    }
    this.#panning = event.button === 1 || this.state.tool === "hand";
    if (this.#panning || this.#pointers.size > 1) return;
    const takesAway = event.altKey || event.ctrlKey || event.button === 2;
    // The other end of a pen erases.
    const inside = event.button === 5 ? false : this.state.inside !== takesAway;
    this.#drawing = event.pointerId;
    this.tool.down(this.stage.toClip(place), inside);
  }

  #drag(event) {
    const place = this.#place(event);
    const before = this.#pointers.get(event.pointerId);
    if (before) this.#pointers.set(event.pointerId, place);
    this.#usesKeys = false;
    if (event.pointerType !== "touch") this.state.set({ cursor: this.stage.toClip(place) });
    if (this.#pinch && this.#pointers.size >= 2) {
      const now = this.#fingers();
      this.stage.panBy(now.x - this.#pinch.x, now.y - this.#pinch.y);
      this.stage.zoomBy(now.size / this.#pinch.size, [now.x, now.y]);
      this.#pinch = now;
    } else if (before && this.#panning) {
      this.stage.panBy(place[0] - before[0], place[1] - before[1]);
    } else if (this.#drawing === event.pointerId) {
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) {
        this.tool.move(this.stage.toClip(this.#place(each)));
      }
    } else if (!before) {
      if (this.state.tool === "polygon") this.tool.move(this.stage.toClip(place));
    }
  }

  #release(event, wanted) {
    this.#pointers.delete(event.pointerId);
    if (this.#pointers.size < 2) this.#pinch = null;
    if (!this.#pointers.size) this.#panning = false;
    if (this.#drawing !== event.pointerId) return;
    this.#drawing = null;
    if (wanted) this.tool.up(this.stage.toClip(this.#place(event)));
    else this.tool.cancel();
  }

  #fingers() {
    const [[x0, y0], [x1, y1]] = [...this.#pointers.values()];
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, size: Math.hypot(x1 - x0, y1 - y0) || 1 };
  }

  #wheel(event) {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 16 : 1;
    if (event.shiftKey) {
      const delta = event.deltaX || event.deltaY;
      this.stage.panBy(-delta * unit, 0);
    } else {
      this.stage.zoomBy(Math.exp(-event.deltaY * unit * 0.002), this.#place(event));
    }
  }

  /** Handles a key on the stage; returns whether it was one of its own. */
  key(event) {
    const { state, stage } = this;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    if (event.key === "Escape") {
      this.cancel();
      this.#usesKeys = false;
      state.set({ cursor: null });
      return true;
    }
    if (event.key === "Enter" && event.shiftKey) {
      this.tool.finish();
      return true;
    }
    if (event.key === "Enter" && state.tool !== "hand") {
      if (!this.#usesKeys) {
        this.#usesKeys = true;
        state.set({ cursor: state.cursor ?? [state.clip.width / 2, state.clip.height / 2] });
      } else if (this.#down) {
        this.#down = false;
        this.tool.up(state.cursor);
      } else {
        this.tool.down(state.cursor, state.inside !== event.altKey);
        this.#down = !["polygon", "fill"].includes(state.tool);
      }
      return true;
    }
    if (event.key in arrows && this.#usesKeys && state.cursor) {
      const step = event.shiftKey ? LEAP : STEP;
      const [dx, dy] = arrows[event.key];
      const cursor = [
        Math.min(state.clip.width, Math.max(0, state.cursor[0] + dx * step)),
        Math.min(state.clip.height, Math.max(0, state.cursor[1] + dy * step)),
      ];
      state.set({ cursor });
      if (this.#down || state.tool === "polygon") this.tool.move(cursor);
      stage.redraw();
      return true;
    }
    return false;
  }

  #paint(context, pane) {
    const { state, stage } = this;
    const toScreen = (point) => stage.toScreen(point, pane);
    this.tool.paint(context, toScreen);
    if (!state.cursor || state.tool === "hand") return;
    const [x, y] = toScreen(state.cursor);
    const round = ["brush", "eraser"].includes(state.tool);
    const radius = round ? Math.max(2, state.radius * stage.scale) : 7;
    for (const [color, width] of [["#000000b0", 3], ["#ffffff", 1.2]]) {
      context.strokeStyle = color;
      context.lineWidth = width;
      context.beginPath();
      if (round) context.arc(x, y, radius, 0, 7);
      else {
        context.moveTo(x - radius, y);
        context.lineTo(x + radius, y);
        context.moveTo(x, y - radius);
        context.lineTo(x, y + radius);
      }
      context.stroke();
    }
  }
}
