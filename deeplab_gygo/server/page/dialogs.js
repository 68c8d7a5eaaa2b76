/** The help and the export. */

import { getJob, resultUrl } from "./api.js";
import { element } from "./dom.js";
import { KEYS, keyLabel } from "./keys.js";
import { describeProgress } from "./run.js";

const byId = (id) => document.getElementById(id);

export function openHelp() {
  const row = ([keys, text]) =>
    element("div", {}, [
      element("dt", {}, keys.map((key) => element("kbd", { textContent: keyLabel(key) }))),
      element("dd", { textContent: text }),
    ]);
  if (!byId("keys").children.length) {
    for (const [title, rows] of KEYS) {
      byId("keys").append(
        element("section", {}, [
          element("h3", { textContent: title }), element("dl", {}, rows.map(row)),
        ]),
      );
    }
  }
  byId("help-dialog").showModal();
}

const GROUPS = [
  ["Pictures", {
    masks: "Masks, PNG", cutout: "Cut-outs, PNG", webp: "Cut-outs, WebP", soft: "Probabilities, PNG",
    crop: "Square pictures", spin: "Pictures of a spin",
  }],
  ["Videos", {
    overlay: "Overlay", webm: "Transparent WebM", prores: "Transparent ProRes 4444",
    background: "On another background", matte: "Matte", gif: "GIF",
    "webp-animation": "Animated WebP",
  }],
  ["Annotations", {
    coco: "COCO", cvat: "CVAT", yolo: "YOLO", labelme: "labelme", "label-studio": "Label Studio",
    davis: "DAVIS", "youtube-vos": "YouTube-VOS", npz: "NumPy",
  }],
];

const POLL = 500; // ms

/** Makes the dialog of the export; returns a function that opens it. */
export function makeExport({ state, api, masks }) {
  const names = state.info.outputs.map((output) => output.name ?? output);
  const known = GROUPS.flatMap(([, labels]) => Object.keys(labels));
  const unknown = names.filter((name) => !known.includes(name));
  const others = Object.fromEntries(unknown.map((name) => [name, name]));
  for (const [title, labels] of [...GROUPS, ["Others", others]]) {
    const offered = Object.entries(labels).filter(([name]) => names.includes(name));
    const boxes = offered.map(([name, label]) => {
      const box = element("input", { type: "checkbox", name: "output", value: name });
      box.checked = ["masks", "overlay"].includes(name);
      const shown = label === "report" ? "Report, a page to look at" : label;
      return element("label", { className: "check" }, [box, ` ${shown}`]);
    });
    if (boxes.length) {
      byId("outputs").append(
        element("fieldset", {}, [element("legend", { textContent: title }), ...boxes]),
      );
    }
  }
  const form = byId("export-form");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    start(form, { api, masks });
  });
  return () => {
    const { confidence, annotated } = state;
    const missing = confidence.filter((value, i) => value === null && !annotated.has(i)).length;
    byId("export-state").textContent = missing ? `${missing} frames have no mask yet.` : "";
    byId("export-dialog").showModal();
  };
}

async function start(form, { api, masks }) {
  const outputs = [...form.querySelectorAll("[name=output]:checked")].map((box) => box.value);
  const [say, button, link] = [byId("export-state"), byId("export-start"), byId("download")];
  if (!outputs.length) {
    say.textContent = "Choose what to export.";
    return;
  }
  const options = {
    background: byId("export-background").value, smooth: byId("export-smooth").checked,
    foreground: byId("export-foreground").checked, spin: Number(byId("export-spin").value) || 36,
  };
  [button.disabled, link.hidden] = [true, true];
  try {
    await masks.saver.saved();
    const { job } = await api.export({ outputs, options });
    const done = await follow(job, say);
    say.textContent = done.out ? `Written to ${done.out}` : "Done.";
    link.href = resultUrl(job, "zip");
    link.hidden = false;
    button.classList.remove("primary");
  } catch (error) {
    say.textContent = [error.message, error.remedy].filter(Boolean).join(". ");
  }
  button.disabled = false;
  byId("export-progress").hidden = true;
}

/** Resolves to a job when it is done. */
async function follow(id, say) {
  const bar = byId("export-progress");
  bar.hidden = false;
  for (;;) {
    const job = await getJob(id).catch((error) => {
      if (error.passing) return { state: "running" };
      throw error;
    });
    if (job.state === "done") return job;
    if (["failed", "cancelled"].includes(job.state)) {
      const { rule = "The export was stopped", remedy } = job.error ?? {};
      throw Object.assign(new Error(rule), { remedy });
    }
    const { progress } = job;
    if (progress?.total) bar.value = progress.done / progress.total;
    else bar.removeAttribute("value");
    const phase = job.state === "queued" ? "waiting" : "export";
    say.textContent = describeProgress(progress ?? { phase });
    await new Promise((next) => setTimeout(next, POLL));
  }
}
