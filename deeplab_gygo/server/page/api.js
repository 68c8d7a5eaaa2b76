/** The requests of the page; paths are relative to it, so that it works behind a prefix. */

const TOKEN = document.querySelector('meta[name="page-token"]').content;

/** A request that was not answered as wanted; `status` is 0 where the server did not answer. */
export class RequestError extends Error {
  constructor(message, status, remedy = "") {
    super(message);
    [this.status, this.remedy] = [status, remedy];
  }

  /** Whether a repetition may succeed. */
  get passing() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Sends a request; an answer other than 2xx is a RequestError. */
export async function request(path, { json, ...options } = {}) {
  const headers = { "X-Page-Token": TOKEN, ...options.headers };
  if (json !== undefined) {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  }
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new RequestError("The server does not answer.", 0);
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  const { rule = `The server answered ${answer.status}`, met, remedy = "" } = body.error ?? {};
  throw new RequestError(met ? `${rule}; met: ${met}` : rule, answer.status, remedy);
}

const asJson = async (answer) => (await answer).json();
const asBytes = async (answer) => (await answer).arrayBuffer();

export const getInfo = () => asJson(request("api/info"));
export const getClips = () => asJson(request("api/clips"));
export const getClip = (id) => asJson(request(`api/clips/${id}`));
export const getJob = (id) => asJson(request(`api/jobs/${id}`));
export const frameUrl = (clip, index, width) => `api/clips/${clip}/frames/${index}?width=${width}`;
export const resultUrl = (job, format) => `api/jobs/${job}/result?format=${format}`;
export const getSession = (id) => asJson(request(`api/sessions/${id}`));
export const getSessions = (clip) => asJson(request(`api/sessions?clip=${clip}`));
export const makeSession = (json) => asJson(request("api/sessions", { method: "POST", json }));

/** Sends a video or an archive of frames; `progress` is called with the part sent, 0 to 1. */
export function uploadClip(file, progress) {
  // Unlike fetch, XMLHttpRequest reports how much was sent.
  return new Promise((resolve, reject) => {
    const sent = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file);
    sent.open("POST", "api/clips");
    sent.setRequestHeader("X-Page-Token", TOKEN);
    sent.responseType = "json";
    sent.upload.onprogress = (event) => progress(event.loaded / event.total);
    sent.onerror = () => reject(new RequestError("The server does not answer.", 0));
    sent.onload = () => {
      const error = sent.response?.error;
      if (sent.status < 300) resolve(sent.response);
      else reject(new RequestError(error?.rule ?? "The upload failed", sent.status, error?.remedy));
    };
    sent.send(form);
  });
}

/** The requests of one session. */
export function sessionApi(id) {
  const base = `api/sessions/${id}`;
  const post = (path, json, options) => request(base + path, { method: "POST", json, ...options });
  return {
    get: () => getSession(id),
    events: () => new EventSource(`${base}/events`),
    run: (anew) => post(anew ? "/run?anew=true" : "/run"),
    stop: () => post("/stop"),
    prefetch: (frame) => post("/prefetch", { frame }),
    export: (json) => asJson(post("/export", json)),
    proposal: (frame, options) => asBytes(post("/proposal", { frame }, options)),
    strokes: (json, options) => asBytes(post("/strokes", json, options)),
    putObjects: (json) => request(`${base}/objects`, { method: "PUT", json }),
    deleteMask: (index, options) =>
      request(`${base}/masks/${index}`, { method: "DELETE", ...options }),
    putMask: (index, body, options) =>
      request(`${base}/masks/${index}`, {
        method: "PUT", body, headers: { "Content-Type": "image/png" }, ...options,
      }),
    /** Resolves to {bytes, annotated}, or to null where the frame has no mask yet. */
    async getMask(index) {
      try {
        const answer = await request(`${base}/masks/${index}`, { cache: "no-cache" });
        const annotated = answer.headers.get("X-Source") === "annotation";
        return { bytes: await answer.arrayBuffer(), annotated };
      } catch (error) {
        if (error.status === 404) return null;
        throw error;
      }
    },
  };
}
