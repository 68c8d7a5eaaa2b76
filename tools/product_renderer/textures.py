"""Procedural textures: color palettes, noise, and the patterns that products are covered with.

All textures are uint8 [H, W, 3] sRGB in RGB order. Every function draws from the generator it is
given and from nothing else.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Generator = np.random.Generator
# (saturation, value) ranges, in 0..1, of the color families products are made in.
_FAMILIES = {
    "vivid": ((0.55, 0.88), (0.50, 0.86)),
    "pastel": ((0.10, 0.30), (0.72, 0.88)),
    "muted": ((0.15, 0.45), (0.35, 0.72)),
    "dark": ((0.10, 0.55), (0.10, 0.28)),
    "white": ((0.00, 0.06), (0.80, 0.92)),
    "gray": ((0.00, 0.08), (0.25, 0.70)),
}


def color_in_family(rng: Generator, family: str, hue: float) -> tuple[int, int, int]:
    """Draws one color of a family near a hue.

    Args:
        rng: Generator to draw from.
        family: Key of the color families: vivid, pastel, muted, dark, white, gray.
        hue: Hue in turns, any real number.

    Returns:
        The color as three sRGB values 0..255.
    """
    saturation, value = (rng.uniform(*limits) for limits in _FAMILIES[family])
    hue = hue % 1
    if 0.22 < hue < 0.45 or 0.72 < hue < 0.92:
        saturation *= 0.7  # Dyes reach less in green and violet than a screen does.
    pixel = np.array([[[hue * 360, saturation, value]]], np.float32)
    rgb = cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0] * 255
    return tuple(int(channel) for channel in rgb)


def palette(rng: Generator, count: int) -> list[tuple[int, int, int]]:
    """Draws colors that go together: one base hue, its neighbors or opposites, and a neutral.

    Args:
        rng: Generator to draw from.
        count: How many colors.

    Returns:
        Colors as sRGB triples 0..255, the first the main color.
    """
    main = rng.choice(
        ["vivid", "pastel", "muted", "dark", "white", "gray"], p=[0.36, 0.13, 0.2, 0.1, 0.15, 0.06]
    )
    # Red to yellow and blue are what most goods are colored with.
    hue = rng.choice([0.0, 0.06, 0.12, 0.3, 0.48, 0.58, 0.64, 0.8, 0.95]) + rng.normal(0, 0.03)
    colors = [color_in_family(rng, main, hue)]
    step = rng.choice([0.08, 0.33, 0.5])
    for index in range(1, count):
        others = [family for family in _FAMILIES if family != main]
        colors.append(color_in_family(rng, rng.choice(others), hue + step * index))
    return colors


def noise(rng: Generator, size: tuple[int, int], cell: float, octaves: int = 3) -> np.ndarray:
    """Makes smooth value noise that wraps round horizontally.

    Args:
        rng: Generator to draw from.
        size: (H, W) in pixels.
        cell: Size of the coarsest bumps in pixels.
        octaves: Number of layers, each of half the cell and half the strength.

    Returns:
        float32 [H, W], range 0..1.
    """
    if cell / 2 ** (octaves - 1) >= 8 and min(size) >= 16:
        # Smooth noise is as good from a quarter of the size, at a tenth of the time.
        small = noise(rng, (-(-size[0] // 4), -(-size[1] // 4)), cell / 4, octaves)
        return cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)
    height, width = size
    total = np.zeros(size, np.float32)
    for octave in range(octaves):
        step = max(1.0, cell / 2**octave)
        rows, columns = int(np.ceil(height / step)) + 3, int(np.ceil(width / step)) + 1
        grid = rng.random((rows, columns), dtype=np.float32)
        padded = np.concatenate([grid[:, -2:], grid, grid[:, :2]], axis=1)
        margin = int(round(width * 2 / columns))
        wide, tall = width + 2 * margin, int(np.ceil(rows * step))
        layer = cv2.resize(padded, (wide, tall), interpolation=cv2.INTER_CUBIC)
        top = int(step)
        total += layer[top : top + height, margin : margin + width] * np.float32(0.5**octave)
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def blend(first, second, weight: np.ndarray) -> np.ndarray:
    """Mixes two colors or images by a weight image.

    Args:
        first: Color triple or image [H, W, 3], shown where the weight is 0.
        second: Color triple or image [H, W, 3], shown where the weight is 1.
        weight: float [H, W], range 0..1.

    Returns:
        uint8 [H, W, 3].
    """
    weight = weight.astype(np.float32, copy=False)
    first, second = np.asarray(first, np.float32), np.asarray(second, np.float32)
    # One channel at a time: arrays with a last axis of three entries are slow in numpy.
    channels = [
        first[..., c] + (second[..., c] - first[..., c]) * weight for c in range(first.shape[-1])
    ]
    return np.clip(cv2.merge(channels), 0, 255).astype(np.uint8)


def fill(size: tuple[int, int], color) -> np.ndarray:
    """Returns an image uint8 [H, W, 3] of one color."""
    return np.full((*size, 3), color, np.uint8)


def wood(rng: Generator, size: tuple[int, int], colors=None) -> np.ndarray:
    """Wood grain along the horizontal axis."""
    if colors is None:
        hue, dark = rng.uniform(0.05, 0.10), rng.uniform(0.25, 0.8)
        light = np.array([1.0, 0.80 - 0.9 * (hue - 0.05), 0.58]) * 255 * dark
        colors = [light, light * rng.uniform(0.55, 0.8)]
    height, width = size
    warp = noise(rng, size, max(height, width) / 3, 2)
    rows = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    rings = np.sin((rows * rng.uniform(6, 18) + warp * rng.uniform(1, 3)) * 2 * np.pi)
    fibers = cv2.GaussianBlur(rng.random(size, dtype=np.float32), (0, 0), 9, sigmaY=0.6)
    fibers = (fibers - fibers.mean()) / (fibers.std() + 1e-6)
    return blend(colors[0], colors[1], np.clip(0.45 + 0.14 * rings + 0.16 * fibers, 0, 1))


def fabric(rng: Generator, size: tuple[int, int], colors=None) -> np.ndarray:
    """A woven cloth: two sets of threads with uneven brightness."""
    colors = colors or palette(rng, 2)
    period = rng.uniform(3, 7)
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    weave = np.sin(x * 2 * np.pi / period) * np.sin(y * 2 * np.pi / period)
    grain = noise(rng, size, 6, 2) - 0.5
    folds = noise(rng, size, max(size) / 3, 2) - 0.5
    shade = 1 + 0.06 * weave + 0.25 * grain + 0.15 * folds
    return np.clip(np.asarray(colors[0], np.float32) * shade[..., None], 0, 255).astype(np.uint8)


def stripes(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """Straight stripes of several colors, vertical, horizontal or slanted."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    count = int(rng.integers(3, 14))
    slant = int(rng.choice([0, 0, 1, -1, 2]))
    phase = x / size[1] * count + y / size[0] * slant * count
    if rng.random() < 0.4:
        phase = y / size[0] * count
    weights = rng.uniform(0.2, 1, len(colors))
    edges = np.cumsum(weights) / weights.sum()
    return np.asarray(colors, np.uint8)[np.searchsorted(edges, phase % 1).clip(0, len(colors) - 1)]


