"""Progress bars of one sequence: steps of fine-tuning with their loss, then frames."""

from __future__ import annotations

from typing import Self

from tqdm import tqdm

from deeplab_gygo.inference.config import UNLIMITED_STEPS


class SequenceBars:
    """A bar for the fine-tuning of each object, then one for the frames; on terminals only.

    A context manager, which removes the bars.

    Args:
        name: Name of the sequence.
        frames: Number of frames.
        objects: Number of objects.
        shown: False shows none at all.
        keep: Whether the bar of frames stays to be seen when it is full.
    """

    def __init__(self, name: str, frames: int, objects: int, *, shown: bool, keep: bool = False):
        self._name, self._frames, self._objects = name, frames, objects
        self._disable = None if shown else True
        self._keep = keep
        self._tuning: tqdm | None = None
        self._running: tqdm | None = None
        self._object = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for bar in (self._tuning, self._running):
            if bar is not None:
                bar.close()

    def tuned(self, step: int, steps: int, loss: float) -> None:
        """Shows a step of fine-tuning; the first one of an object begins a bar."""
        if step == 1 or self._tuning is None:
            if self._tuning is not None:
                self._tuning.close()
            self._object += 1
            which = f" object {self._object}/{self._objects}" if self._objects > 1 else ""
            self._tuning = tqdm(
                total=steps if steps < UNLIMITED_STEPS else None,
                desc=f"fine-tune {self._name}{which}", unit="step",
                leave=self._keep, disable=self._disable,
            )  # fmt: skip
        self._tuning.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._tuning.update(step - self._tuning.n)

    def segmented(self) -> None:
        """Counts a frame."""
        if self._running is None:
            if self._tuning is not None:
                self._tuning.close()
            self._running = tqdm(
                total=self._frames, desc=f"segment {self._name}", unit="frame",
                leave=self._keep, disable=self._disable,
            )  # fmt: skip
        self._running.update()
