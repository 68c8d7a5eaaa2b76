/** The whole clip as a line: confidence, annotated and doubtful frames, and the place in it. */

const PAD = 10; // pixels at both ends

export class Timeline {
  constructor(element, state) {
    this.state = state;
    this.slider = element;
    this.canvas = element.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    element.setAttribute("aria-valuemin", "0");
    element.setAttribute("aria-valuemax", String(state.clip.frames - 1));
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.#seek(event);
    });
    element.addEventListener("pointermove", (event) => {
      if (element.hasPointerCapture(event.pointerId)) this.#seek(event);
    });
    new ResizeObserver(() => this.#draw()).observe(element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    state.on(["frame", "annotated", "confidence", "doubtful"], () => this.#later());
  }

  #later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.#draw();
    });
  }

  #seek(event) {
    const box = this.slider.getBoundingClientRect();
    const part = (event.clientX - box.left - PAD) / (box.width - 2 * PAD);
    const last = this.state.clip.frames - 1;
    this.state.set({
      frame: Math.min(last, Math.max(0, Math.round(part * last))), playing: false, follow: false,
    });
  }

  #draw() {
    const { canvas, context, slider, state } = this;
    const { clientWidth: width, clientHeight: height } = slider;
    canvas.width = Math.max(1, Math.round(width * devicePixelRatio));
    canvas.height = Math.max(1, Math.round(height * devicePixelRatio));
    const styles = getComputedStyle(slider);
    const color = (name) => styles.getPropertyValue(name);
    const last = Math.max(1, state.clip.frames - 1);
    const x = (index) => PAD + (index / last) * (width - 2 * PAD);
    const top = 12, bottom = height - 8;
    const y = (value) => bottom - value * (bottom - top);
    context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    context.fillStyle = color("--line");
    context.fillRect(PAD, bottom, width - 2 * PAD, 1);
    const half = Math.max(1.5, Math.min(6, (width - 2 * PAD) / last / 2));
    context.fillStyle = color("--doubt-soft");
    for (const index of state.doubtful) {
      context.fillRect(x(index) - half, top - 4, 2 * half, bottom - top + 4);
    }
    this.#curve(x, y, bottom, color("--accent"), color("--accent-soft"));
    context.fillStyle = color("--doubt");
    for (const index of state.doubtful) context.fillRect(x(index) - half, bottom, 2 * half, 3);
    for (const index of state.annotated) {
      context.fillStyle = color("--mark");
      context.beginPath();
      for (const [dx, dy] of [[0, -5], [5, 0], [0, 5], [-5, 0]]) context.lineTo(x(index) + dx, 7 + dy);
      context.fill();
    }
    context.fillStyle = color("--ink");
    context.fillRect(x(state.frame) - 1, 2, 2, height - 4);
    context.beginPath();
    context.arc(x(state.frame), bottom, 6, 0, 7);
    context.fill();
    this.#describe();
  }

  #curve(x, y, bottom, line, area) {
    const { context, state } = this;
    let begun = [];
    const flush = () => {
      if (!begun.length) return;
      if (begun.length === 1) begun.push([begun[0][0] + 1, begun[0][1]]);
      context.beginPath();
      context.moveTo(begun[0][0], bottom);
      for (const point of begun) context.lineTo(...point);
      context.lineTo(begun.at(-1)[0], bottom);
      context.fillStyle = area;
      context.fill();
      context.beginPath();
      for (const point of begun) context.lineTo(...point);
      context.strokeStyle = line;
      context.lineWidth = 1.5;
      context.stroke();
      begun = [];
    };
    state.confidence.forEach((value, index) => {
      if (value === null) flush();
      else begun.push([x(index), y(value)]);
    });
    flush();
  }

  #describe() {
    const { slider, state } = this;
    slider.setAttribute("aria-valuenow", String(state.frame));
    slider.setAttribute("aria-valuetext", describeFrame(state, state.frame));
  }
}

/** Says in words what is known of a frame. */
export function describeFrame(state, index) {
  const words = [`Frame ${index} of ${state.clip.frames}`];
  if (state.annotated.has(index)) words.push("annotated by hand");
  const confidence = state.confidence[index];
  if (typeof confidence === "number") words.push(`confidence ${Math.round(100 * confidence)} %`);
  if (state.doubtful.has(index)) words.push("doubtful");
  return words.join(", ");
}
