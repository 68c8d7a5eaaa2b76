"""Known masks in every encoding: read as they are, or refused where two readings are possible."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from deeplab_gygo.errors import InputError
from deeplab_gygo.io.masks import MASK_FORMATS, davis_palette, read_mask

HEIGHT, WIDTH = 72, 96


def masks() -> dict[str, np.ndarray]:
    """Masks of ids 1 to 3, uint8 [HEIGHT, WIDTH]; 255 is void."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]

    def disk(row: int, column: int, radius: int) -> np.ndarray:
        return (y - row) ** 2 + (x - column) ** 2 <= radius**2

    one, three, touching, small, line = (np.zeros((HEIGHT, WIDTH), np.uint8) for _ in range(5))
    one[disk(36, 50, 22)] = 1
    for id_, column in enumerate((18, 48, 78), start=1):
        three[disk(30 + 5 * id_, column, 11)] = id_
    touching[10:60, 10:80] = 1
    touching[10:40, 40:80] = 2
    touching[disk(50, 40, 9)] = 3
    for id_, (row, column) in enumerate(((8, 8), (40, 50), (65, 88)), start=1):
        small[row : row + 2, column : column + 3] = id_
    line[30, 20:26] = 1
    line[50:56, 70] = 2
    large = np.where(disk(36, 48, 44) & (x > 3), 2, 0).astype(np.uint8)
    large[disk(20, 40, 6)] = 1
    named = {"one": one, "three": three, "touching": touching, "small": small, "line": line}
    for name in ("one", "three", "small"):
        rim = cv2.dilate(named[name], np.ones((5, 5), np.uint8))
        named[f"{name} with void"] = np.where((rim > 0) & (named[name] == 0), 255, named[name])
    named["large void"] = np.where(y < 40, 255, small).astype(np.uint8)
    return named | {"large": large}


MASKS = masks()


@dataclass
class Case:
    """One file: how it is written, the mask that must be read, and its other reading, if any."""

    name: str
    save: Callable[[Path], None]
    truth: np.ndarray
    suffix: str
    other_reading: str = ""  # a refusal is right
    lossy: bool = False  # edges may move by some pixels


def lossless(picture: Image.Image, kinds: tuple[str, ...]) -> Iterator[tuple[str, Callable]]:
    for kind in kinds:
        options = {"lossless": True, "exact": True} if kind == "webp" else {}
        yield kind, lambda path, options=options: picture.save(path, **options)


def paletted(indices: np.ndarray, colors: np.ndarray) -> Image.Image:
    picture = Image.fromarray(indices)
    picture.putpalette(colors.astype(np.uint8).tobytes())
    return picture


def without_void(ids: np.ndarray) -> np.ndarray:
    return np.where(ids == 255, 0, ids).astype(np.uint8)


def gray_cases() -> Iterator[Case]:
    """Ids as gray values, of every bit depth."""
    for name, ids in MASKS.items():
        truth = without_void(ids)
        pictures = {"gray": Image.fromarray(ids), "RGB": Image.fromarray(ids).convert("RGB")}
        kinds = {"gray": ("png", "bmp", "tif", "webp", "gif"), "RGB": ("png", "bmp", "webp")}
        for dtype in (np.uint16, np.int32, np.float32):
            label = f"gray {np.dtype(dtype)}"
            pictures[label] = Image.fromarray(ids.astype(dtype))
            kinds[label] = ("png", "tif") if dtype == np.uint16 else ("tif",)
        opaque = np.dstack([ids, np.full_like(ids, 255)])
        pictures["gray, opaque"], kinds["gray, opaque"] = Image.fromarray(opaque), ("png",)
        for label, picture in pictures.items():
            for suffix, save in lossless(picture, kinds[label]):
                yield Case(f"{name}, ids, {label}, {suffix}", save, truth, suffix)
        if truth.max() == 1:
            continue
        for values in ((1, 256, 257), (1005, 1006, 2001), (26000, 26001, 24000), (3, 300, 70)):
            wide = np.array([0, *values])
            numbered = np.argsort(np.argsort(wide))
            if (ids == 255).any():
                continue  # void is 8-bit
            for dtype, kind in ((np.uint16, "png"), (np.uint16, "tif"), (np.int32, "tif")):
                picture = Image.fromarray(wide[ids].astype(dtype))
                for suffix, save in lossless(picture, (kind,)):
                    label = f"{name}, ids {values}, {np.dtype(dtype)}, {suffix}"
                    found = np.unique(numbered[ids])
                    yield Case(label, save, np.searchsorted(found, numbered[ids]), suffix)
        for values in ((128, 255, 64), (206, 210, 200), (85, 170, 255), (38, 75, 113)):
            if (ids == 255).any():
                continue
            levels = np.array([0, *values], np.uint8)[ids]
            for kind in ("png", "bmp", "jpg", "webp"):
                picture = Image.fromarray(levels)
                for suffix, save in lossless(picture, (kind,)):
                    label = f"{name}, gray levels {values}, {suffix}"
                    yield Case(label, save, truth, suffix, other_reading="one object, gray")


