/** The objects, the view, and the options of the tools. */

import { element, radioGroup, setIcon } from "./dom.js";
import { describeProgress } from "./run.js";
import { COLORS } from "./store.js";

const byId = (id) => document.getElementById(id);

const HINTS = {
  strokes: "Draw short strokes on the object; take away on the background.",
  box: "Drag a box around the object.",
  brush: "Paint the object.",
  eraser: "Erase the object.",
  polygon: "Click corners; click the first one again to close.",
  fill: "Click a hole in the mask to fill it.",
  hand: "Drag to move; the wheel or two fingers zoom.",
};

export function bindPanel({ state, api, masks, fail }) {
  bindObjects(state, api, fail);
  bindView(state);
  bindTools(state);
  bindStatus(state, masks);
}

/** Adds an object and chooses it. */
export function addObject(state, api, fail) {
  const ids = state.objects.map(({ id }) => id);
  const id = Array.from({ length: 254 }, (_, i) => i + 1).find((free) => !ids.includes(free));
  if (!id) return;
  const color = COLORS[(id - 1) % COLORS.length];
  setObjects(state, api, fail, [...state.objects, { id, name: `Object ${id}`, color }]);
  state.set({ object: id });
}

function setObjects(state, api, fail, objects) {
  state.set({ objects });
  api.putObjects(objects).catch(fail);
}

function bindObjects(state, api, fail) {
  const change = (id, values) => {
    const changed = (each) => (each.id === id ? { ...each, ...values } : each);
    setObjects(state, api, fail, state.objects.map(changed));
  };
  const row = ({ id, name, color }) => {
    const choose = element("button", { type: "button", className: "choose" }, [
      element("span", { className: "dot" }), element("kbd", { textContent: id < 10 ? id : "" }),
    ]);
    choose.firstElementChild.style.background = color;
    choose.setAttribute("aria-pressed", String(id === state.object));
    choose.setAttribute("aria-label", `Draw ${name}`);
    choose.addEventListener("click", () => state.set({ object: id }));
    const field = element("input", { type: "text", value: name, maxLength: 60 });
    field.setAttribute("aria-label", `Name of object ${id}`);
    field.addEventListener("focus", () => state.set({ object: id }));
    field.addEventListener("change", () => {
      change(id, { name: field.value.trim() || `Object ${id}` });
    });
    const paint = element("input", { type: "color", value: color });
    paint.setAttribute("aria-label", `Color of ${name}`);
    paint.addEventListener("change", () => change(id, { color: paint.value }));
    const item = element("li", {}, [choose, field, paint]);
    item.classList.toggle("chosen", id === state.object);
    return item;
  };
  state.on(["objects"], () => byId("objects").replaceChildren(...state.objects.map(row)));
  state.on(["object"], () => {
    for (const [i, item] of [...byId("objects").children].entries()) {
      const chosen = state.objects[i].id === state.object;
      item.classList.toggle("chosen", chosen);
      item.firstElementChild.setAttribute("aria-pressed", String(chosen));
    }
  });
}

function bindView(state) {
  const showLook = radioGroup(byId("look"), "look", (look) => state.set({ look }));
  const setBackdrop = (backdrop) => state.set({ backdrop });
  const showBackdrop = radioGroup(byId("backdrops"), "backdrop", setBackdrop);
  const color = byId("backdrop-color");
  color.addEventListener("input", () => {
    state.set({ backdrop: "color", backdropColor: color.value });
  });
  const side = byId("side-by-side");
  side.addEventListener("change", () => state.set({ sideBySide: side.checked }));
  state.on(["look", "backdrop", "backdropColor", "sideBySide"], () => {
    showLook(state.look);
    showBackdrop(state.backdrop);
    byId("backdrops").hidden = state.look !== "cutout";
    byId("own-color").style.background = color.value = state.backdropColor;
    side.checked = state.sideBySide;
  });
}

function bindTools(state) {
  const buttons = [...document.querySelectorAll("[data-tool]")];
  for (const button of buttons) {
    button.addEventListener("click", () => state.set({ tool: button.dataset.tool }));
  }
  const setInside = (value) => state.set({ inside: value === "true" });
  const showInside = radioGroup(byId("inside"), "inside", setInside);
  const radius = byId("radius");
  radius.max = Math.round(state.clip.height / 4);
  radius.addEventListener("input", () => state.set({ radius: Number(radius.value) }));
  state.on(["tool", "inside", "radius"], () => {
    for (const button of buttons) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === state.tool));
    }
    byId("inside").hidden = !["strokes", "brush", "polygon", "fill"].includes(state.tool);
    byId("radius-field").hidden = !["brush", "eraser"].includes(state.tool);
    byId("hint").textContent = HINTS[state.tool];
    showInside(state.inside);
    radius.value = state.radius;
    radius.nextElementSibling.textContent = `${state.radius} px`;
  });
}

function bindStatus(state, masks) {
  const saving = byId("saving");
  state.on(["saving"], () => {
    saving.hidden = false;
    saving.dataset.state = state.saving;
    saving.textContent = {
      saved: "Saved", saving: "Saving…", offline: "Not connected; your work is kept here",
    }[state.saving];
  });
  const run = byId("run");
  state.on(["running", "changed", "hasResults", "confidence"], () => {
    setIcon(run, state.running ? "stop" : "play");
    const partial = state.confidence.some((value, i) => value === null && !state.annotated.has(i));
    const next = !state.hasResults ? "Run" : partial && !state.changed ? "Go on" : "Update";
    run.lastElementChild.textContent = state.running ? "Stop" : next;
    run.classList.toggle("due", state.changed && !state.running);
    byId("run-anew").disabled = state.running || !state.hasResults;
    run.classList.toggle("primary", state.running || state.changed || next !== "Update");
  });
  const progress = byId("progress");
  state.on(["running", "progress"], () => {
    progress.hidden = !state.running;
    const bar = progress.firstElementChild;
    if (state.progress?.total) bar.value = state.progress.done / state.progress.total;
    else bar.removeAttribute("value");
    progress.lastElementChild.textContent = describeProgress(state.progress);
  });
  state.on(["frame", "view", "annotated", "confidence", "doubtful"], () => showFrame(state, masks));
  state.on(["doubtful"], () => {
    const count = state.doubtful.size;
    byId("doubts").hidden = !state.hasResults;
    byId("doubts").textContent = count ? `${count} doubtful` : "No doubtful frames";
    byId("next-doubt").disabled = !count;
  });
  state.on(["playing"], () => {
    setIcon(byId("play"), state.playing ? "pause" : "play");
    byId("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
  });
}

function showFrame(state, masks) {
  const { frame } = state;
  const annotated = state.annotated.has(frame);
  const confidence = state.confidence[frame];
  const segmented = typeof confidence === "number";
  const facts = [annotated ? "Annotated by hand" : segmented ? "Segmented" : "No mask yet"];
  if (segmented && !annotated) facts.push(`confidence ${Math.round(100 * confidence)} %`);
  if (state.doubtful.has(frame)) facts.push("doubtful");
  byId("frame-facts").textContent = facts.join(" · ");
  byId("release").disabled = !annotated;
  document.querySelector("[data-action=undo]").disabled = !masks.canUndo(frame);
  document.querySelector("[data-action=redo]").disabled = !masks.canRedo(frame);
  const number = byId("frame-number");
  if (number !== document.activeElement) number.value = frame;
}
