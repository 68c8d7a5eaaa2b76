"""Textures of what surrounds the product: table tops, floors, and furnished walls."""

from __future__ import annotations

import cv2
import numpy as np

from product_renderer.prints import draw_picture, draw_small_print
from product_renderer.textures import (
    Generator,
    blend,
    checks,
    color_in_family,
    fabric,
    fill,
    noise,
    palette,
    pattern,
    speckle,
    wear,
    wood,
)


def planks(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Boards side by side, each with its own grain, separated by dark joints."""
    rows = int(rng.integers(4, 10))
    tall = size[0] // rows
    tone, hue = rng.uniform(0.3, 0.95), rng.uniform(0.05, 0.1)
    light = np.array([1.0, 0.82 - 0.8 * (hue - 0.05), rng.uniform(0.5, 0.75)]) * 240 * tone
    grain = wood(rng, size, [light, light * rng.uniform(0.6, 0.85)]).astype(np.float32)
    image = np.empty_like(grain)
    for row in range(rows + 1):
        y0, y1 = row * tall, min((row + 1) * tall, size[0])
        if y0 >= y1:
            break
        board = np.roll(grain[y0:y1], int(rng.integers(size[1])), axis=1)
        image[y0:y1] = board * rng.uniform(0.85, 1.08)
        image[y0 : y0 + 2] *= 0.5
        x = int(rng.integers(size[1] - 2))
        image[y0:y1, x : x + 2] *= 0.55
    return np.clip(image, 0, 255).astype(np.uint8)


def marble(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Polished stone: cloudy ground with thin wandering veins."""
    ground = color_in_family(rng, rng.choice(["white", "gray", "dark"]), rng.uniform())
    image = blend(ground, np.asarray(ground) * 0.85, noise(rng, size, size[1] / 3, 4))
    vein = np.full(3, 90.0) if sum(ground) > 300 else np.full(3, 210.0)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32) / size[1]
    for _ in range(int(rng.integers(2, 5))):
        turn, pitch = rng.uniform(0, np.pi), rng.uniform(1.0, 3.0)
        bent = x * np.cos(turn) + y * np.sin(turn) + 0.35 * noise(rng, size, size[1] / 3, 5)
        line = np.exp(-(((bent * pitch % 1 - 0.5) / rng.uniform(0.01, 0.05)) ** 2))
        fading = np.clip(noise(rng, size, size[1] / 4, 2) * 2 - 0.7, 0, 1)
        image = blend(image, vein, line * fading * rng.uniform(0.2, 0.7))
    return image


