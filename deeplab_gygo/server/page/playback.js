/** Returns a function that starts and pauses the clip; frames that are late are left out. */
export function makePlayback(state) {
  let started = 0, first = 0;
  const rate = state.clip.frame_rate || 25;
  const step = (now) => {
    if (!state.playing) return;
    const wanted = first + Math.floor(((now - started) / 1000) * rate);
    const last = state.clip.frames - 1;
    if (wanted > state.frame) state.set({ frame: Math.min(last, wanted) });
    if (state.frame >= last) state.set({ playing: false });
    else requestAnimationFrame(step);
  };
  state.on(["playing"], () => {
    if (!state.playing) return;
    if (state.frame >= state.clip.frames - 1) state.set({ frame: 0 });
    [first, started] = [state.frame, performance.now()];
    state.set({ follow: false });
    requestAnimationFrame(step);
  });
  return () => state.set({ playing: !state.playing });
}
