"""The folder of a session: annotations, results, and a propagation that was interrupted."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.inference.frame_store import FrameStore
from deeplab_gygo.io.atomic import replacing
from deeplab_gygo.io.masks import read_mask
from deeplab_gygo.io.palette import write_mask
from deeplab_gygo.io.reading import read_json

_APPLIED, _IDENTITY = "applied.json", "run.json"


class SessionFolder:
    """The folder of a session. Every file is whole, whenever a process is killed.

    Args:
        folder: The folder; it is made where it is absent.

    Attributes:
        folder: As given.
        results: The newest result of every frame.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.results = FrameStore(self.folder / "results")
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
        path = self.folder / _APPLIED
        if not path.exists():
            return None
        try:
            return {int(index): str(digest) for index, digest in read_json(path).items()}
        except (AttributeError, ValueError, InputError):
            return None

    def begin(self, identity: dict[str, Any]) -> Path:
        """Returns the folder of a propagation, with what an interrupted one of the same identity
        kept there.

        Args:
            identity: What its results follow from, as plain values.
        """
        folder = self.folder / "run"
        path = folder / _IDENTITY
        known = None
        if path.exists():
            try:
                known = read_json(path)
            except InputError:
                known = None
        if known != json.loads(json.dumps(identity)):
            shutil.rmtree(folder, ignore_errors=True)
            with replacing(path) as side:
                side.write_text(json.dumps(identity), encoding="utf-8")
        return folder

    def finish(self, digests: dict[int, str]) -> None:
        """Records the end of a propagation of annotations with these digests."""
        with replacing(self.folder / _APPLIED) as side:
            side.write_text(json.dumps(digests), encoding="utf-8")
        shutil.rmtree(self.folder / "run", ignore_errors=True)


def digest_of(mask: np.ndarray) -> str:
    """Returns a digest of a mask, uint8 [H, W]: hexadecimal."""
    shape = np.array(mask.shape, np.int64).tobytes()
    return hashlib.sha256(shape + np.ascontiguousarray(mask).tobytes()).hexdigest()[:32]
