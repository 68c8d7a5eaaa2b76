/** The page of a session: puts its parts together. */

import { sessionApi } from "./api.js";
import { makeExport, openHelp } from "./dialogs.js";
import { Frames } from "./frames.js";
import { listenKeys } from "./keys.js";
import { Masks } from "./masks.js";
import { addObject, bindPanel } from "./panel.js";
import { makePlayback } from "./playback.js";
import { decodeMask } from "./png.js";
import { Pointer } from "./pointer.js";
import { Run } from "./run.js";
import { Stage } from "./stage.js";
import { neighbor, sessionState } from "./store.js";
import { Strip } from "./strip.js";
import { Timeline } from "./timeline.js";
import { makeTools } from "./tools.js";

const byId = (id) => document.getElementById(id);
const MESSAGE_MS = 6000;
const IDLE_MS = 150; // at a frame, before those around it are loaded
const SETTLED_MS = 500; // at a frame, before it is encoded to be drawn on

export async function openEditor(info, clip, session) {
  const state = sessionState(info, clip, session);
  state.frame = rememberedFrame(session);
  const api = sessionApi(session.id);
  const say = (message) => {
    state.set({ message: "" }); // the same message again is shown again
    state.set({ message });
  };
  const fail = (error) => say([error.message, error.remedy].filter(Boolean).join(". "));
  for (const id of ["editor", "bar-actions"]) byId(id).hidden = false;
  byId("title").textContent = document.title = clip.name;
  bindMessages(state);

  const masks = new Masks(api, state);
  await masks.saver.recover();
  const frames = new Frames(clip, () => stage.redraw());
  const stage = new Stage(byId("stage"), state, frames, masks);
  const solve = makeSolver({ state, api, masks, stage, fail });
  const tools = makeTools({ state, masks, stage, solve: solve.strokes, say });
  const pointer = new Pointer({ canvas: byId("stage"), stage, state, tools });
  bindPanel({ state, api, masks, fail });
  new Timeline(byId("scrubber"), state);
  new Strip(byId("strip"), state);
  const run = new Run({ api, state, masks, pointer, say, fail });
  const openExport = makeExport({ state, api, masks });
  const play = makePlayback(state);
  loadFrames({ state, api, frames, stage, masks, fail });
  const actions = makeActions({ state, api, masks, stage, run, solve, play, openExport, fail });
  bindActions(actions, state);
  listenKeys(keyActions(actions, state), pointer);
}

/** The frame of the last visit, else the first annotated one. */
function rememberedFrame(session) {
  const key = `deeplab-gygo/frame/${session.id}`;
  const frame = Number(localStorage.getItem(key) ?? session.annotated[0] ?? 0);
  return Math.min(session.confidence.length - 1, frame) || 0;
}

function bindMessages(state) {
  const toast = byId("toast");
  let timer;
  state.on(["message", "busy"], () => {
    const text = state.busy || state.message;
    toast.textContent = text;
    toast.classList.toggle("shown", Boolean(text));
    clearTimeout(timer);
    if (state.message) timer = setTimeout(() => state.set({ message: "" }), MESSAGE_MS);
  });
}

/** Loads what is shown: the frame and its mask, then those around. */
function loadFrames({ state, api, frames, stage, masks, fail }) {
  const key = `deeplab-gygo/frame/${state.id}`;
  let idle, settled;
  const load = () => {
    const { frame } = state;
    frames.want([[frame, stage.frameWidth]]);
    clearTimeout(idle);
    clearTimeout(settled);
    if (state.running && state.follow) return showMask(frame);
    idle = setTimeout(() => {
      const width = stage.frameWidth;
      frames.want([0, 1, 2, -2, -1, 3, 4].map((step) => [frame + step, width]));
      localStorage.setItem(key, frame);
      for (const step of [1, -1, 2]) {
        if (state.confidence[frame + step] !== undefined) masks.load(frame + step).catch(() => {});
      }
    }, state.playing ? 0 : IDLE_MS);
    settled = setTimeout(() => {
      // Strokes on it are faster then; the network takes all cores from frames that are decoded.
      if (!state.running && !state.playing) api.prefetch(frame).catch(() => {});
    }, SETTLED_MS);
    return showMask(frame);
  };
  const showMask = async (frame) => {
    try {
      await masks.load(frame);
      if (frame === state.frame) {
        stage.redraw(null);
        state.set({ view: state.view + 1 });
      }
    } catch (error) {
      if (!error.passing) fail(error);
      else setTimeout(() => frame === state.frame && load(), 1000);
    }
  };
  state.on(["frame", "shown", "sideBySide", "running"], load);
  // After a zoom the frame is wanted at another size.
  let width = 0;
  state.on(["view"], () => {
    if (stage.frameWidth === width) return;
    width = stage.frameWidth;
    frames.want([[state.frame, width]]);
  });
}

const WAITING = "Waiting for the network, which is being loaded…";
const RETRY_MS = 700;

/** Repeats a request while the server is not ready for it. */
async function patiently(ask, say) {
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (error.status !== 503 && error.status !== 0) throw error;
      say();
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }
}

