/**
 * The masks of a session: those loaded, their edits, undo and redo.
 *
 * A mask is {ids, width, height, annotated, prompts, settled}; `prompts` has for each object the
 * strokes and the box that the person gave and the mask that came of them; `settled` are those that
 * are answered.
 */

import { decodeMask } from "./png.js";
import { cut, paste, replaceObject } from "./raster.js";
import { Saver } from "./saver.js";

const KEPT_BYTES = 256 << 20;
const KEPT_STEPS = 100;

export class Masks {
  #masks = new Map();
  #loading = new Map();
  #histories = new Map(); // index -> {undo: [], redo: []}

  constructor(api, state) {
    [this.api, this.state] = [api, state];
    this.saver = new Saver(api, state);
  }

  /** Returns the mask of a frame if it is loaded. */
  peek(index) {
    return this.#masks.get(index) ?? null;
  }

  /** Resolves to the mask of a frame, an empty one where the server has none. */
  async load(index) {
    const known = this.#masks.get(index);
    if (known) {
      this.#masks.delete(index); // the newest is last
      this.#masks.set(index, known);
      return known;
    }
    if (!this.#loading.has(index)) {
      const loading = this.#fetch(index).finally(() => {
        if (this.#loading.get(index) === loading) this.#loading.delete(index);
      });
      this.#loading.set(index, loading);
    }
    return this.#loading.get(index);
  }

  async #fetch(index) {
    const { width, height } = this.state.clip;
    const { annotated, confidence } = this.state;
    const exists = annotated.has(index) || typeof confidence[index] === "number";
    const found = exists ? await this.api.getMask(index) : null;
    const decoded = found && (await decodeMask(found.bytes));
    if (decoded && (decoded.width !== width || decoded.height !== height)) {
      throw new Error("The mask does not have the size of the clip.");
    }
    if (this.#masks.has(index)) return this.#masks.get(index);
    const ids = decoded?.ids ?? new Uint8Array(width * height);
    const mask = { ids, width, height, annotated: Boolean(found?.annotated) };
    mask.prompts = mask.settled = {};
    this.#masks.set(index, mask);
    this.#evict();
    return mask;
  }

  #evict() {
    const size = this.state.clip.width * this.state.clip.height;
    for (const index of this.#masks.keys()) {
      if (this.#masks.size * size <= KEPT_BYTES || this.#masks.size <= 4) return;
      if (index !== this.state.frame && !this.saver.isPending(index) && !this.#histories.has(index)) {
        this.#masks.delete(index);
      }
    }
  }

  /** Forgets the result of a frame, for there is a newer one; annotations stay. */
  invalidate(index) {
    if (this.#masks.get(index)?.annotated || this.saver.isPending(index)) return false;
    this.#masks.delete(index);
    this.#loading.delete(index);
    this.#histories.delete(index);
    return true;
  }

  /** Forgets everything that the server has. */
  forget() {
    for (const index of [...this.#masks.keys()]) {
      if (this.saver.isPending(index)) continue;
      this.#masks.delete(index);
      this.#histories.delete(index);
    }
    this.#loading.clear();
  }

  /**
   * Begins an edit of a loaded frame; returns `finish(rect, prompts)`.
   *
   * `finish` takes the changed rectangle and the prompts of the frame after the edit; null for both
   * means that nothing changed.
   */
  begin(index) {
    const mask = this.#masks.get(index);
    const before = { ids: mask.ids.slice(), annotated: mask.annotated, prompts: mask.settled };
    return (rect, prompts = mask.prompts) => {
      if (!rect && prompts === before.prompts) return;
      const area = rect ?? [0, 0, 0, 0];
      const old = cut({ ...mask, ids: before.ids }, area);
      mask.annotated = true;
      mask.prompts = mask.settled = prompts;
      const history = this.#history(index);
      history.redo.length = 0;
      history.undo.push({
        area,
        before: { patch: old, annotated: before.annotated, prompts: before.prompts },
        after: { patch: cut(mask, area), annotated: true, prompts },
      });
      if (history.undo.length > KEPT_STEPS) history.undo.shift();
      this.#changed(index, mask);
    };
  }

  /** Replaces an object of a frame by a mask of it, as one edit; edits by hand since `last` stay. */
  replace(index, object, inside, prompts) {
    const mask = this.#masks.get(index);
    const last = mask.prompts[object]?.solved;
    const finish = this.begin(index);
    // Where the person drew after the last answer, the drawing wins.
    const keep = last && ((i) => (mask.ids[i] === object) !== Boolean(last[i]));
    const rect = replaceObject(mask, object, inside, keep);
    finish(rect ?? [0, 0, 0, 0], prompts ? { ...mask.prompts, [object]: prompts } : mask.prompts);
  }

  /** Forgets the strokes of a frame that were not answered. */
  dropPrompts(index) {
    const mask = this.#masks.get(index);
    if (mask) mask.prompts = mask.settled;
  }

  canUndo(index) {
    return Boolean(this.#histories.get(index)?.undo.length);
  }

  canRedo(index) {
    return Boolean(this.#histories.get(index)?.redo.length);
  }

  /** Undoes the last edit of a frame, or repeats it. */
  step(index, direction) {
    const history = this.#history(index);
    const [from, to] = direction < 0 ? [history.undo, history.redo] : [history.redo, history.undo];
    const edit = from.pop();
    const mask = this.#masks.get(index);
    if (!edit || !mask) return;
    to.push(edit);
    const target = direction < 0 ? edit.before : edit.after;
    paste(mask, edit.area, target.patch);
    mask.annotated = target.annotated;
    mask.prompts = mask.settled = target.prompts;
    this.#changed(index, mask);
  }

  /** Removes the annotation of a frame; its result, if there is one, is shown again. */
  async release(index) {
    await this.saver.put(index, null);
    await this.saver.saved();
    this.#masks.delete(index);
    this.#histories.delete(index);
    const annotated = new Set(this.state.annotated);
    annotated.delete(index);
    this.state.set({ annotated, changed: true });
  }

  #history(index) {
    if (!this.#histories.has(index)) this.#histories.set(index, { undo: [], redo: [] });
    return this.#histories.get(index);
  }

  #changed(index, mask) {
    const annotated = new Set(this.state.annotated);
    if (mask.annotated) annotated.add(index);
    else annotated.delete(index);
    this.state.set({ annotated, changed: true, view: this.state.view + 1 });
    this.saver.put(index, mask.annotated ? mask : null);
  }
}
