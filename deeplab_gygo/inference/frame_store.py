"""Predictions on disk: of a propagation that another is merged with, or of a run to be resumed."""

from __future__ import annotations

import os
import zlib
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.arrays import open_npz
from deeplab_gygo.io.writers import as_bytes

_STATE, _INITIAL = "state.npz", "initial.npz"


class FrameStore:
    """Predictions of a propagation and the state that the newest of them left, in a folder.

    A process that is killed at any moment leaves whole files; the frame whose state was not written
    yet counts as not segmented.

    Args:
        folder: Folder of the files; it is made where it is absent.
        descending: Whether the propagation goes backwards.
    """

    def __init__(self, folder: str | Path, *, descending: bool = False):
        self.folder, self._descending = Path(folder), descending
        self.folder.mkdir(parents=True, exist_ok=True)

    def backward(self) -> FrameStore:
        """Returns the store of the propagation backwards of the same run."""
        return FrameStore(self.folder / "backward", descending=True)

    def side(self, index: int, *, forward: bool) -> FrameStore:
        """Returns the store of a propagation from one frame in one direction."""
        name = f"{index:06d}-{'forward' if forward else 'backward'}"
        return FrameStore(self.folder / name, descending=not forward)

    def initial_state(self) -> dict[str, np.ndarray] | None:
        """Returns what was kept by `begin`; None for nothing."""
        return self._read(_INITIAL)

    def begin(self, state: Mapping[str, np.ndarray]) -> None:
        """Keeps what a segmenter computed at the annotated frames."""
        self._write(_INITIAL, state)

    def state(self) -> dict[str, np.ndarray]:
        """Returns the state that the last frame of `indices` left."""
        return self._read(_STATE) or {}

    def indices(self) -> set[int]:
        """Returns the indices of the frames that need not be segmented again."""
        state = self.state()
        if not state:
            return set()
        last = int(state["index"])
        found = {int(path.stem) for path in self.folder.glob("[0-9]*.npz")}
        return {i for i in found if (i >= last if self._descending else i <= last)}

    def put(self, prediction: Prediction, state: Mapping[str, np.ndarray] | None) -> None:
        """Keeps a prediction, its probability in 8 bits, and the state that it left."""
        # As they are written, so that a resumed run writes the same bytes.
        levels = as_bytes(np.atleast_3d(prediction.probability.T).T, self.folder)
        self._write(
            f"{prediction.index:06d}.npz",
            {
                "shape": np.array(levels.shape),
                "planes": _packed(levels),
                "mask": _packed(prediction.mask),
                "numbers": np.array([prediction.confidence, prediction.seconds]),
            },
        )
        if state is not None:
            self._write(_STATE, {**state, "index": np.array(prediction.index)})

    def holds(self, index: int) -> bool:
        """Returns whether a prediction was kept."""
        return (self.folder / f"{index:06d}.npz").exists()

    def prediction(self, index: int, name: str) -> Prediction:
        """Returns a prediction that was kept.

        Args:
            index: Index of the frame.
            name: Name of the frame.

        Raises:
            InputError: The file is damaged.
        """
        values = self._read(f"{index:06d}.npz")
        try:
            count, height, width = (int(side) for side in values["shape"])
            planes = _unpacked(values["planes"], (count, height, width)).astype(np.float32) / 255
            mask = _unpacked(values["mask"], (height, width))
            confidence, seconds = (float(number) for number in values["numbers"])
        except (KeyError, TypeError, ValueError, zlib.error) as error:
            raise InputError(
                "The state of an interrupted run is whole",
                met=f"{index:06d}.npz is damaged",
                where=self.folder,
                remedy="Remove the folder of the interrupted run",
            ) from error
        probability = planes[0] if count == 1 else planes
        return Prediction(index, name, probability, mask, seconds, confidence)

    def _read(self, name: str) -> dict[str, np.ndarray] | None:
        path = self.folder / name
        if not path.exists():
            return None
        with open_npz(path, rule="The state of an interrupted run is whole") as archive:
            return {name: archive.read(name) for name in archive.names}

    def _write(self, name: str, values: Mapping[str, np.ndarray]) -> None:
        path = self.folder / name
        side = path.with_suffix(".part")
        with open(side, "wb") as file:
            np.savez(file, **values)
        os.replace(side, path)


class StoreWriter:
    """Writes into a store in a thread, while the next frame is segmented.

    Args:
        store: The store; None where nothing is kept.
    """

    def __init__(self, store: FrameStore | None):
        self._store, self._pool = store, ThreadPoolExecutor(1)
        self._pending: Future[None] | None = None

    def put(self, prediction: Prediction, state: Mapping[str, np.ndarray] | None) -> None:
        """Keeps a prediction as `FrameStore.put` does; raises the error of the one before."""
        self._wait()
        self._pending = self._pool.submit(self._store.put, prediction, state)

    def close(self) -> None:
        """Waits until all is written."""
        try:
            self._wait()
        finally:
            self._pool.shutdown()

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()


def _packed(plane: np.ndarray) -> np.ndarray:
    return np.frombuffer(zlib.compress(np.ascontiguousarray(plane).tobytes(), 1), np.uint8)


def _unpacked(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    most = int(np.prod(shape))
    content = zlib.decompressobj().decompress(packed.tobytes(), most)
    return np.frombuffer(content, np.uint8).reshape(shape)
