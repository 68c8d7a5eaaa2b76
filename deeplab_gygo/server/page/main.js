/** Opens the session that the address names, or lets the person choose a clip. */

import { RequestError, getClip, getInfo, getSession } from "./api.js";
import { openEditor } from "./editor.js";
import { openStart } from "./start.js";

async function open() {
  const id = /^#\/sessions\/([\w-]+)$/.exec(location.hash)?.[1];
  try {
    const [info, session] = await Promise.all([getInfo(), id && getSession(id)]);
    if (session) await openEditor(info, await getClip(session.clip), session);
    else await openStart(info);
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    if (error.status === 404) location.hash = "";
    else if (error.passing) setTimeout(open, 1000); // the server is starting
    document.getElementById("title").textContent = error.message;
  }
}

addEventListener("hashchange", () => location.reload());
open();
