"""Printed matter: brand names, logos, labels and the six sides of a carton."""

from __future__ import annotations

import cv2
import numpy as np

from product_renderer.textures import (
    Generator,
    blend,
    color_in_family,
    fill,
    noise,
    palette,
    pattern,
    wear,
)

_SYLLABLES = "ka lo mi ver no tis ra bel su do fen pra zu lin or ta qui mar sel vo dex ni".split()
_WORDS = (
    "ORGANIC FRESH PREMIUM CLASSIC NEW NATURAL EXTRA COFFEE TEA SOAP CREAM JUICE PASTA RICE HONEY "
    "SPORT HOME COLOR PURE ULTRA LIGHT MINI MAX 500g 1L 250ml 12x ORIGINAL VITAMIN COCOA MINT"
).split()
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)


def brand(rng: Generator) -> str:
    """Invents a brand name of two or three syllables."""
    name = "".join(rng.choice(_SYLLABLES, int(rng.integers(2, 4))))
    return name.upper() if rng.random() < 0.5 else name.capitalize()


def write_text(rng: Generator, image: np.ndarray, text: str, box, color, font=None) -> None:
    """Writes one line of text as large as a box allows, centered in it, in place.

    Args:
        rng: Generator to draw from.
        image: uint8 [H, W, 3], written to.
        text: Text to print.
        box: (x0, y0, x1, y1) in pixels.
        color: sRGB triple.
        font: OpenCV font; drawn when absent.
    """
    x0, y0, x1, y1 = (int(value) for value in box)
    font = _FONTS[int(rng.integers(len(_FONTS)))] if font is None else font
    (width, height), _ = cv2.getTextSize(text, font, 1.0, 2)
    scale = min((x1 - x0) / max(width, 1), (y1 - y0) / max(height * 1.3, 1))
    if scale <= 0:
        return
    thickness = max(1, int(round(scale * rng.uniform(1.5, 4))))
    origin = (int((x0 + x1 - width * scale) / 2), int((y0 + y1 + height * scale) / 2))
    cv2.putText(image, text, origin, font, scale, color, thickness, cv2.LINE_AA)


