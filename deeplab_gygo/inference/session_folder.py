"""The folder of a session: annotations, results, and what propagations keep for the next one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.inference.prediction import Prediction
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.reading import read_json

_APPLIED, _IDENTITY, _ENDED = "applied.json", "run.json", "ended.json"


class SessionFolder:
    """The folder of a session. Every file is whole, whenever a process is killed.

    Args:
        folder: The folder; it is made where it is absent.

    Attributes:
        folder: As given.
        results: The newest result of every frame.
        known: What the propagations that reached their end kept: results forwards and backwards,
            and what was computed at the annotated frames.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.results = FrameStore(self.folder / "results")
        self.known = FrameStore(self.folder / "known")
        self._run, self._before = self.folder / "run", self.folder / "before"
        self._annotations = self.folder / "annotations"
        self._annotations.mkdir(exist_ok=True)

    def annotated(self) -> list[int]:
        """Returns the indices of the annotated frames, ascending."""
        return sorted(int(path.stem) for path in self._annotations.glob("[0-9]*.png"))

    def annotation_path(self, index: int) -> Path:
        """Returns the file of an annotation, a palette PNG of object ids."""
        return self._annotations / f"{index:06d}.png"

    def annotation(self, index: int) -> np.ndarray:
        """Reads an annotation, uint8 [H, W] of object ids.

        Raises:
            InputError: It is absent or damaged.
        """
        return read_mask(self.annotation_path(index), mask_format="ids")

    def annotate(self, index: int, mask: np.ndarray | None) -> None:
        """Sets the annotation of a frame, uint8 [H, W] of object ids; None removes it.

        Raises:
            StorageError: The folder cannot be written.
        """
        path = self.annotation_path(index)
        if mask is None:
            path.unlink(missing_ok=True)
        else:
            write_mask(path, mask)

    def applied(self) -> dict[int, str] | None:
        """Returns the digests of the annotations that the results follow from, by index.

        None where no propagation reached its end.
        """
        self._settle()
        path = self.folder / _APPLIED
        if not path.exists():
            return None
        try:
            return {int(index): str(digest) for index, digest in read_json(path).items()}
        except (AttributeError, ValueError, InputError):
            return None

    def forget(self) -> None:
        """Makes the next propagation one of all frames."""
        self._settle()
        (self.folder / _APPLIED).unlink(missing_ok=True)

    def put(self, prediction: Prediction) -> None:
        """Sets the result of a frame; the one before is kept until the propagation ends."""
        name = f"{prediction.index:06d}.npz"
        if self.results.holds(prediction.index) and not (self._before / name).exists():
            self._before.mkdir(exist_ok=True)
            side = self._before / f"{name}.part"
            shutil.copyfile(self.results.folder / name, side)
            os.replace(side, self._before / name)
        self.results.put(prediction, None)

    def give_up(self) -> list[int]:
        """Gives up the propagation that was interrupted.

        Returns:
            Indices of the frames whose results are again those from before it, ascending.
        """
        found = sorted(self._before.glob("*.npz"))
        for path in found:
            os.replace(path, self.results.folder / path.name)
        shutil.rmtree(self._before, ignore_errors=True)
        shutil.rmtree(self._run, ignore_errors=True)
        return [int(path.stem) for path in found]

    def known_identity(self) -> dict[str, Any]:
        """Returns the identity of the propagation that `known` is of; empty for none."""
        return _read_values(self.known.folder / _IDENTITY)

    def begin(self, identity: dict[str, Any]) -> tuple[Path, list[int]]:
        """Begins a propagation, or goes on with an interrupted one of the same identity.

        Args:
            identity: What its results follow from, as plain values.

        Returns:
            Its folder, and the frames of which another one was given up, see `give_up`.
        """
        path, given_up = self._run / _IDENTITY, []
        if _read_values(path) != json.loads(json.dumps(identity)):
            given_up = self.give_up()
            _write_values(path, identity)
        return self._run, given_up

    def finish(self, digests: dict[int, str], span: range) -> None:
        """Records the end of a propagation.

        Args:
            digests: Of the annotations that it followed from.
            span: Indices of the frames of which nothing holds that was known before.
        """
        new = {_place(path) for path in self._run.rglob("*.npz")}
        known = {_place(path): path for path in self.known.folder.rglob("[0-9]*.npz")}
        stale = sorted(
            name for name, path in known.items() if int(path.stem) in span and name not in new
        )
        _write_values(self._run / _ENDED, {"applied": digests, "stale": stale})
        self._settle()

    def _settle(self) -> None:
        """Makes what a propagation kept known, if it reached its end; may be done twice."""
        ended = _read_values(self._run / _ENDED)
        if not ended:
            return
        known = self.known.folder
        self.known.backward()  # makes the folder
        for name in ended["stale"]:
            (known / name).unlink(missing_ok=True)
        for path in self._run.rglob("*.npz"):
            os.replace(path, known / _place(path))
        if (self._run / _IDENTITY).exists():
            os.replace(self._run / _IDENTITY, known / _IDENTITY)
        shutil.rmtree(self._before, ignore_errors=True)
        _write_values(self.folder / _APPLIED, ended["applied"])
        shutil.rmtree(self._run, ignore_errors=True)


def _place(path: Path) -> str:
    """Returns the place of a file of a propagation, of one or all frames, below `known`."""
    return f"backward/{path.name}" if path.parent.name.endswith("backward") else path.name


def _read_values(path: Path) -> dict[str, Any]:
    """Returns the values of a JSON file; empty where it is absent or damaged."""
    try:
        values = read_json(path) if path.exists() else {}
    except InputError:
        return {}
    return values if isinstance(values, dict) else {}


def _write_values(path: Path, values: dict[Any, Any]) -> None:
    with replacing(path) as side:
        side.write_text(json.dumps(values), encoding="utf-8")


def digest_of(mask: np.ndarray) -> str:
    """Returns a digest of a mask, uint8 [H, W]: hexadecimal."""
    shape = np.array(mask.shape, np.int64).tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(mask).tobytes()).hexdigest()[:32]
