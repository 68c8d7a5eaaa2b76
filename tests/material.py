"""Small data sets and composing material for the tests of the data room."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

HEIGHT, WIDTH = 12, 16
MAGENTA = (220, 30, 210)  # of every object of the composing material, and of nothing else


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


def _write_cutout(path: Path, height: int = 60, width: int = 50) -> None:
    """Writes a magenta ellipse on transparency; the hidden pixels are green."""
    path.parent.mkdir(parents=True, exist_ok=True)
    alpha = np.zeros((height, width), np.uint8)
    center = (width // 2, height // 2)
    cv2.ellipse(alpha, center, (width // 2 - 4, height // 2 - 4), 0, 0, 360, 255, -1)
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., 1] = 255
    rgba[alpha > 0, :3] = MAGENTA
    rgba[..., 3] = alpha
    Image.fromarray(rgba).save(path)


def _write_still(folder: Path, name: str, box: tuple[int, int, int, int]) -> None:
    """Writes a gray photo with a magenta box (first row, last row, first and last column)."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = np.full((90, 120, 3), 128, np.uint8)
    mask = np.zeros((90, 120), np.uint8)
    area = (slice(box[0], box[1]), slice(box[2], box[3]))
    image[area], mask[area] = MAGENTA, 255
    Image.fromarray(image).save(folder / "images" / f"{name}.png")
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


@pytest.fixture
def composing_material(tmp_path) -> Path:
    """A folder with cut-outs (a spin of 3 views and two single ones), backgrounds and stills."""
    for view in range(3):
        _write_cutout(tmp_path / "cutouts" / "spins" / f"mug__{view:05d}.png", 60 + view)
    _write_cutout(tmp_path / "cutouts" / "shop" / "bag01-blue.png")
    _write_cutout(tmp_path / "cutouts" / "shop" / "bag02-red.png", 40, 70)
    (tmp_path / "rooms").mkdir()
    for index, gray in enumerate((90, 130, 170)):
        picture = np.full((80, 140, 3), gray, np.uint8)
        picture[::7] += 20
        Image.fromarray(picture).save(tmp_path / "rooms" / f"{index}.png")
    _write_still(tmp_path / "people", "a", (20, 60, 30, 80))
    _write_still(tmp_path / "people", "b", (0, 90, 0, 50))
    return tmp_path