/** Asks the server for masks; of several requests in a row only the last counts. */
function makeSolver({ state, api, masks, stage, fail }) {
  let last = null;
  const solve = async (busy, frame, object, ask, prompts) => {
    last?.abort();
    const controller = (last = new AbortController());
    state.set({ busy });
    try {
      const wait = () => state.set({ busy: WAITING });
      const answer = await patiently(() => ask(controller.signal), wait);
      const { ids } = await decodeMask(answer);
      if (last !== controller) return;
      await masks.load(frame);
      masks.replace(frame, object, ids, prompts && { ...prompts, solved: ids });
    } catch (error) {
      if (error.name === "AbortError") return;
      masks.dropPrompts(frame);
      fail(error);
    } finally {
      if (last === controller) state.set({ busy: "" });
      stage.redraw(null);
    }
  };
  return {
    strokes(frame, object, prompts) {
      const known = masks.peek(frame).prompts;
      // Shown at once; a stroke that follows before the answer adds to these.
      masks.peek(frame).prompts = { ...known, [object]: { ...known[object], ...prompts } };
      const shown = prompts.box || prompts.strokes.some(({ inside }) => inside);
      // Strokes outside alone correct a mask; without one there is nothing to solve.
      if (!shown && !masks.peek(frame).ids.includes(object)) return stage.redraw();
      const body = { frame, object, ...prompts };
      return solve("Solving…", frame, object, (signal) => api.strokes(body, { signal }), prompts);
    },
    proposal() {
      const { frame, object } = state;
      const ask = (signal) => api.proposal(frame, { signal });
      return solve("Looking for the object…", frame, object, ask);
    },
  };
}

function makeActions({ state, api, masks, stage, run, solve, play, openExport, fail }) {
  const last = state.clip.frames - 1;
  const go = (frame) =>
    frame !== null &&
    state.set({ frame: Math.min(last, Math.max(0, frame)), playing: false, follow: false });
  const goAround = (indices, direction, start) =>
    go(neighbor(indices, state.frame, direction) ?? neighbor(indices, start, direction));
  const looks = ["overlay", "outline", "cutout", "frame"];
  const step = (direction) => {
    masks.step(state.frame, direction);
    stage.redraw(null);
  };
  return {
    go,
    previous: () => go(state.frame - 1),
    next: () => go(state.frame + 1),
    nextDoubt: () => goAround(state.doubtful, 1, -1),
    previousDoubt: () => goAround(state.doubtful, -1, last + 1),
    nextAnnotated: () => go(neighbor(state.annotated, state.frame, 1)),
    previousAnnotated: () => go(neighbor(state.annotated, state.frame, -1)),
    undo: () => step(-1),
    redo: () => step(1),
    run: () => run.toggle(),
    runAnew: () => run.toggle(true),
    play,
    propose: () => solve.proposal(),
    export: openExport,
    help: openHelp,
    panel: () => showPanel(!byId("panel").classList.contains("open")),
    zoomIn: () => stage.zoomBy(1.4),
    zoomOut: () => stage.zoomBy(1 / 1.4),
    fit: () => stage.fit(),
    addObject: () => addObject(state, api, fail),
    toggleInside: () => state.set({ inside: !state.inside }),
    radius: (factor) => {
      const changed = Math.max(1, Math.round(state.radius * factor + Math.sign(factor - 1) * 0.5));
      state.set({ radius: Math.min(Math.round(state.clip.height / 4), changed) });
    },
    look: () => state.set({ look: looks[(looks.indexOf(state.look) + 1) % looks.length] }),
    sideBySide: () => state.set({ sideBySide: !state.sideBySide }),
    clearObject() {
      const mask = masks.peek(state.frame);
      if (!mask) return;
      mask.prompts = { ...mask.prompts, [state.object]: undefined };
      masks.replace(state.frame, state.object, new Uint8Array(mask.ids.length));
      stage.redraw(null);
    },
    async release() {
      await masks.release(state.frame);
      state.set({ shown: state.shown + 1 });
    },
  };
}

/** Shows the panel or hides it, where the window is narrow. */
function showPanel(open) {
  byId("panel").classList.toggle("open", open);
  byId("open-panel").setAttribute("aria-expanded", String(open));
}

function bindActions(actions, state) {
  document.addEventListener("click", (event) => {
    const name = event.target.closest("[data-action]")?.dataset.action;
    if (name) actions[name]();
  });
  byId("stage").addEventListener("pointerdown", () => showPanel(false));
  const number = byId("frame-number");
  number.max = state.clip.frames - 1;
  number.addEventListener("change", () => actions.go(Number(number.value) || 0));
  number.addEventListener("keydown", (event) => {
    if (!["Enter", "Escape"].includes(event.key)) return;
    if (event.key === "Enter") actions.go(Number(number.value) || 0);
    event.stopPropagation();
    number.blur(); // keys are those of the page again
  });
  byId("frame-count").textContent = `/ ${state.clip.frames - 1}`;
}

function keyActions(actions, state) {
  const { go } = actions;
  const keys = {
    ArrowLeft: actions.previous, ArrowRight: actions.next,
    "Shift+ArrowLeft": () => go(state.frame - 10), "Shift+ArrowRight": () => go(state.frame + 10),
    Home: () => go(0), End: () => go(state.clip.frames - 1), Space: actions.play,
    d: actions.nextDoubt, "Shift+d": actions.previousDoubt,
    a: actions.nextAnnotated, "Shift+a": actions.previousAnnotated,
    q: actions.toggleInside, "[": () => actions.radius(1 / 1.2), "]": () => actions.radius(1.2),
    g: actions.propose, n: actions.addObject, Delete: actions.clearObject,
    "Ctrl+z": actions.undo, "Ctrl+Shift+z": actions.redo, "Ctrl+y": actions.redo,
    r: actions.run, o: actions.look, y: actions.sideBySide,
    "+": actions.zoomIn, "-": actions.zoomOut, 0: actions.fit,
    "Ctrl+e": actions.export, "?": actions.help,
  };
  const tools = {
    s: "strokes", x: "box", b: "brush", e: "eraser", p: "polygon", f: "fill", h: "hand",
  };
  for (const [key, tool] of Object.entries(tools)) keys[key] = () => state.set({ tool });
  for (let i = 1; i < 10; i++) {
    keys[i] = () => state.objects.some(({ id }) => id === i) && state.set({ object: i });
  }
  return keys;
}