def checks(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """A chess board or, half the time, a tartan of crossing translucent bands."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    count = int(rng.integers(3, 12))
    across, down = x / size[1] * count % 1, y / size[0] * count * size[0] / size[1] % 1
    duty = rng.uniform(0.3, 0.6)
    if rng.random() < 0.5:
        return blend(colors[0], colors[1], ((across < 0.5) ^ (down < 0.5)).astype(np.float32))
    image = blend(colors[0], colors[1], (across < duty) * 0.5 + (down < duty) * 0.5)
    thin = (np.abs(across - 0.8) < 0.04) | (np.abs(down - 0.8) < 0.04)
    return blend(image, colors[-1], thin * 0.8)


def dots(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """Polka dots on a staggered grid or scattered blobs of several sizes."""
    image = fill(size, colors[0])
    if rng.random() < 0.5:
        pitch = max(6, int(size[1] / rng.integers(5, 16)))
        radius = max(1, int(pitch * rng.uniform(0.15, 0.4)))
        for row, y in enumerate(range(pitch // 2, size[0], pitch)):
            for x in range(pitch // 2 + (row % 2) * pitch // 2, size[1], pitch):
                cv2.circle(image, (x, y), radius, colors[1 + row % (len(colors) - 1)], -1, 16)
        return image
    for _ in range(int(rng.integers(30, 160))):
        center = (int(rng.integers(size[1])), int(rng.integers(size[0])))
        axes = rng.integers(2, max(3, size[1] // 18), 2)
        color = colors[1 + int(rng.integers(len(colors) - 1))]
        cv2.ellipse(
            image, center, [int(a) for a in axes], rng.uniform(0, 180), 0, 360, color, -1, 16
        )
    return image


def gradient(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """A smooth vertical change of color, or a cloud of two colors."""
    if rng.random() < 0.6:
        rows = np.linspace(0, 1, size[0], dtype=np.float32)[:, None] ** rng.uniform(0.5, 2)
        return blend(colors[0], colors[1], np.broadcast_to(rows, size))
    return blend(colors[0], colors[1], noise(rng, size, size[1] / rng.uniform(2, 6)))


def camouflage(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """Flat patches with wavy borders, as on printed cloth or glaze."""
    image = fill(size, colors[0])
    for color in colors[1:]:
        patch = noise(rng, size, size[1] / rng.uniform(4, 9), 2) > rng.uniform(0.5, 0.65)
        image[patch] = color
    return image


def zigzag(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """Horizontal zigzag or wave bands."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    teeth, bands = int(rng.integers(4, 16)), int(rng.integers(3, 10))
    wave = np.abs(x / size[1] * teeth % 1 - 0.5) * 2
    if rng.random() < 0.4:
        wave = 0.5 + 0.5 * np.cos(x / size[1] * teeth * 2 * np.pi)
    index = (y / size[0] * bands + wave * rng.uniform(0.3, 1)).astype(int) % len(colors)
    return np.asarray(colors, np.uint8)[index]


def speckle(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """Stoneware or terrazzo: a ground with many small chips."""
    image = blend(colors[0], np.asarray(colors[0]) * 0.8, noise(rng, size, size[1] / 4))
    for _ in range(int(rng.integers(100, 500))):
        x, y = int(rng.integers(size[1])), int(rng.integers(size[0]))
        radius = int(rng.integers(1, max(2, size[1] // 100)))
        cv2.circle(image, (x, y), radius, colors[1 + int(rng.integers(len(colors) - 1))], -1, 16)
    return image


def plain(rng: Generator, size: tuple[int, int], colors) -> np.ndarray:
    """One color, as molded plastic or paint."""
    return fill(size, colors[0])


PATTERNS: dict[str, Callable[..., np.ndarray]] = {
    "plain": plain,
    "stripes": stripes,
    "checks": checks,
    "dots": dots,
    "gradient": gradient,
    "camouflage": camouflage,
    "zigzag": zigzag,
    "speckle": speckle,
    "wood": lambda rng, size, colors: wood(rng, size),
    "fabric": fabric,
}
_PATTERN_ODDS = {"plain": 3.0, "stripes": 1.2, "gradient": 1.5, "wood": 0.8, "fabric": 1.2}


def pattern(rng: Generator, size: tuple[int, int], colors=None, names=None) -> np.ndarray:
    """Draws one of the patterns and wears it a little.

    Args:
        rng: Generator to draw from.
        size: (H, W) in pixels.
        colors: sRGB triples to use; drawn by `palette` when absent.
        names: Keys of `PATTERNS` to choose among; all of them when absent.

    Returns:
        uint8 [H, W, 3].
    """
    names = list(names or PATTERNS)
    odds = np.array([_PATTERN_ODDS.get(name, 1.0) for name in names])
    name = names[int(rng.choice(len(names), p=odds / odds.sum()))]
    return wear(rng, PATTERNS[name](rng, size, colors or palette(rng, 4)))


def wear(rng: Generator, image: np.ndarray) -> np.ndarray:
    """Lays uneven brightness and fine grain on a texture, as no real surface is of one color.

    Args:
        rng: Generator to draw from.
        image: uint8 [H, W, 3].

    Returns:
        uint8 [H, W, 3].
    """
    size = image.shape[:2]
    shade = 1 + rng.uniform(0.02, 0.16) * (noise(rng, size, size[1] / 3, 4) - 0.5)
    shade += rng.uniform(0.0, 0.05) * rng.standard_normal(size, dtype=np.float32)
    return np.clip(image * shade[..., None], 0, 255).astype(np.uint8)