def tiles(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Square tiles with grout, each of slightly different brightness."""
    count = int(rng.integers(3, 8))
    pitch = size[1] // count
    base = marble(rng, size) if rng.random() < 0.4 else speckle(rng, size, palette(rng, 4))
    image = base.astype(np.float32)
    for y in range(0, size[0], pitch):
        for x in range(0, size[1], pitch):
            image[y : y + pitch, x : x + pitch] *= rng.uniform(0.9, 1.05)
    grout, width = rng.uniform(90, 220), max(2, pitch // 40)
    for start in range(0, max(size), pitch):
        image[start : start + width] = grout
        image[:, start : start + width] = grout
    return np.clip(image, 0, 255).astype(np.uint8)


def carpet(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A soft pile: strong fine noise on one color or on a large motif."""
    colors = [color_in_family(rng, rng.choice(["muted", "gray", "dark", "pastel"]), rng.uniform())]
    image = fill(size, colors[0]).astype(np.float32)
    if rng.random() < 0.35:
        image = pattern(rng, size, palette(rng, 3), ["stripes", "checks", "zigzag"]).astype("f4")
    pile = cv2.GaussianBlur(rng.standard_normal(size, dtype=np.float32), (0, 0), 1.2)
    image *= (1 + 0.35 * pile + 0.3 * (noise(rng, size, size[1] / 5, 3) - 0.5))[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def painted(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A plain lacquered or laminated board, half the time white or gray."""
    family = rng.choice(
        ["white", "gray", "vivid", "pastel", "muted", "dark"], p=[0.3, 0.15, 0.1, 0.15, 0.2, 0.1]
    )
    color = color_in_family(rng, family, rng.uniform())
    image = blend(color, np.asarray(color) * 0.92, noise(rng, size, size[1] / 4, 4))
    for _ in range(int(rng.integers(0, 25))):
        start = rng.integers(0, size[1], 2)
        end = start + rng.integers(-80, 80, 2)
        scratch = [float(c) * 0.9 for c in color]
        cv2.line(image, [int(v) for v in start], [int(v) for v in end], scratch, 1, 16)
    return wear(rng, image)


def concrete(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Gray mineral ground with stains and pores."""
    base = np.full(3, rng.uniform(90, 190)) * rng.uniform(0.95, 1.05, 3)
    image = blend(base * 0.8, base * 1.1, noise(rng, size, size[1] / 3, 5))
    for _ in range(200):
        spot = [int(v) for v in rng.integers(0, size[1], 2)]
        cv2.circle(image, spot, int(rng.integers(1, 3)), (base * 0.6).tolist(), -1, 16)
    return image


def support_texture(rng: Generator, pixels: int = 1024) -> tuple[np.ndarray, float]:
    """Draws the ground the product stands on.

    Args:
        rng: Generator to draw from.
        pixels: Side of the square texture.

    Returns:
        The texture, uint8 [pixels, pixels, 3], and its gloss, 0 (matte) to 1 (polished).
    """
    size = (pixels, pixels)
    kind = rng.choice(
        ["planks", "wood", "cloth", "marble", "tiles", "carpet", "painted", "concrete", "plaid"],
        p=[0.15, 0.16, 0.12, 0.1, 0.08, 0.1, 0.17, 0.06, 0.06],
    )
    if kind == "cloth":
        family = rng.choice(["white", "gray", "muted", "pastel", "dark", "vivid"])
        return wear(rng, fabric(rng, size, [color_in_family(rng, family, rng.uniform())])), 0.0
    if kind == "plaid":
        hue = rng.uniform()
        families = rng.choice(["white", "muted", "pastel", "dark", "gray"], 3)
        colors = [color_in_family(rng, family, hue + rng.normal(0, 0.05)) for family in families]
        return wear(rng, checks(rng, size, colors)), 0.0
    make, gloss = {
        "planks": (planks, rng.uniform(0, 0.6)),
        "wood": (wood, rng.uniform(0, 0.8)),
        "marble": (marble, rng.uniform(0.4, 1)),
        "tiles": (tiles, rng.uniform(0.3, 0.9)),
        "carpet": (carpet, 0.0),
        "painted": (painted, rng.uniform(0, 1)),
        "concrete": (concrete, rng.uniform(0, 0.2)),
    }[kind]
    return make(rng, size), float(gloss)


def _draw_shelf(rng: Generator, image: np.ndarray, box) -> None:
    """Draws an open shelf with books and objects, in place."""
    x0, y0, x1, y1 = box
    side = color_in_family(rng, rng.choice(["white", "muted", "dark"]), 0.08)
    cv2.rectangle(image, (x0, y0), (x1, y1), [int(0.55 * c) for c in side], -1)
    rows = int(rng.integers(2, 5))
    for row in range(rows):
        top, bottom = y0 + (y1 - y0) * row // rows, y0 + (y1 - y0) * (row + 1) // rows
        x = x0 + 4
        while x < x1 - 8:
            wide = int(rng.integers(4, 14))
            tall = int((bottom - top) * rng.uniform(0.5, 0.85))
            if rng.random() < 0.75:
                family = rng.choice(["vivid", "muted", "dark", "white"])
                color = color_in_family(rng, family, rng.uniform())
                cv2.rectangle(image, (x, bottom - tall), (min(x + wide, x1 - 4), bottom), color, -1)
            x += wide + 1
        cv2.rectangle(image, (x0, bottom - 4), (x1, bottom), side, -1)
    cv2.rectangle(image, (x0, y0), (x1, y1), side, 5)


def _draw_window(rng: Generator, image: np.ndarray, box) -> None:
    """Draws a bright window with a hazy view and, often, curtains, in place."""
    x0, y0, x1, y1 = box
    size = (y1 - y0, x1 - x0)
    sky = blend((250, 252, 255), (200, 222, 250), noise(rng, size, size[1], 2))
    trees = noise(rng, size, size[1] / 4, 4) + np.linspace(-0.6, 0.5, size[0])[:, None]
    image[y0:y1, x0:x1] = blend(sky, (120, 150, 110), np.clip(trees * 3 - 1.2, 0, 0.8))
    frame = (235, 235, 232)
    cv2.rectangle(image, (x0, y0), (x1, y1), frame, 8)
    cv2.line(image, ((x0 + x1) // 2, y0), ((x0 + x1) // 2, y1), frame, 6)
    if rng.random() < 0.6:
        color = np.asarray(
            color_in_family(rng, rng.choice(["muted", "pastel", "white"]), rng.uniform())
        )
        wide = int((x1 - x0) * rng.uniform(0.15, 0.35))
        folds = 0.8 + 0.2 * np.sin(np.arange(wide) * rng.uniform(0.3, 0.6))
        cloth = np.clip(color * folds[:, None], 0, 255).astype(np.uint8)
        low = min(image.shape[0], y1 + 30)
        image[max(0, y0 - 10) : low, x0 : x0 + wide] = cloth
        image[max(0, y0 - 10) : low, x1 - wide : x1] = cloth


def _draw_furniture(rng: Generator, image: np.ndarray) -> None:
    """Draws one object on or at a wall, in place."""
    height, width = image.shape[:2]
    kind = rng.choice(["shelf", "window", "frame", "door", "cabinet", "sofa", "plant"])
    wide = int(width * rng.uniform(0.08, 0.28))
    x0 = int(rng.integers(8, width - wide - 8))
    x1 = x0 + wide
    base = color_in_family(rng, rng.choice(["white", "muted", "dark", "pastel"]), rng.uniform())
    dark = [int(0.7 * c) for c in base]
    if kind == "shelf":
        _draw_shelf(rng, image, (x0, int(height * rng.uniform(0.1, 0.4)), x1, height - 10))
    elif kind == "window":
        _draw_window(rng, image, (x0, int(height * 0.15), x1, int(height * rng.uniform(0.5, 0.65))))
    elif kind == "frame":
        y0 = int(height * rng.uniform(0.15, 0.35))
        y1 = y0 + int(height * rng.uniform(0.12, 0.3))
        draw_picture(rng, image, (x0, y0, x1, y1), palette(rng, 2))
        cv2.rectangle(image, (x0, y0), (x1, y1), base, 6)
    elif kind == "door":
        cv2.rectangle(image, (x0, int(height * 0.2)), (x1, height), base, -1)
        cv2.rectangle(image, (x0, int(height * 0.2)), (x1, height), dark, 5)
        cv2.circle(image, (x0 + 12, int(height * 0.62)), 5, (190, 190, 180), -1, 16)
    elif kind == "cabinet":
        top = int(height * rng.uniform(0.5, 0.75))
        cv2.rectangle(image, (x0, top), (x1, height), base, -1)
        for part in range(1, 4):
            x = x0 + (x1 - x0) * part // 3
            cv2.line(image, (x, top), (x, height), dark, 3)
            cv2.circle(image, (x - 8, (top + height) // 2), 3, (60, 60, 60), -1, 16)
        draw_small_print(rng, image, (x0, top - 12, x1, top), dark)
    elif kind == "sofa":
        top = int(height * 0.66)
        cv2.rectangle(image, (x0, top), (x1, height), base, -1)
        cv2.rectangle(image, (x0, int(height * 0.8)), (x1, height), dark, -1)
        cv2.line(image, ((x0 + x1) // 2, top), ((x0 + x1) // 2, height), dark, 3)
    else:
        cv2.rectangle(
            image, (x0 + wide // 3, int(height * 0.85)), (x1 - wide // 3, height), base, -1
        )
        middle, crown = (x0 + x1) / 2, height * rng.uniform(0.6, 0.75)
        for _ in range(120):
            spot = (int(rng.normal(middle, wide / 6)), int(rng.normal(crown, height * 0.06)))
            green = np.array([50, 100, 45]) * rng.uniform(0.3, 1.3)
            leaf = [int(c) for c in green * (1 - 0.5 * (spot[1] > crown))]
            axes = (int(rng.integers(5, 12)), int(rng.integers(2, 5)))
            cv2.ellipse(image, spot, axes, rng.uniform(0, 180), 0, 360, leaf, -1, 16)


def wall_texture(rng: Generator, size: tuple[int, int] = (384, 768), color=None) -> np.ndarray:
    """Draws a wall of a room with skirting board and furniture.

    Args:
        rng: Generator to draw from.
        size: (H, W) in pixels.
        color: sRGB triple of the paint; drawn when absent.

    Returns:
        uint8 [H, W, 3], row 0 at the ceiling.
    """
    color = color or color_in_family(rng, rng.choice(["white", "pastel", "muted"]), rng.uniform())
    image = blend(color, np.asarray(color) * 0.85, noise(rng, size, size[1] / 2, 3))
    if rng.random() < 0.12:
        image = blend(image, pattern(rng, size), np.full(size, 0.3))
    for _ in range(int(rng.integers(2, 7))):
        _draw_furniture(rng, image)
    return wear(rng, image)
