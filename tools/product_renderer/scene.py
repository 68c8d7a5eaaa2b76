"""Scenes: a product on a support in a room, objects around it, lights, and the camera path."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from product_renderer.camera import Orbit, fit_distance
from product_renderer.camera_path import KeyframePath
from product_renderer.catalog import KINDS
from product_renderer.lighting import BakedLight, Lights, bake
from product_renderer.models import Part, normalized
from product_renderer.raster import rasterize_view
from product_renderer.sampling import pyramid
from product_renderer.surfaces import support_texture, wall_texture
from product_renderer.textures import Generator, color_in_family

_COVERED = 0.10  # Share of the product that one other object may hide before it is removed.


@dataclass(frozen=True)
class Geometry:
    """All meshes of a scene as one.

    Attributes:
        vertices: float64 [V, 3], meters.
        normals: float64 [V, 3], unit vectors.
        uv: float64 [V, 2].
        faces: int64 [F, 3].
        face_part: int64 [F], the part a face belongs to.
        part_object: int64 [P], the object a part belongs to; 0 is the product.
        parts: The parts, for their materials.
        pyramids: Mip levels of every part's texture, float32 [H, W, 3] linear light.
    """

    vertices: np.ndarray
    normals: np.ndarray
    uv: np.ndarray
    faces: np.ndarray
    face_part: np.ndarray
    part_object: np.ndarray
    parts: list[Part]
    pyramids: list[list[np.ndarray]]

    @classmethod
    def gather(cls, objects: list[list[Part]]) -> Geometry:
        """Joins the parts of all objects; the first object is the product."""
        parts = [part for model in objects for part in model]
        owner = np.repeat(np.arange(len(objects)), [len(model) for model in objects])
        counts = np.cumsum([0] + [len(part.mesh.vertices) for part in parts])
        numbers = [len(part.mesh.faces) for part in parts]
        return cls(
            vertices=np.concatenate([part.mesh.vertices for part in parts]),
            normals=np.concatenate([part.mesh.normals for part in parts]),
            uv=np.concatenate([part.mesh.uv for part in parts]),
            faces=np.concatenate(
                [p.mesh.faces + start for p, start in zip(parts, counts[:-1], strict=True)]
            ),
            face_part=np.repeat(np.arange(len(parts)), numbers),
            part_object=owner,
            parts=parts,
            pyramids=[pyramid(part.texture) for part in parts],
        )

    @property
    def face_object(self) -> np.ndarray:
        """The object every face belongs to, int64 [F]; 0 is the product."""
        return self.part_object[self.face_part]


@dataclass(frozen=True)
class Surroundings:
    """The support and the room.

    Attributes:
        outline: float64 [K, 2], corners of the support at z = 0, meters.
        tile: Length in meters that the support's texture covers.
        turn: Angle of the texture in radians.
        support: Mip levels of the support's texture, linear light.
        gloss: 0 (matte) to 1 (polished) of the support.
        low: float64 [3], lowest corner of the room, meters.
        high: float64 [3], highest corner of the room, meters.
        walls: Four mip pyramids (at -x, +x, -y, +y), then floor, then ceiling; linear light.
    """

    outline: np.ndarray
    tile: float
    turn: float
    support: list[np.ndarray]
    gloss: float
    low: np.ndarray
    high: np.ndarray
    walls: list[list[np.ndarray]]

    @classmethod
    def draw(cls, rng: Generator, length: float, reach: float, pixels: int) -> Surroundings:
        """Draws a place for a product.

        Args:
            rng: Generator to draw from.
            length: Longest side of the product in meters.
            reach: Largest horizontal distance of the camera from the product in meters.
            pixels: Side of the support's texture.

        Returns:
            The place; the product stands at the origin.
        """
        texture, gloss = support_texture(rng, pixels)
        on_floor, studio = rng.random() < 0.22, rng.random() < 0.1
        half = np.maximum(rng.uniform(1.3, 3.2, 2), reach * 1.2 + 0.25)
        middle = rng.uniform(-0.25, 0.25, 2) * (half - reach)
        base = 0.0 if on_floor or studio else -rng.uniform(0.4, 0.8)
        low, high = np.array([*(middle - half), base]), np.array([*(middle + half), base + 2.6])
        floor, _ = support_texture(rng, pixels // 2)
        paint = color_in_family(
            rng, rng.choice(["white", "pastel", "muted", "gray"]), rng.uniform()
        )
        if studio:
            plain = np.full((32, 64, 3), paint, np.uint8)
            walls, texture = [plain] * 4, np.full((512, 512, 3), paint, np.uint8)
        else:
            walls = [wall_texture(rng, color=paint) for _ in range(4)]
        ceiling = np.full((16, 16, 3), 225, np.uint8)
        if base == 0:
            outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half + middle
        else:
            outline = _table_outline(rng, length, half, middle)
        return cls(
            outline=outline,
            tile=rng.uniform(0.7, 1.6),
            turn=rng.uniform(0, np.pi),
            support=pyramid(texture, 8),
            gloss=gloss,
            low=low,
            high=high,
            walls=[pyramid(image) for image in (*walls, floor, ceiling)],
        )


def _table_outline(rng: Generator, length: float, half, middle) -> np.ndarray:
    """Draws the outline of a table top round the origin, float64 [K, 2], inside the room."""
    room = (half - np.abs(middle)) * 0.8
    size = np.minimum(np.maximum(rng.uniform(2.5, 6, 2) * length, rng.uniform(0.45, 0.8, 2)), room)
    if rng.random() < 0.25:
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        return np.stack([np.cos(turn), np.sin(turn)], 1) * size.max()
    turn = rng.uniform(0, np.pi / 2)
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size
    return (corners + rng.uniform(-0.35, 0.35, 2) * (size - length)) @ spin.T


@dataclass(frozen=True)
class Scene:
    """Everything that a frame is rendered from.

    Attributes:
        geometry: The product and the other objects.
        surroundings: Support and room.
        lights: The lights.
        baked: Shadows and ambient occlusion.
        orbit: The way of the camera.
        kind: Name of the product's model.
    """

    geometry: Geometry
    surroundings: Surroundings
    lights: Lights
    baked: BakedLight
    orbit: Orbit | KeyframePath
    kind: str


def draw_model(rng: Generator, length: float, kind: str | None = None) -> tuple[str, list[Part]]:
    """Draws a model of a kind (any when absent), scaled to a length in meters."""
    kind = kind or str(rng.choice(list(KINDS)))
    return kind, normalized(KINDS[kind](rng), length, rng.uniform(0, 2 * np.pi))


def _place_clutter(rng: Generator, product: list[Part], kind: str, length: float, outline):
    """Draws other objects and places them around the product without touching it or each other.

    Returns:
        A list of models; none when the draw is an empty support.
    """
    number = int(rng.choice(8, p=[0.14, 0.14, 0.16, 0.16, 0.14, 0.12, 0.08, 0.06]))
    radius = max(np.linalg.norm(part.mesh.vertices[:, :2], axis=1).max() for part in product)
    taken, models = [(0.0, 0.0, radius)], []
    room = max(np.abs(outline).max() * 0.9, radius * 3)
    for _ in range(number):
        same = kind if rng.random() < 0.25 else None
        _, model = draw_model(rng, length * rng.uniform(0.45, 1.35), same)
        own = max(np.linalg.norm(part.mesh.vertices[:, :2], axis=1).max() for part in model)
        for _ in range(12):
            away = rng.uniform(1.0, 1 + 5 * length / (radius + own)) * (radius + own) * 1.04
            turn = rng.uniform(0, 2 * np.pi)
            x, y = away * np.cos(turn), away * np.sin(turn)
            free = all(np.hypot(x - a, y - b) > own + r for a, b, r in taken)
            if free and away < room and inside(outline, x, y):
                taken.append((x, y, own))
                models.append([shifted(part, (x, y, 0)) for part in model])
                break
    return models


def inside(outline: np.ndarray, x: float, y: float) -> bool:
    """Checks whether a point is inside a convex, counter-clockwise outline [K, 2]."""
    side = np.roll(outline, -1, axis=0) - outline
    away = np.array([x, y]) - outline
    return bool((side[:, 0] * away[:, 1] - side[:, 1] * away[:, 0] > 0).all())


def shifted(part: Part, offset) -> Part:
    """Returns a part moved by an offset in meters."""
    return Part(part.mesh.moved(offset), part.texture, part.gloss, part.metal)


def _without_occluders(objects: list[list[Part]], orbit: Orbit, times, size) -> list[list[Part]]:
    """Takes away what hides too much of the product or stands before the lens on the way."""
    geometry = Geometry.gather(objects)
    owners = geometry.face_object
    alone = geometry.faces[owners == 0]
    bad: set[int] = set()
    for time in times:
        view = orbit.view(float(time), size).scaled(128 / max(size))
        whole = rasterize_view(view, geometry.vertices, alone).pixels
        seen = rasterize_view(view, geometry.vertices, geometry.faces)
        front = np.full(view.size[0] * view.size[1], -1)
        front[seen.pixels] = owners[seen.faces]
        hidden = np.bincount(front[whole] + 1, minlength=len(objects) + 1)[1:]
        bad |= set(np.flatnonzero(hidden > _COVERED * max(len(whole), 1)))
        # Something much nearer than the product would fill the frame as a blur.
        depth = view.project(geometry.vertices)[:, 2]
        middle = orbit.distance
        near = (depth > -0.1) & (depth < 0.45 * middle)
        bad |= set(np.unique(owners[near[geometry.faces].any(axis=1)]))
    return [model for index, model in enumerate(objects) if index == 0 or index not in bad]


def build_scene(
    rng: Generator, duration: float, size: tuple[int, int], kind: str | None = None
) -> Scene:
    """Draws a scene.

    Args:
        rng: Generator to draw from.
        duration: Length of the clip in seconds; 0 for a still picture.
        size: (H, W) of the frames in pixels.
        kind: Key of `KINDS`; any when absent.

    Returns:
        The scene, its camera fitted and its light baked.
    """
    length = rng.uniform(0.12, 0.45)
    kind, product = draw_model(rng, length, kind)
    alone = Geometry.gather([product])
    low, high = alone.vertices.min(axis=0), alone.vertices.max(axis=0)
    times = np.linspace(0, duration, 9 if duration else 1)
    orbit = Orbit.draw(rng, (low + high) / 2, duration)
    share = rng.uniform(0.08, 0.19)
    orbit = fit_distance(orbit, times, size, alone.vertices, alone.faces, share)
    reach = 1.2 * orbit.distance * np.cos(max(orbit.elevation - orbit.nod, 0))
    surroundings = Surroundings.draw(rng, length, reach, 1024 if max(size) > 512 else 512)
    clutter = _place_clutter(rng, product, kind, length, surroundings.outline)
    objects = _without_occluders([product, *clutter], orbit, times, size)
    geometry = Geometry.gather(objects)
    ground = surroundings.support[-1].mean(axis=(0, 1)).astype(np.float64)
    lights = Lights.draw(rng, ground)
    baked = bake(lights, geometry.vertices, geometry.normals, geometry.faces, fine=duration > 0)
    return Scene(geometry, surroundings, lights, baked, orbit, kind)