def binary_cases() -> Iterator[Case]:
    """One object, hard and soft, of every bit depth and kind of file."""
    for name, ids in MASKS.items():
        if (ids == 255).any():
            continue
        truth = (ids > 0).astype(np.uint8)
        white = truth * np.uint8(255)
        pictures = {
            "bits": (Image.fromarray(white).convert("1"), ("png", "bmp", "tif", "gif")),
            "gray": (Image.fromarray(white), ("png", "bmp", "tif", "gif", "webp")),
            "16 bits": (Image.fromarray(white.astype(np.uint16) * 257), ("png", "tif")),
            "12 bits": (Image.fromarray(truth.astype(np.uint16) * 4095), ("png", "tif")),
            "float": (Image.fromarray(truth.astype(np.float32)), ("tif",)),
            "float 255": (Image.fromarray(white.astype(np.float32)), ("tif",)),
            "one gray": (Image.fromarray(truth * np.uint8(200)), ("png", "bmp")),
            "RGB": (Image.fromarray(np.dstack([white] * 3)), ("png", "bmp", "tif", "webp")),
            "RGBA": (Image.fromarray(white).convert("RGBA"), ("png", "webp")),
        }
        for label, (picture, kinds) in pictures.items():
            for suffix, save in lossless(picture, kinds):
                yield Case(f"{name}, white, {label}, {suffix}", save, truth, suffix)
        other = "noise or a part of an edge" if truth.sum() < 100 else ""
        for quality in (40, 60, 90):
            for suffix in ("jpg", "webp"):
                for mode in ("L", "RGB"):
                    picture = Image.fromarray(white).convert(mode)
                    label = f"{name}, white, {mode}, {suffix} {quality}"
                    save = partial_save(picture, quality=quality)
                    yield Case(label, save, truth, suffix, other, lossy=True)
        for sigma in (0.5, 1.0, 2.0):
            soft = cv2.GaussianBlur(truth.astype(np.float32), (0, 0), sigma)
            other = "a dim object" if soft.max() < 0.9 else ""
            cut = (np.rint(soft * 255) > 127).astype(np.uint8)
            cut16 = (np.rint(soft * 65535) > 32767).astype(np.uint8)
            gray = np.rint(soft * 255).astype(np.uint8)
            colored = np.zeros((*gray.shape, 4), np.uint8)
            colored[..., 0], colored[..., 3] = 200, gray
            pictures = {
                "gray": (Image.fromarray(gray), ("png", "bmp", "tif", "gif", "webp"), cut),
                "RGB": (Image.fromarray(np.dstack([gray] * 3)), ("png", "webp"), cut),
                "alpha": (Image.fromarray(colored), ("png", "webp"), cut),
                "16 bits": (
                    Image.fromarray(np.rint(soft * 65535).astype(np.uint16)),
                    ("png", "tif"),
                    cut16,
                ),
                "float": (Image.fromarray(soft), ("tif",), cut),
            }
            for label, (picture, kinds, expected) in pictures.items():
                for suffix, save in lossless(picture, kinds):
                    label_ = f"{name}, soft {sigma}, {label}, {suffix}"
                    yield Case(label_, save, expected, suffix, other)


def partial_save(picture: Image.Image, **options: object) -> Callable[[Path], None]:
    return lambda path: picture.save(path, **options)


