/** Propagation: start, stop, progress, and the masks as they come. */

const FOLLOW_MS = 200;

export class Run {
  constructor({ api, state, masks, pointer, say, fail }) {
    Object.assign(this, { api, state, masks, pointer, say, fail });
    Object.assign(this, { lost: false, newest: 0, following: null });
    this.#listen();
  }

  /** Starts the propagation, of all frames where `anew`, or stops the one in progress. */
  async toggle(anew = false) {
    const { api, state, masks } = this;
    try {
      if (state.running) {
        await api.stop();
        return;
      }
      if (!state.annotated.size) {
        this.say("Draw the object in one frame first.");
        return;
      }
      await masks.saver.saved();
      state.set({ running: true, changed: false, follow: true, progress: null });
      await api.run(anew);
    } catch (error) {
      if (error.status !== 409) state.set({ running: false, changed: true });
      this.fail(error);
    }
  }

  #listen() {
    const events = this.api.events();
    const on = (name, call) =>
      events.addEventListener(name, (event) => event.data && call(JSON.parse(event.data)));
    on("progress", (progress) => this.state.set({ progress, running: true }));
    on("frame", (data) => this.#frame(data));
    on("state", (session) => {
      if (session.confidence) this.#apply(session); // the first event has all of it
      else if (session.state === "running") this.state.set({ running: true });
      else this.refresh();
    });
    on("error", (problem) => this.fail({ message: problem.rule, remedy: problem.remedy }));
    events.addEventListener("open", () => {
      if (!this.lost) return;
      // Frames may have been segmented meanwhile.
      this.lost = false;
      this.masks.forget();
      this.state.set({ shown: this.state.shown + 1 });
    });
    events.addEventListener("error", (event) => {
      if (event.data) return; // an error of the server, not of the connection
      this.lost = true;
      if (events.readyState === EventSource.CLOSED) setTimeout(() => this.#listen(), 1500);
    });
  }

  #frame({ index, confidence }) {
    const { state, masks, pointer } = this;
    const values = [...state.confidence];
    values[index] = confidence;
    state.set({ confidence: values, hasResults: true });
    if (index === state.frame && pointer.isDrawing) return; // it is becoming an annotation
    const gone = masks.invalidate(index);
    this.#follow(index);
    if (gone && index === state.frame) state.set({ shown: state.shown + 1 });
  }

  /** Shows the frame that was just segmented, unless the person went elsewhere. */
  #follow(index) {
    this.newest = index;
    // Not every one of a fast run: to show them takes time from the segmentation.
    this.following ??= setTimeout(() => {
      this.following = null;
      if (this.state.follow) this.state.set({ frame: this.newest });
    }, FOLLOW_MS);
  }

  /** Asks the server how the session stands. */
  async refresh() {
    try {
      this.#apply(await this.api.get());
    } catch (error) {
      if (!error.passing) this.fail(error);
      else setTimeout(() => this.refresh(), 1500);
    }
  }

  #apply(session) {
    const { state, masks } = this;
    const annotated = new Set(session.annotated);
    for (const index of masks.saver.pending) {
      if (state.annotated.has(index)) annotated.add(index);
      else annotated.delete(index);
    }
    const running = session.state === "running";
    state.set({
      annotated, running, confidence: session.confidence, doubtful: new Set(session.doubtful),
      progress: running ? session.progress : null,
      hasResults: session.confidence.some((value) => value !== null),
    });
    if (session.state === "failed" && session.error) {
      this.fail({ message: session.error.rule, remedy: session.error.remedy });
    }
  }
}

const PHASES = {
  waiting: "Waiting", loading: "Loading the network", "fine-tuning": "Learning the object",
  propagation: "Segmenting", export: "Writing",
};

/** Says in words how far a propagation or an export is. */
export function describeProgress(progress) {
  if (!progress) return "Starting…";
  const words = [PHASES[progress.phase] ?? "Segmenting"];
  if (progress.total) words[0] += ` ${progress.done} / ${progress.total}`;
  if (progress.frames_per_second && progress.phase !== "fine-tuning") {
    words.push(`${progress.frames_per_second.toFixed(1)} frames/s`);
  }
  if (typeof progress.eta === "number") words.push(`${duration(progress.eta)} left`);
  return words.join(" · ");
}

function duration(seconds) {
  const whole = Math.ceil(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
