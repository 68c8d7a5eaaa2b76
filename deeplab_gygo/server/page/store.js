/** Values of the page, and the functions that are called when they change. */
export class Store {
  #listeners = [];

  constructor(values) {
    Object.assign(this, values);
  }

  /** Sets values, then calls the listeners of those that are not the same as before. */
  set(values) {
    const changed = Object.keys(values).filter((name) => this[name] !== values[name]);
    Object.assign(this, values);
    for (const [names, call] of this.#listeners) {
      if (names.some((name) => changed.includes(name))) call(this);
    }
  }

  /** Calls `call` now and whenever one of the named values changes. */
  on(names, call) {
    this.#listeners.push([names, call]);
    call(this);
  }
}

/** Colors of objects, in turn; the server has the same. */
export const COLORS = [
  "#e8554d", "#3d8bfd", "#2fb344", "#f2a516", "#a259d9", "#17b8c4", "#e05299", "#8a8f98",
];

/** Makes the state of a session that is open. */
export function sessionState(info, clip, session) {
  const objects = session.objects.length
    ? session.objects
    : [{ id: 1, name: "Object 1", color: COLORS[0] }];
  return new Store({
    info, clip, id: session.id,
    objects, object: objects[0].id,
    annotated: new Set(session.annotated), confidence: [...session.confidence],
    doubtful: new Set(session.doubtful), running: session.state === "running",
    progress: session.progress, changed: false,
    hasResults: session.confidence.some((value) => value !== null),
    frame: 0, shown: 0, follow: true, playing: false,
    tool: "strokes", inside: true, radius: Math.max(3, Math.round(clip.height / 40)),
    look: "overlay", sideBySide: false, backdrop: "checker", backdropColor: "#00b140",
    saving: "saved", busy: "", message: "", view: 0, cursor: null,
  });
}

/** Returns the frames next to `frame` among indices: the first after it or before it, or null. */
export function neighbor(indices, frame, direction) {
  const sorted = [...indices].sort((a, b) => direction * (a - b));
  return sorted.find((index) => direction * (index - frame) > 0) ?? null;
}