def draw_logo(rng: Generator, image: np.ndarray, center, radius: int, colors) -> None:
    """Draws a simple emblem (ring, star, leaf, drop, shield of arcs) in place."""
    x, y = (int(value) for value in center)
    kind = rng.choice(["ring", "star", "leaf", "sun", "mountain"])
    if kind == "ring":
        cv2.circle(image, (x, y), radius, colors[0], -1, 16)
        cv2.circle(image, (x, y), int(radius * 0.75), colors[1], max(1, radius // 10), 16)
        letter = chr(ord("A") + int(rng.integers(26)))
        half = radius * 0.5
        write_text(rng, image, letter, (x - half, y - half, x + half, y + half), colors[1])
    elif kind in ("star", "sun"):
        spikes = 5 if kind == "star" else int(rng.integers(10, 20))
        angles = np.arange(2 * spikes) * np.pi / spikes - np.pi / 2
        radii = radius * np.where(np.arange(2 * spikes) % 2, 0.45 if kind == "star" else 0.75, 1)
        points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], 1)
        cv2.fillPoly(image, [points.astype(np.int32)], colors[0], 16)
    elif kind == "leaf":
        tilt = rng.uniform(0, 180)
        axes = (radius, max(1, int(radius * 0.45)))
        cv2.ellipse(image, (x, y), axes, tilt, 0, 360, colors[0], -1, 16)
        cv2.ellipse(image, (x, y), (radius, 1), tilt, 0, 360, colors[1], max(1, radius // 12), 16)
    else:
        peak = np.array([[-1, 0.8], [-0.3, -0.6], [0.1, 0.1], [0.4, -0.3], [1, 0.8]]) * radius
        cv2.fillPoly(image, [(peak + (x, y)).astype(np.int32)], colors[0], 16)


def draw_small_print(rng: Generator, image: np.ndarray, box, color) -> None:
    """Draws paragraphs that are too small to read: rows of short dashes."""
    x0, y0, x1, y1 = (int(value) for value in box)
    pitch = max(3, (y1 - y0) // int(rng.integers(12, 30)))
    for y in range(y0 + pitch, y1, pitch):
        x = x0
        end = x1 if rng.random() < 0.8 else int(x0 + 0.6 * (x1 - x0))
        while x < end:
            length = int(rng.integers(pitch, 4 * pitch))
            cv2.line(image, (x, y), (min(x + length, end), y), color, max(1, pitch // 3))
            x += length + pitch // 2 + 1


def draw_barcode(rng: Generator, image: np.ndarray, box) -> None:
    """Draws a barcode on its white field."""
    x0, y0, x1, y1 = (int(value) for value in box)
    cv2.rectangle(image, (x0, y0), (x1, y1), (245, 245, 245), -1)
    x, inset = x0 + 3, max(1, (y1 - y0) // 10)
    while x < x1 - 3:
        bar = int(rng.integers(1, 4))
        cv2.rectangle(image, (x, y0 + inset), (x + bar - 1, y1 - 2 * inset), (20, 20, 20), -1)
        x += bar + int(rng.integers(1, 4))


def draw_picture(rng: Generator, image: np.ndarray, box, colors) -> None:
    """Draws a photo-like motif: a soft ground with a few shaded round shapes on it."""
    x0, y0, x1, y1 = (int(value) for value in box)
    size = (max(2, y1 - y0), max(2, x1 - x0))
    picture = blend(colors[0], colors[1], noise(rng, size, max(size) / 2, 4))
    for _ in range(int(rng.integers(2, 7))):
        center = (int(rng.integers(size[1])), int(rng.integers(size[0] // 3, size[0])))
        radius = int(min(size) * rng.uniform(0.08, 0.3)) + 1
        color = np.asarray(color_in_family(rng, "vivid", rng.uniform()))
        for step in range(6):
            shift = int(radius * 0.06 * step)
            shade = np.clip(color * (0.65 + 0.1 * step), 0, 255).tolist()
            spot = (center[0] - shift, center[1] - shift)
            cv2.circle(picture, spot, max(1, int(radius * (1 - 0.16 * step))), shade, -1, 16)
    image[y0 : y0 + size[0], x0 : x0 + size[1]] = picture[: image.shape[0] - y0]


def label(
    rng: Generator, size: tuple[int, int], colors=None, name: str | None = None
) -> np.ndarray:
    """Composes the front of a package: ground, picture or emblem, brand, claims.

    Args:
        rng: Generator to draw from.
        size: (H, W) in pixels.
        colors: At least three sRGB triples; drawn when absent.
        name: The brand; invented when absent.

    Returns:
        uint8 [H, W, 3].
    """
    colors = colors or palette(rng, 4)
    height, width = size
    image = fill(size, colors[0])
    if rng.random() < 0.35:
        image = pattern(rng, size, colors, ["gradient", "stripes", "dots", "camouflage"])
        image = blend(colors[0], image, np.full(size, rng.uniform(0.3, 0.9)))
    if rng.random() < 0.45:
        top = rng.uniform(0.35, 0.6)
        box = (0.08 * width, top * height, 0.92 * width, rng.uniform(0.85, 0.97) * height)
        draw_picture(rng, image, box, colors[1:3])
    elif rng.random() < 0.8:
        radius = int(min(size) * rng.uniform(0.15, 0.3))
        draw_logo(rng, image, (width / 2, height * rng.uniform(0.55, 0.75)), radius, colors[1:3])
    y = rng.uniform(0.06, 0.25) * height
    band = rng.uniform(0.14, 0.26) * height
    if rng.random() < 0.5:
        cv2.rectangle(image, (0, int(y)), (width, int(y + band)), colors[1], -1)
        ink = colors[2]
    else:
        ink = colors[1]
    area = (0.06 * width, y + 0.1 * band, 0.94 * width, y + 0.9 * band)
    write_text(rng, image, name or brand(rng), area, ink)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0.05, 0.5) * width, rng.uniform(0.35, 0.92) * height
        word = str(rng.choice(_WORDS))
        write_text(rng, image, word, (x, y, x + 0.42 * width, y + 0.07 * height), colors[-1])
    return image


def back_side(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """Composes a side of a package with small print, a table of contents and a barcode."""
    height, width = size
    image = fill(size, colors[0])
    ink = (30, 30, 30) if sum(colors[0]) > 380 else (230, 230, 230)
    split = rng.uniform(0.4, 0.7) * height
    draw_small_print(rng, image, (0.1 * width, 0.08 * height, 0.9 * width, split), ink)
    if rng.random() < 0.6:
        corner = (0.5 * width, split + 0.05 * height, 0.92 * width, split + 0.25 * height)
        draw_barcode(rng, image, corner)
    if rng.random() < 0.5:
        left = (0.1 * width, split + 0.05 * height, 0.42 * width, 0.92 * height)
        cv2.rectangle(image, (int(left[0]), int(left[1])), (int(left[2]), int(left[3])), ink, 1)
        draw_small_print(rng, image, left, ink)
    return image


def carton_atlas(rng: Generator, dimensions, cell: int = 256) -> np.ndarray:
    """Draws the six sides of a carton as a 3 x 2 atlas (front, right, back / left, top, bottom).

    Args:
        rng: Generator to draw from.
        dimensions: (x, y, z) lengths of the box in meters; they set the aspect of the sides.
        cell: Pixels of one side of a cell.

    Returns:
        uint8 [2 * cell, 3 * cell, 3].
    """
    x, y, z = dimensions
    colors, name = palette(rng, 4), brand(rng)
    style = rng.random()
    sides = np.array([x * z, y * z, x * z, y * z, x * y, x * y])
    fronts = np.flatnonzero(sides > 0.99 * sides.max())
    cells = []
    for side, aspect in enumerate((x / z, y / z, x / z, y / z, x / y, x / y)):
        width = int(np.clip(cell * np.sqrt(aspect), 48, 4 * cell))
        size = (int(np.clip(width / aspect, 48, 4 * cell)), width)
        if style < 0.12:
            face = pattern(rng, size, colors, ["wood"])
        elif style < 0.30:
            face = fill(size, colors[0])
        elif style < 0.42:
            face = pattern(rng, size, colors)
        elif side in fronts or (side != 5 and rng.random() < 0.35):
            face = label(rng, size, colors, name)
        elif side == 5:
            face = fill(size, colors[0])
        else:
            face = back_side(rng, size, colors)
        cells.append(cv2.resize(face, (cell, cell), interpolation=cv2.INTER_AREA))
    return wear(rng, np.vstack([np.hstack(cells[:3]), np.hstack(cells[3:])]))


def wrapped_label(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Draws the texture of a bottle, can or mug: ground color with a printed band round it.

    Args:
        rng: Generator to draw from.
        size: (H, W) in pixels; the width goes once round.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = size
    colors = palette(rng, 4)
    image = fill(size, colors[0])
    if rng.random() < 0.3:
        image = pattern(rng, size, colors)
    top, bottom = int(rng.uniform(0.15, 0.4) * height), int(rng.uniform(0.6, 0.9) * height)
    ground = colors[1:] + colors[:1] if rng.random() < 0.7 else colors
    turns = int(rng.integers(1, 3))
    front = (bottom - top, width // (2 * turns))
    for turn in range(turns):
        x = turn * 2 * front[1]
        image[top:bottom, x : x + front[1]] = label(rng, front, ground)
        image[top:bottom, x + front[1] : x + 2 * front[1]] = back_side(rng, front, ground)
    if rng.random() < 0.4:
        for row in (top, bottom):
            cv2.line(image, (0, row), (width, row), colors[-1], max(1, height // 100))
    return wear(rng, image)
