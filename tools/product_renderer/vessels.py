"""Models of solids of revolution: bottles, cans, vases, mugs, bowls."""

from __future__ import annotations

import numpy as np

from product_renderer import meshes
from product_renderer.meshes import Mesh
from product_renderer.models import Part, solid
from product_renderer.prints import wrapped_label
from product_renderer.textures import Generator, color_in_family, pattern


def _smooth(profile, count: int = 30) -> np.ndarray:
    """Interpolates a profile [P, 2] to `count` points with a monotone-free cubic of its length."""
    profile = np.asarray(profile, np.float64)
    steps = np.linalg.norm(np.diff(profile, axis=0), axis=1)
    length = np.concatenate([[0], np.cumsum(np.maximum(steps, 1e-6))])
    place = np.linspace(0, length[-1], count)
    slope = np.gradient(profile, length, axis=0)
    index = np.clip(np.searchsorted(length, place, "right") - 1, 0, len(length) - 2)
    span = (length[index + 1] - length[index])[:, None]
    t = (place - length[index])[:, None] / span
    # Cubic Hermite basis.
    return (
        (2 * t**3 - 3 * t**2 + 1) * profile[index]
        + (t**3 - 2 * t**2 + t) * span * slope[index]
        + (3 * t**2 - 2 * t**3) * profile[index + 1]
        + (t**3 - t**2) * span * slope[index + 1]
    )


def _vessel(outside: np.ndarray, wall: float, floor: float) -> np.ndarray:
    """Adds base, rim and inside to the outer profile [P, 2] of an open vessel."""
    top = outside[-1]
    inside = outside[::-1] - (wall, 0)
    inside = inside[inside[:, 1] > floor]
    inside[:, 0] = np.maximum(inside[:, 0], 0.01)
    rim = [top + (-0.15 * wall, 0.35 * wall), top + (-0.85 * wall, 0.35 * wall)]
    base = [[0, 0.01], [outside[0, 0] * 0.9, 0.0]]
    return np.concatenate([base, outside, rim, inside, [[0, floor]]])


def _surface(rng: Generator, printed: float = 0.4) -> np.ndarray:
    """Draws the texture of a solid of revolution: a printed band or a pattern, at random."""
    size = (320, 640)
    return wrapped_label(rng, size) if rng.random() < printed else pattern(rng, size)


def bottle(rng: Generator) -> list[Part]:
    """A bottle or jar with a cap."""
    radius, neck = rng.uniform(0.16, 0.32), rng.uniform(0.06, 0.12)
    shoulder = rng.uniform(0.55, 0.75)
    waist = radius * rng.uniform(0.85, 1.05)
    body = [[radius * 0.93, 0], [radius, 0.03], [waist, 0.4 * shoulder], [radius, shoulder * 0.9]]
    body += [[radius * 0.9, shoulder], [neck * 1.2, shoulder + 0.14], [neck, 0.86], [neck, 0.9]]
    profile = np.concatenate([[[0, 0]], _smooth(body, 34), [[0, 0.9]]])
    cap_color = color_in_family(rng, rng.choice(["vivid", "dark", "white"]), rng.uniform())
    cap = meshes.cylinder(neck * rng.uniform(1.05, 1.5), rng.uniform(0.08, 0.16), 0.015, 28)
    parts = [
        Part(meshes.lathe(profile), _surface(rng, 0.8), rng.uniform(0.3, 0.95)),
        Part(cap.moved((0, 0, 0.86)), solid(rng, cap_color), 0.4, bool(rng.random() < 0.3)),
    ]
    if rng.random() < 0.2:
        path = np.array(
            [[0, 0, 0.95], [0, 0, 1.1], [0.03, 0, 1.13], [0.14, 0, 1.12], [0.2, 0, 1.08]]
        )
        parts.append(Part(meshes.tube(path, 0.025), solid(rng, cap_color), 0.5))
    return parts


def can(rng: Generator) -> list[Part]:
    """A tin, drink can or jar: a straight cylinder with a lid."""
    radius, height = rng.uniform(0.25, 0.5), rng.uniform(0.6, 1.1)
    body = meshes.lathe(
        [[0, 0], [radius * 0.9, 0], [radius, 0.04], [radius, 0.05]]
        + [[radius, z] for z in np.linspace(0.1, height - 0.06, 8)]
        + [[radius, height - 0.05], [radius * 0.92, height], [radius * 0.9, height - 0.02]]
        + [[0, height - 0.02]]
    )
    lid = meshes.cylinder(radius * rng.uniform(0.9, 1.04), rng.uniform(0.03, 0.12), 0.012)
    metal = bool(rng.random() < 0.6)
    gray = color_in_family(rng, "gray", 0) if metal else None
    return [
        Part(body, _surface(rng, 0.85), rng.uniform(0.3, 0.8)),
        Part(lid.moved((0, 0, height - 0.03)), solid(rng, gray), 0.7, metal),
    ]


