/**
 * Saves the annotations of a session.
 *
 * An edit is written to the local storage of the browser at once and to the server a moment later;
 * it is tried again until the server answers. What a closed tab left behind is sent when the session
 * is opened again.
 */

import { encodeMask } from "./png.js";

const DELAY = 250; // ms; strokes in quick succession are one request
const RETRY = [500, 1000, 2000, 4000]; // ms

export class Saver {
  #pending = new Map(); // index -> {version, bytes: Uint8Array, or null to delete}
  #sending = new Set();
  #timers = new Map();
  #version = 0;
  #failures = 0;

  constructor(api, state) {
    [this.api, this.state] = [api, state];
    this.prefix = `deeplab-gygo/${state.id}/`;
    addEventListener("pagehide", () => this.#leave());
    addEventListener("online", () => this.flush());
  }

  /** Whether a frame has an edit that the server does not have yet. */
  isPending(index) {
    return this.#pending.has(index);
  }

  /** The frames that have such an edit. */
  get pending() {
    return this.#pending.keys();
  }

  /** Takes an edit: the mask of a frame, or null to remove its annotation. */
  async put(index, mask) {
    const version = ++this.#version;
    this.#pending.set(index, { version, bytes: undefined });
    this.state.set({ saving: "saving" });
    const bytes = mask && (await encodeMask(mask.ids.slice(), mask.width, mask.height));
    if (this.#pending.get(index)?.version !== version) return; // a newer edit came meanwhile
    this.#pending.set(index, { version, bytes });
    this.#note(index, bytes);
    this.#schedule(index, DELAY);
  }

  /** Sends what an earlier visit could not; resolves when it was tried. */
  async recover() {
    for (const key of Object.keys(localStorage)) {
      if (!key.startsWith(this.prefix)) continue;
      const index = Number(key.slice(this.prefix.length));
      const text = localStorage.getItem(key);
      const bytes = text ? Uint8Array.from(atob(text), (c) => c.charCodeAt(0)) : null;
      this.#pending.set(index, { version: ++this.#version, bytes });
    }
    await this.flush();
  }

  /** Sends every edit now; resolves when each was tried once. */
  async flush() {
    await Promise.all([...this.#pending.keys()].map((index) => this.#send(index)));
  }

  /** Resolves when every edit is saved. */
  async saved() {
    while (this.#pending.size) {
      await this.flush();
      if (this.#pending.size) await new Promise((done) => setTimeout(done, 100));
    }
  }

  #note(index, bytes) {
    try {
      localStorage.setItem(this.prefix + index, bytes ? toBase64(bytes) : "");
    } catch {
      // The storage is full or forbidden: the server gets the edit in a moment.
    }
  }

  #schedule(index, delay) {
    clearTimeout(this.#timers.get(index));
    this.#timers.set(index, setTimeout(() => this.#send(index), delay));
  }

  async #send(index) {
    const edit = this.#pending.get(index);
    if (!edit || edit.bytes === undefined || this.#sending.has(index)) return;
    this.#sending.add(index);
    let again = 0;
    try {
      await (edit.bytes ? this.api.putMask(index, edit.bytes) : this.api.deleteMask(index));
      this.#failures = 0;
      this.#forget(index, edit);
    } catch (error) {
      if (error.passing) {
        again = RETRY[Math.min(this.#failures++, RETRY.length - 1)];
      } else if (error.status === 404 && !edit.bytes) {
        this.#forget(index, edit); // there was no annotation
      } else {
        this.#forget(index, edit);
        this.state.set({ message: `Frame ${index} was not saved: ${error.message}` });
      }
    }
    this.#sending.delete(index);
    if (this.#pending.has(index)) this.#schedule(index, again);
    const waiting = again ? "offline" : "saving";
    this.state.set({ saving: this.#pending.size ? waiting : "saved" });
  }

  #forget(index, edit) {
    if (this.#pending.get(index)?.version !== edit.version) return;
    this.#pending.delete(index);
    localStorage.removeItem(this.prefix + index);
  }

  #leave() {
    for (const [index, { bytes }] of this.#pending) {
      const options = { keepalive: true };
      if (bytes) this.api.putMask(index, bytes, options).catch(() => {});
      else if (bytes === null) this.api.deleteMask(index, options).catch(() => {});
    }
  }
}

function toBase64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return btoa(text);
}
