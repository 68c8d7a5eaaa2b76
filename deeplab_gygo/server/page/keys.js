/** Keys of the page; the help is made of this table. */

export const KEYS = [
  ["Frames", [
    [["ArrowLeft", "ArrowRight"], "Previous and next frame"],
    [["Shift+ArrowLeft", "Shift+ArrowRight"], "Ten frames back and on"],
    [["Home", "End"], "First and last frame"],
    [["Space"], "Play and pause"],
    [["d", "Shift+d"], "Next and previous doubtful frame"],
    [["a", "Shift+a"], "Next and previous annotated frame"],
  ]],
  ["Tools", [
    [["s"], "Smart strokes"], [["x"], "Box"], [["b"], "Brush"], [["e"], "Eraser"],
    [["p"], "Polygon"], [["f"], "Fill"], [["h"], "Move the picture"],
    [["q"], "Add or take away"],
    [["[", "]"], "Smaller and larger brush"],
    [["g"], "Proposal: let the program find the object"],
    [["Alt"], "Held while drawing: the opposite of add or take away, as the right button"],
  ]],
  ["Drawing with keys", [
    [["Enter"], "Show a cross; then pen down and up at it"],
    [["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"], "Move the cross, with Shift faster"],
    [["Shift+Enter"], "Close the polygon"],
    [["Escape"], "Give up what is being drawn"],
  ]],
  ["Objects", [
    [["1", "…", "9"], "Choose an object"],
    [["n"], "New object"],
    [["Delete"], "Clear the object in this frame"],
  ]],
  ["Work", [
    [["Ctrl+z", "Ctrl+Shift+z"], "Undo and redo"],
    [["r"], "Run, and stop"],
    [["o"], "Overlay, outline, cut-out, frame"],
    [["y"], "Side by side"],
    [["+", "-", "0"], "Zoom in, zoom out, whole frame"],
    [["Ctrl+e"], "Export"],
    [["?"], "This help"],
  ]],
];

const SHOWN = {
  ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Escape: "Esc", Delete: "Del",
};

/** Returns the words of a key for people. */
export function keyLabel(key) {
  const label = (part) => SHOWN[part] ?? (part.length === 1 ? part.toUpperCase() : part);
  return key.split("+").map(label).join(" + ");
}

/** Returns the name of a key event, such as Ctrl+Shift+z. */
export function keyName(event) {
  let { key } = event;
  if (key === " ") key = "Space";
  if (key === "Backspace") key = "Delete";
  if (/^[A-Z]$/.test(key)) key = key.toLowerCase();
  const isSign = key.length === 1 && !/[a-z0-9]/.test(key);
  const ctrl = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  return ctrl + (event.shiftKey && !isSign ? "Shift+" : "") + (key === "=" ? "+" : key);
}

const WRITABLE = "input:not([type=range], [type=checkbox]), select, textarea";

/** Calls `actions[name]` at a key, unless a field or a dialog has the focus. */
export function listenKeys(actions, pointer) {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const { target } = event;
    if (target.matches(WRITABLE)) return;
    const onControl = target.closest("button, input, a, summary, [role=radio]");
    const name = keyName(event);
    // On a button Space and Enter press it; on a slider or a choice the arrows move it.
    if (onControl && ["Space", "Enter", "Shift+Enter"].includes(name)) return;
    if (target.matches("input") && /Arrow|Home|End/.test(name)) return;
    if (onControl || !pointer.key(event)) {
      if (!actions[name]) return;
      actions[name]();
    }
    event.preventDefault();
  });
}
