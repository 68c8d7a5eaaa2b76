"""Small data sets for the tests of the readers and of the verification."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 12, 16


def write_frame(path: Path, seed: int) -> None:
    """Writes a small photo that differs from those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colors = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    Image.fromarray(colors).save(path)


def write_square(path: Path, values: tuple[int, ...] = (255,), palette: bool = False) -> None:
    """Writes a mask with one square for each value, on background 0."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = np.zeros((HEIGHT, WIDTH), np.uint8)
    for position, value in enumerate(values):
        ids[2:10, 2 + 4 * position : 6 + 4 * position] = value
    image = Image.fromarray(ids)
    if palette:
        image = image.convert("P")
        image.putdata(ids.reshape(-1).tolist())
        image.putpalette([channel for index in range(256) for channel in (index, 7, 255 - index)])
    image.save(path)


@pytest.fixture
def build_set(tmp_path) -> Callable[..., Path]:
    """A function that writes a data set and returns its root.

    Its arguments: the sequences as name -> number of frames; the lists as path below `ImageSets`
    -> text; and by name the folder, resolution, suffixes, and values of the masks.
    """

    def build(
        sequences: dict[str, int],
        lists: dict[str, str | bytes],
        *,
        folder: str = "set",
        resolution: str = "480p",
        suffixes: tuple[str, str] = (".jpg", ".png"),
        values: tuple[int, ...] = (255,),
        palette: bool = False,
    ) -> Path:
        root = tmp_path / folder
        for name, frames in sequences.items():
            for index in range(frames):
                place = f"{resolution}/{name}/{index:05d}"
                seed = zlib.crc32(f"{name} {index}".encode())
                write_frame(root / "JPEGImages" / f"{place}{suffixes[0]}", seed)
                write_square(root / "Annotations" / f"{place}{suffixes[1]}", values, palette)
        for name, text in lists.items():
            path = root / "ImageSets" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return root

    return build
