"""Models of products: cartons, balls, shoes, bags, stacks; and what a model is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from product_renderer import meshes
from product_renderer.meshes import Mesh
from product_renderer.prints import carton_atlas, label
from product_renderer.textures import Generator, color_in_family, fill, palette, pattern, wear


@dataclass(frozen=True)
class Part:
    """One mesh with one material.

    Attributes:
        mesh: The surface.
        texture: uint8 [H, W, 3] sRGB.
        gloss: 0 (matte) to 1 (mirror-like): sharpness of highlights.
        metal: Whether reflections take the color of the surface.
    """

    mesh: Mesh
    texture: np.ndarray
    gloss: float = 0.3
    metal: bool = False


def solid(rng: Generator, color=None) -> np.ndarray:
    """Draws a small, nearly plain texture, uint8 [64, 64, 3]."""
    if color is None:
        color = palette(rng, 1)[0]
    return wear(rng, fill((64, 64), color))


def carton(rng: Generator) -> list[Part]:
    """A printed carton, tin box or pouch, upright or lying."""
    size = np.array([rng.uniform(0.45, 1), rng.uniform(0.25, 0.8), 1]) * rng.uniform(0.8, 1.2, 3)
    if rng.random() < 0.3:
        size = size[[0, 2, 1]] * (1.1, 0.8, 1)
    style = rng.random()
    radius = 0.012 if style < 0.6 else rng.uniform(0.04, 0.12)
    mesh = meshes.rounded_box(size, radius, spans=8 if style > 0.85 else 3)
    if style > 0.85:
        # A filled pouch: bulging in the middle, flat at its upper and lower seam.
        x, y, z = mesh.vertices.T
        bulge = 0.25 + 0.75 * np.sin(np.clip(z / size[2], 0, 1) * np.pi) ** 0.6
        wave = 1 + 0.06 * np.sin(9 * x / size[0] + rng.uniform(0, 6)) * np.sin(11 * z / size[2])
        mesh = replace(mesh, vertices=np.stack([x, y * bulge * wave, z], 1))
    parts = [Part(mesh, carton_atlas(rng, size), rng.uniform(0.1, 0.8))]
    if style < 0.12:
        cap = meshes.cylinder(0.13 * min(size[:2]) * 1.6, 0.09, 0.01, 24)
        color = color_in_family(rng, "vivid", rng.uniform())
        parts.append(Part(cap.moved((0, 0, size[2] - 0.005)), solid(rng, color), 0.5))
    return parts


def ball(rng: Generator) -> list[Part]:
    """A ball of any sport or a round ornament."""
    squeeze = rng.choice([1.0, 1.0, 1.0, rng.uniform(0.75, 1.25)])
    mesh = meshes.ellipsoid((0.5, 0.5, 0.5 * squeeze), 48)
    mesh = mesh.turned("x", rng.uniform(0, np.pi)).turned("y", rng.uniform(0, np.pi))
    texture = pattern(rng, (256, 512))
    if rng.random() < 0.4:
        texture[90:166, 130:250] = label(rng, (76, 120))
    return [Part(mesh, texture, rng.uniform(0.1, 0.9))]


def _shoe_texture(rng: Generator, colors) -> np.ndarray:
    """Draws the upper of a shoe: panels, side stripes, laces, and the dark opening at the heel.

    The rows run from the toe (top) to the heel, the columns round the section: top at 1/4.
    """
    height, width = 512, 512
    image = pattern(rng, (height, width), colors, ["plain", "fabric", "gradient", "camouflage"])
    image[: int(height * rng.uniform(0.12, 0.3))] = colors[1]
    image[int(height * rng.uniform(0.8, 0.9)) :] = colors[2]
    rows = np.arange(height)
    for start in np.linspace(0.45, 0.6, int(rng.integers(1, 5))):
        for middle in (0.08, 0.42):
            # Columns 0.02..0.14 and 0.36..0.48 are the two sides above the sole.
            for column in range(int((middle - 0.07) * width), int((middle + 0.07) * width)):
                slant = abs(column / width - 0.25) * 0.8
                row = int((start + slant - 0.1) * height)
                image[row : row + 12, column % width] = colors[3]
    tongue = slice(int(0.20 * width), int(0.30 * width))
    image[int(0.28 * height) : int(0.56 * height), tongue] = colors[1]
    for row in np.linspace(0.3, 0.52, 6):
        at = int(row * height)
        image[at : at + 7, int(0.18 * width) : int(0.32 * width)] = (235, 235, 230)
    inside = np.abs(rows / height - 0.74) / 0.17
    for row in np.flatnonzero(inside < 1):
        reach = 0.085 * np.sqrt(1 - inside[row] ** 2)
        image[row, int((0.25 - reach) * width) : int((0.25 + reach) * width)] = (28, 25, 24)
    return wear(rng, image)


def shoe(rng: Generator) -> list[Part]:
    """A low shoe, sneaker or boot: a lofted upper on a sole."""
    colors = palette(rng, 4)
    x = np.array([0, 0.04, 0.15, 0.3, 0.45, 0.6, 0.75, 0.88, 0.96, 1.0])
    collar = rng.uniform(0.34, 0.42) if rng.random() < 0.75 else rng.uniform(0.5, 0.65)
    tops = [0.8 * collar, collar, 0.97 * collar, 0.93 * collar, 0.33, 0.27, 0.21, 0.19, 0.16, 0.12]
    widths = np.array([0.24, 0.25, 0.26, 0.26, 0.28, 0.33, 0.36, 0.35, 0.33, 0.32])
    # Stations crowd at heel and toe, where the outline turns round.
    fine = (1 - np.cos(np.linspace(0.02, np.pi - 0.02, 34))) / 2
    heel, toe = np.clip(1 - fine / 0.13, 0, 1), np.clip((fine - 0.78) / 0.22, 0, 1)
    wide = np.interp(fine, x, widths) * np.sqrt(1 - heel**2) * np.sqrt(1 - toe**2)
    kernel = np.array([0.25, 0.5, 0.25])
    high = np.convolve(np.pad(np.interp(fine, x, tops), 1, "edge"), kernel, "valid")
    high = 0.06 + (high - 0.06) * (1 - heel**4) * np.sqrt(1 - 0.9 * toe**3)
    drift = 0.03 * np.sin(fine * np.pi * 1.2)
    upper = meshes.loft(fine, wide, 0.05, high, 2.3, drift, 40)
    thick = rng.uniform(0.07, 0.13)
    lift = 0.03 * np.clip(fine - 0.8, 0, 1) / 0.2
    sole = meshes.loft(fine * 1.04 - 0.02, wide * 1.08, lift, thick + 0.04 * (1 - fine), 6, drift)
    sole_color = color_in_family(rng, rng.choice(["white", "dark", "vivid"]), rng.uniform())
    return [
        Part(upper, _shoe_texture(rng, colors), rng.uniform(0, 0.5)),
        Part(sole, solid(rng, sole_color), 0.1),
    ]


def handbag(rng: Generator) -> list[Part]:
    """A bag of leather or cloth with one or two handles."""
    size = (rng.uniform(0.8, 1.2), rng.uniform(0.25, 0.5), rng.uniform(0.55, 0.9))
    body = meshes.rounded_box(size, rng.uniform(0.05, 0.11), spans=6)
    taper = 1 - rng.uniform(0.1, 0.5) * body.vertices[:, 2:] / size[2]
    body = replace(
        body, vertices=body.vertices * np.concatenate([taper * 0 + 1, taper, taper * 0 + 1], 1)
    )
    colors = palette(rng, 4)
    texture = pattern(rng, (512, 768), colors, ["plain", "fabric", "checks", "stripes", "dots"])
    parts = [Part(body, texture, rng.uniform(0.0, 0.6))]
    angle = np.linspace(0, np.pi, 18)
    reach, rise = size[0] * rng.uniform(0.2, 0.35), rng.uniform(0.2, 0.45)
    for side in (-0.1, 0.1)[: int(rng.integers(1, 3))]:
        y = side * size[1] + 0 * angle
        path = np.stack([reach * np.cos(angle), y, size[2] - 0.02 + rise * np.sin(angle)], 1)
        parts.append(Part(meshes.tube(path, 0.022), solid(rng, colors[1]), 0.3))
    clasp = meshes.rounded_box((0.12, 0.02, 0.08), 0.008)
    place = (0, -size[1] * 0.42, size[2] * 0.6)
    return [*parts, Part(clasp.moved(place), solid(rng, (190, 160, 90)), 0.8, True)]


def stack(rng: Generator) -> list[Part]:
    """A pile of books or boxes, or a tower of blocks."""
    books = rng.random() < 0.6
    parts, height = [], 0.0
    base = np.array([rng.uniform(0.7, 1.0), rng.uniform(0.5, 0.8)]) if books else np.full(2, 0.4)
    for level in range(int(rng.integers(2, 6))):
        thick = rng.uniform(0.08, 0.22) if books else rng.uniform(0.25, 0.4)
        size = (*(base * rng.uniform(0.8, 1.05) * (0.95**level)), thick)
        mesh = meshes.rounded_box(size, 0.01 if books else 0.03)
        turn = rng.normal(0, 0.12 if books else 0.3)
        place = (*rng.normal(0, 0.02, 2), height)
        atlas = carton_atlas(rng, size, 128)
        parts.append(Part(mesh.turned("z", turn).moved(place), atlas, rng.uniform(0, 0.5)))
        height += thick
    if not books and rng.random() < 0.5:
        top = [Part(p.mesh.scaled(0.4).moved((0, 0, height + 0.2)), p.texture) for p in ball(rng)]
        parts += top
    return parts


def normalized(parts: list[Part], length: float, turn: float) -> list[Part]:
    """Turns a model about z, scales its longest side and stands it on the origin.

    Args:
        parts: The model.
        length: Wanted longest side of its bounding box, meters.
        turn: Angle about z in radians.

    Returns:
        The model with its bounding box centered on the z axis and its lowest point at z = 0.
    """
    turned = [replace(part, mesh=part.mesh.turned("z", turn)) for part in parts]
    points = np.concatenate([part.mesh.vertices for part in turned])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = length / float((high - low).max())
    offset = -np.array([*(low + high)[:2] / 2, low[2]]) * scale
    return [replace(part, mesh=part.mesh.scaled(scale).moved(offset)) for part in turned]
