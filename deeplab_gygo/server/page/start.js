/** The choice of a clip: those of the server, or an upload. */

import { frameUrl, getClips, getSessions, makeSession, uploadClip } from "./api.js";
import { element } from "./dom.js";

const byId = (id) => document.getElementById(id);

export async function openStart(info) {
  const clips = await getClips();
  byId("start").hidden = false;
  for (const name of info.presets) byId("preset").append(element("option", { textContent: name }));
  if (info.presets.includes("balanced")) byId("preset").value = "balanced";
  const file = byId("file");
  file.addEventListener("change", () => file.files[0] && upload(file.files[0]));
  const drop = byId("drop");
  drop.addEventListener("dragover", (event) => event.preventDefault());
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    const [dropped] = event.dataTransfer.files;
    if (dropped) upload(dropped);
  });
  byId("clips-title").hidden = !clips.length;
  byId("clips").replaceChildren(...clips.map(item));
}

function item(clip) {
  const image = element("img", { alt: "", loading: "lazy" });
  image.src = frameUrl(clip.id, 0, Math.min(160, clip.width));
  const facts = `${clip.frames} frames, ${clip.width} × ${clip.height}`;
  const button = element("button", { type: "button" }, [
    image, element("strong", { textContent: clip.name }), element("span", { textContent: facts }),
  ]);
  button.addEventListener("click", () => start(clip));
  return element("li", {}, [button]);
}

/** Goes on with the newest session of a clip, or makes one. */
async function start(clip) {
  const [known] = await getSessions(clip.id);
  const session = known ?? (await makeSession({ clip: clip.id, preset: byId("preset").value }));
  location.hash = `#/sessions/${session.id}`;
}

async function upload(file) {
  const bar = byId("upload");
  bar.hidden = false;
  try {
    await start(await uploadClip(file, (part) => (bar.value = part)));
  } catch (error) {
    bar.hidden = true;
    byId("drop").querySelector("span").textContent = `${error.message} ${error.remedy ?? ""}`;
  }
}