def palette_cases() -> Iterator[Case]:
    custom = np.array([[0, 0, 0], [250, 30, 40], [20, 90, 240], [40, 220, 60]])
    grays = np.array([[0] * 3, [85] * 3, [170] * 3, [255] * 3])
    for name, ids in MASKS.items():
        truth = without_void(ids)
        for suffix, save in lossless(paletted(ids, davis_palette()), ("png", "gif", "tif", "bmp")):
            yield Case(f"{name}, palette of DAVIS, {suffix}", save, truth, suffix)
        colors = np.zeros((256, 3))
        for suffix, save in lossless(paletted(ids, colors), ("png",)):
            yield Case(f"{name}, black palette, {suffix}", save, truth, suffix)
        if (ids == 255).any():
            continue
        on_white = custom.copy()
        on_white[0] = 255
        variants = {"palette": (ids, custom, ""), "palette on white": (ids, on_white, "")}
        order = np.array([1, 2, 3, 0])  # of colors in the palette
        moved = np.argsort(order)[ids].astype(np.uint8)
        variants["black last"] = (moved, custom[order], "")
        variants["white last"] = (moved, on_white[order], "index 0 is background")
        unknown = custom + [[60, 60, 60], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
        variants["no black"] = (ids, unknown, "every index is an object")
        variants["no black, moved"] = (moved, unknown[order], "index 0 is background")
        if len(np.unique(ids)) > 2:
            variants["gray palette"] = (ids, grays, "one object, gray")
        for label, (indices, colors, other) in variants.items():
            for suffix, save in lossless(paletted(indices, colors), ("png", "bmp", "gif")):
                yield Case(f"{name}, {label}, {suffix}", save, truth, suffix, other)
        picture = paletted(ids, custom)
        several = "one object in colors" if len(np.unique(ids)) > 2 else ""
        save = partial_save(picture, transparency=0)
        yield Case(f"{name}, palette with transparency", save, truth, "png", several)


def color_cases() -> Iterator[Case]:
    custom = np.array([[0, 0, 0], [20, 90, 240], [40, 220, 60], [250, 30, 40]], np.uint8)
    dark = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]], np.uint8)
    for name, ids in MASKS.items():
        truth = without_void(ids)
        davis = davis_palette()[ids]
        for suffix, save in lossless(Image.fromarray(davis), ("png", "bmp", "tif", "webp")):
            yield Case(f"{name}, colors of DAVIS, {suffix}", save, truth, suffix)
        layer = np.dstack([davis, np.where(ids > 0, 255, 0).astype(np.uint8)])
        for suffix, save in lossless(Image.fromarray(layer), ("png", "webp", "tif")):
            yield Case(f"{name}, layer of DAVIS, {suffix}", save, truth, suffix)
        if (ids == 255).any():
            continue
        on_white = custom.copy()
        on_white[0] = 255
        for label, colors in (("colors", custom), ("on white", on_white), ("dark", dark)):
            for suffix, save in lossless(Image.fromarray(colors[ids]), ("png", "bmp", "webp")):
                yield Case(f"{name}, {label}, {suffix}", save, truth, suffix)
        no_background = Image.fromarray((custom + np.array([[60, 60, 60]], np.uint8) % 200)[ids])
        other = "another color is the background"
        yield Case(f"{name}, no black", partial_save(no_background), truth, "png", other)
        several = len(np.unique(ids)) > 2
        layer = np.dstack([custom[ids], np.where(ids > 0, 255, 0).astype(np.uint8)])
        other = "one object in colors" if several else ""
        for suffix, save in lossless(Image.fromarray(layer), ("png", "webp")):
            yield Case(f"{name}, layer of colors, {suffix}", save, truth, suffix, other)
        rng = np.random.default_rng(3)
        photo = cv2.resize(rng.integers(0, 255, (6, 8, 3), np.uint8), (WIDTH, HEIGHT))
        cutout = np.dstack([photo, np.where(ids > 0, 255, 0).astype(np.uint8)])
        for suffix, save in lossless(Image.fromarray(cutout), ("png", "webp")):
            yield Case(f"{name}, cut-out, {suffix}", save, (ids > 0).astype(np.uint8), suffix)
        small = "noise" if name in ("small", "line") else ""
        # Compression stores color at half the resolution: parts below 16 pixels are blurred.
        blurred = "an edge" if name in ("small", "line", "touching", "large") else ""
        for quality in (75, 95):
            for palette in (custom, davis_palette()):
                for suffix in ("jpg", "webp"):
                    save = partial_save(Image.fromarray(palette[ids]), quality=quality)
                    label = f"{name}, {len(palette)} colors, {suffix} {quality}"
                    yield Case(label, save, truth, suffix, blurred, lossy=True)
        for id_ in range(4):
            yield from soft_color_cases(name, ids, id_ % 2 == 0, custom, sigma=0.4 + 0.4 * id_)
        if not small:  # small parts leave no trace
            ids_in_jpeg = partial_save(Image.fromarray(ids), quality=90)
            yield Case(f"{name}, ids, jpg", ids_in_jpeg, truth, "jpg", "lost by compression")


