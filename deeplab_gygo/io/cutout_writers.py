"""Pictures with soft edges: probabilities as gray PNG, cut-outs with alpha."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.mask_writers import DEPTH, ThreadedWriter, file_of, write_png


class SoftMaskWriter(ThreadedWriter):
    """Writes probabilities as gray PNG files, 0 background to 255 object, named as the frames.

    Several objects go to one folder each: `<folder>/<id>/<name>.png`.

    Args:
        folder: Where to write; made where it is absent.
        depth: Pictures that may wait.
    """

    def __init__(self, folder: str | Path, depth: int = DEPTH):
        super().__init__(depth)
        self.folder = Path(folder)

    def write(self, name: str, probability: np.ndarray, ids: list[int] | None = None) -> None:
        """Hands over the probability of a frame; it must not be changed afterwards.

        Args:
            name: Name of the frame, without suffix.
            probability: float [H, W] of one object or [N, H, W] of several, range 0..1.
            ids: Object id of every plane of [N, H, W]; 1..N when absent.

        Raises:
            InputError: The array has another form, or the name is no file name.
            StorageError: An earlier picture could not be written.
        """
        probability = _checked(probability, self.folder / name)
        if probability.ndim == 2:
            self._submit(_write_gray, file_of(self.folder, name, ".png"), probability)
            return
        ids = list(range(1, len(probability) + 1)) if ids is None else ids
        if len(ids) != len(probability):
            raise InputError(
                "Every object's probability has an id",
                met=f"{len(probability)} objects, {len(ids)} ids",
                where=self.folder / name,
            )
        for label, plane in zip(ids, probability, strict=True):
            self._submit(_write_gray, file_of(self.folder / str(label), name, ".png"), plane)


class CutoutWriter(ThreadedWriter):
    """Writes every frame as RGBA PNG with the probability as straight alpha.

    Args:
        folder: Where to write; made where it is absent.
        depth: Pictures that may wait.
    """

    def __init__(self, folder: str | Path, depth: int = DEPTH):
        super().__init__(depth)
        self.folder = Path(folder)

    def write(self, name: str, image: np.ndarray, probability: np.ndarray) -> None:
        """Hands over a frame; the arrays must not be changed afterwards.

        Args:
            name: Name of the frame, without suffix.
            image: uint8 [H, W, 3] RGB.
            probability: float [H, W], or [N, H, W] of several objects, which are all kept; range
                0..1.

        Raises:
            InputError: The arrays do not fit each other, or the name is no file name.
            StorageError: An earlier picture could not be written.
        """
        path = file_of(self.folder, name, ".png")
        probability = _checked(probability, path)
        if image.dtype != np.uint8 or image.shape != (*probability.shape[-2:], 3):
            raise InputError(
                "The image of a cut-out is uint8 [H, W, 3] of the probability's size",
                met=f"{image.dtype} {list(image.shape)} and {list(probability.shape)}",
                where=path,
            )
        self._submit(_write_cutout, path, image, probability)


def _checked(probability: np.ndarray, where: Path) -> np.ndarray:
    """Returns the array, or raises where it is no probability."""
    probability = np.asarray(probability)
    if probability.ndim not in (2, 3) or not np.issubdtype(probability.dtype, np.floating):
        raise InputError(
            "A probability is float [H, W] or [N, H, W]",
            met=f"{probability.dtype} {list(probability.shape)}",
            where=where,
        )
    return probability


def as_bytes(probability: np.ndarray) -> np.ndarray:
    """Rounds probabilities 0..1 to uint8 0..255 of the same shape; not-a-number counts as 0."""
    scaled = np.nan_to_num(np.asarray(probability, np.float32)) * 255 + 0.5
    return np.clip(scaled, 0, 255).astype(np.uint8)


def _write_gray(path: Path, probability: np.ndarray) -> None:
    write_png(path, as_bytes(probability))


def _write_cutout(path: Path, image: np.ndarray, probability: np.ndarray) -> None:
    if probability.ndim == 3:
        probability = probability.max(axis=0)
    write_png(path, np.dstack([image, as_bytes(probability)]))