def vase(rng: Generator) -> list[Part]:
    """A vase or pot of free outline, sometimes with a plant in it."""
    count = int(rng.integers(3, 6))
    heights = np.linspace(0, 1, count) * rng.uniform(0.7, 1.2)
    radii = rng.uniform(0.16, 0.42) * rng.uniform(0.55, 1.3, count)
    radii[0] = max(radii[0], 0.16)
    outside = _smooth(np.stack([radii, heights], 1), 24)
    outside[:, 0] = np.maximum(outside[:, 0], 0.06)
    profile = _vessel(outside, 0.03, 0.1)
    parts = [Part(meshes.lathe(profile, 44), _surface(rng, 0.1), rng.uniform(0.0, 0.9))]
    if rng.random() < 0.3:
        parts += _plant(rng, heights[-1], outside[-1, 0])
    return parts


def _plant(rng: Generator, height: float, width: float) -> list[Part]:
    """Leaves that grow out of a pot of a given height and opening radius."""
    leaves = []
    for _ in range(int(rng.integers(7, 16))):
        leaf = meshes.ellipsoid((0.05, 0.012, rng.uniform(0.12, 0.26)), 12)
        tilt, turn = rng.uniform(0.1, 1.0), rng.uniform(0, 2 * np.pi)
        leaf = leaf.moved((0, 0, 0.2)).turned("y", tilt).turned("z", turn)
        leaves.append(leaf.moved((*(rng.uniform(-0.4, 0.4, 2) * width), height - 0.05)))
    green = [int(c) for c in np.array([60, 120, 50]) * rng.uniform(0.5, 1.3, 3)]
    return [Part(meshes.join(leaves), pattern(rng, (64, 64), [green, green], ["plain"]), 0.3)]


def _handle(radius: float, low: float, high: float, reach: float, thickness: float) -> Mesh:
    """Makes an ear-shaped handle at x = radius between two heights."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 14)
    middle, half = (low + high) / 2, (high - low) / 2
    path = np.stack([radius + reach * np.cos(angle), 0 * angle, middle + half * np.sin(angle)], 1)
    path = np.concatenate([[[radius - 0.03, 0, low]], path, [[radius - 0.03, 0, high]]])
    return meshes.tube(path, thickness)


def mug(rng: Generator) -> list[Part]:
    """A cup or mug with a handle and, often, something in it."""
    radius, height = rng.uniform(0.36, 0.46), rng.uniform(0.75, 1.05)
    foot = radius * rng.uniform(0.6, 1.0)
    line = [
        [foot * 0.95, 0],
        [foot, 0.03],
        [(foot + radius) / 2 + 0.03, height / 2],
        [radius, height],
    ]
    outside = _smooth(line, 16)
    body = meshes.lathe(_vessel(outside, 0.035, 0.06), 44)
    texture = _surface(rng, 0.35)
    inner = int(0.55 * texture.shape[0])
    if rng.random() < 0.6:
        # The inside of a cup is glazed in one color; it is the upper part of the texture.
        texture[:inner] = np.asarray(color_in_family(rng, "white", 0.1), np.uint8)
    grip = _handle(radius * 0.93, 0.25 * height, 0.78 * height, 0.24, 0.045)
    parts = [Part(body, texture, 0.6), Part(grip, texture[-80:-40], 0.6)]
    if rng.random() < 0.5:
        drink = meshes.cylinder(radius - 0.05, 0.02, 0.005).moved((0, 0, height * 0.82))
        color = (52, 30, 18) if rng.random() < 0.6 else (150, 95, 40)
        parts.append(Part(drink, solid(rng, color), 0.8))
    return parts


def bowl(rng: Generator) -> list[Part]:
    """A bowl, deep plate or basket, sometimes with fruit."""
    height = rng.uniform(0.25, 0.5)
    line = [[0.2, 0], [0.22, 0.03], [0.4, height * 0.5], [0.5, height]]
    parts = [
        Part(meshes.lathe(_vessel(_smooth(line, 14), 0.03, 0.05), 44), _surface(rng, 0.05), 0.5)
    ]
    if rng.random() < 0.5:
        for _ in range(int(rng.integers(3, 7))):
            radius, turn = rng.uniform(0.1, 0.15), rng.uniform(0, 2 * np.pi)
            away = rng.uniform(0.05, 0.18)
            lift = max(radius + 0.07, 0.5 * height) + rng.uniform(0, 0.12)
            place = (away * np.cos(turn), away * np.sin(turn), lift)
            fruit = meshes.ellipsoid((radius, radius, radius * 0.92), 20).moved(place)
            color = color_in_family(rng, "vivid", rng.uniform(-0.05, 0.3))
            parts.append(Part(fruit, solid(rng, color), 0.4))
    return parts