def soft_color_cases(
    name: str, ids: np.ndarray, on_black: bool, colors: np.ndarray, sigma: float
) -> Iterator[Case]:
    colors = colors.copy()
    colors[0] = 0 if on_black else 255
    soft = cv2.GaussianBlur(colors[ids].astype(np.float32), (0, 0), sigma)
    picture = Image.fromarray(np.rint(soft).astype(np.uint8))
    other = "other colors" if name in ("small", "line") else ""
    for suffix, save in lossless(picture, ("png", "webp")):
        label = f"{name}, soft colors {sigma:.1f} on {colors[0, 0]}, {suffix}"
        yield Case(label, save, ids, suffix, other, lossy=True)


def several_soft_cases() -> Iterator[Case]:
    """Several objects with soft edges; where values are blended, a file may be refused."""
    for name, ids in MASKS.items():
        if (ids == 255).any():
            continue
        truth = ids
        for sigma in (0.5, 1.0, 2.0):
            for values in ((1, 2, 3), (40, 50, 60), (128, 255, 64), (26000, 24000, 300)):
                if truth.astype(bool).sum() < 20 and values[0] < 256:
                    continue  # blending leaves no trace of several objects
                stored = np.array([0, *values], np.float32)[ids]
                soft = np.rint(cv2.GaussianBlur(stored, (0, 0), sigma))
                dtype = np.uint16 if max(values) > 255 else np.uint8
                for kind in ("png", "jpg") if dtype == np.uint8 else ("png",):
                    save = partial_save(Image.fromarray(soft.astype(dtype)))
                    label = f"{name}, {values}, soft {sigma}, {kind}"
                    yield Case(label, save, truth, kind, "blended values", lossy=True)
            small = "a dim object" if name in ("small", "line") else ""
            alpha = cv2.GaussianBlur((ids > 0).astype(np.float32), (0, 0), sigma)
            spread = cv2.dilate(ids, np.ones((9, 9), np.uint8))
            color = davis_palette()[np.where(ids > 0, ids, spread)]
            layer = np.dstack([color, np.rint(255 * alpha).astype(np.uint8)])
            if name in ("touching", "large"):
                continue
            expected = np.where(layer[..., 3] > 127, np.where(ids > 0, ids, spread), 0)
            for suffix, save in lossless(Image.fromarray(layer), ("png", "webp")):
                yield Case(f"{name}, soft layer {sigma}, {suffix}", save, expected, suffix, small)


FAMILIES = (gray_cases, binary_cases, palette_cases, color_cases, several_soft_cases)


def agrees(mask: np.ndarray, case: Case) -> bool:
    if not case.lossy:
        return np.array_equal(mask, case.truth)
    kernel = np.ones((7, 7), np.uint8)
    truth = case.truth.astype(np.uint8)
    edges = cv2.dilate(truth, kernel) != cv2.erode(truth, kernel)
    same_ids = np.array_equal(np.unique(mask), np.unique(truth))
    return same_ids and np.array_equal(mask[~edges], truth[~edges])


def named_formats(error: InputError) -> list[str]:
    """Returns the mask formats that the remedy of an error names."""
    remedy = str(error).partition("--mask-format")[2]
    return [name for name in MASK_FORMATS if re.search(rf"\b{name}\b( \(|\.)", remedy)]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_every_encoding_is_read_as_meant_or_refused(tmp_path, family):
    cases = list(family())
    assert len({case.name for case in cases}) == len(cases) >= 100
    wrong = []
    for case in cases:
        path = tmp_path / f"mask.{case.suffix}"
        case.save(path)
        try:
            mask = read_mask(path)
        except InputError as error:
            if not case.other_reading:
                wrong.append(f"{case.name}: {error}")
            for name in named_formats(error):
                try:
                    read_mask(path, mask_format=name)
                except InputError as second:
                    wrong.append(f"{case.name}, named {name}: {second}")
            continue
        if not agrees(mask, case):
            wrong.append(f"{case.name}: {np.unique(mask)}")
    assert not wrong, "\n".join(wrong)
