"""Table scenes: several products of similar size on one table, any one of which is the target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from product_renderer.camera_path import KeyframePath
from product_renderer.catalog import KINDS
from product_renderer.lighting import Lights, bake
from product_renderer.models import Part
from product_renderer.raster import View, rasterize_view
from product_renderer.scene import Geometry, Scene, Surroundings, draw_model, inside, shifted
from product_renderer.textures import Generator

_PREVIEW = 128  # Pixels of the longer side of the silhouettes that a draw is checked on.
_DRAWS = 400  # Layouts and paths of one set of products before other products are drawn.
_SPACING = (0.75, 1.35)  # Of neighbors, relative to the sum of their radii.
_AREA = (0.005, 0.12)  # Of the whole target, as a share of the picture.
_FIRST_AREA = 0.004  # Of its visible part in the first frame.
_FIRST_SHOWN = 0.85  # Part of the target inside the picture that the first frame shows.
_CUT = (0.5, 0.8)  # Part of the target inside the first picture, if the border cuts it.
_OCCLUDED = 0.65  # Below this visible part a frame counts as partly occluded.
_OCCLUDED_FRAMES = {True: (2, 4), False: (0, 1)}  # By whether the clip has the event.
_LEAST_SHOWN = 0.2  # Visible part of the target where it is in the picture.


@dataclass(frozen=True)
class TableEvents:
    """What makes a table clip hard.

    Attributes:
        cut: The picture border cuts the target in the first frame.
        exit: The target leaves the picture for two or three frames and returns.
        occluded: Other products hide a part of it in two or more frames.
        twin: A product of the same model, hardly different in color or size, stands beside it.
        same_color: A product of another kind has its color; without effect beside a twin.
    """

    cut: bool = False
    exit: bool = False
    occluded: bool = False
    twin: bool = False
    same_color: bool = False


@dataclass(frozen=True)
class Visibility:
    """Silhouette of the target at the keyframes.

    Attributes:
        area: float64 [T], area of the whole target, as a share of the picture.
        inside: float64 [T], part of it inside the picture.
        shown: float64 [T], visible part of what is inside the picture; 1 if nothing is.
    """

    area: np.ndarray
    inside: np.ndarray
    shown: np.ndarray


def build_table_scene(
    rng: Generator, times: np.ndarray, size: tuple[int, int], events: TableEvents
) -> Scene:
    """Draws a scene of products on a table and a camera path with given events.

    Args:
        rng: Generator to draw from.
        times: float64 [T], times of the frames, seconds.
        size: (H, W) of the frames in pixels.
        events: What happens in the clip.

    Returns:
        The scene; its object 0 is the target, its light is baked.
    """
    while True:
        length = rng.uniform(0.12, 0.3)
        kind, models = _draw_products(rng, length, events)
        for _ in range(_DRAWS):
            objects = _lay_out(rng, models)
            geometry = _bare_geometry(objects)
            path = _draw_path(rng, geometry, times, size, events)
            if _fits(visibility(path, geometry, size), path, geometry, size, events):
                return _furnish(rng, objects, path, kind, size)


def _draw_products(rng: Generator, length: float, events: TableEvents):
    """Draws the kind of the target and the models: the target, its twin if any, and others."""
    kinds = [str(name) for name in rng.permutation(list(KINDS))]
    state = rng.integers(2**32)
    kind, target = draw_model(np.random.default_rng(state), length, kinds[0])
    models = [target]
    if events.twin:
        # The same generator state gives the same model; the size and a tint tell it apart.
        own = length * rng.uniform(0.9, 1.1)
        _, twin = draw_model(np.random.default_rng(state), own, kind)
        turn, gain = rng.uniform(0, 2 * np.pi), np.exp(rng.normal(0, 0.05, 3))
        models.append([_tinted(_turned(part, turn), gain) for part in twin])
    count = int(rng.integers(4, 7))
    for name in kinds[1 : count + 1 - len(models)]:
        _, model = draw_model(rng, length * rng.uniform(0.8, 1.25), name)
        models.append(model)
    if events.same_color and not events.twin:
        models[1] = [_tinted(part, _color_gain(part, target)) for part in models[1]]
    return kind, models


def _turned(part: Part, angle: float) -> Part:
    return replace(part, mesh=part.mesh.turned("z", angle))


def _tinted(part: Part, gain: np.ndarray) -> Part:
    """Multiplies the texture of a part by one gain per channel."""
    texture = np.clip(part.texture * gain, 0, 255).astype(np.uint8)
    return replace(part, texture=texture)


def _color_gain(part: Part, target: list[Part]) -> np.ndarray:
    """Returns the gain that gives a part the mean color of the target's largest part."""
    largest = max(target, key=lambda p: float(np.ptp(p.mesh.vertices, axis=0).prod()))
    wanted, own = (p.texture.reshape(-1, 3).mean(axis=0) + 8.0 for p in (largest, part))
    return np.clip(wanted / own, 0.2, 4.0)


def _footprint(model: list[Part]) -> np.ndarray:
    """Returns the convex hull of a model seen from above, float32 [K, 2], meters."""
    points = np.concatenate([part.mesh.vertices[:, :2] for part in model]).astype(np.float32)
    return cv2.convexHull(points)[:, 0]


def _lay_out(rng: Generator, models: list[list[Part]]) -> list[list[Part]]:
    """Places models close to each other; the target is beside the second one, not in the middle.

    The second model, a twin if there is one, is placed first, the target next to it.
    """
    order = [1, 0, *range(2, len(models))]
    hulls = [_footprint(model) for model in models]
    radii = [float(np.linalg.norm(hull, axis=1).max()) for hull in hulls]
    places: dict[int, np.ndarray] = {order[0]: np.zeros(2, np.float32)}
    for number in order[1:]:
        while number not in places:
            anchor = order[0] if number == 0 else int(rng.choice(list(places)))
            reach = (radii[number] + radii[anchor]) * rng.uniform(*_SPACING)
            turn = rng.uniform(0, 2 * np.pi)
            place = places[anchor] + np.float32([reach * np.cos(turn), reach * np.sin(turn)])
            own = hulls[number] + place
            if not any(_overlap(own, hulls[key] + other) for key, other in places.items()):
                places[number] = place
    middle = np.mean(list(places.values()), axis=0)
    return [
        [shifted(part, (*(places[number] - middle), 0.0)) for part in model]
        for number, model in enumerate(models)
    ]


def _overlap(first: np.ndarray, second: np.ndarray) -> bool:
    """Checks whether two convex outlines, float32 [K, 2], have common points."""
    return bool(cv2.intersectConvexConvex(first, second)[0] > 0)


@dataclass(frozen=True)
class _BareGeometry:
    """Shapes without materials, for silhouettes.

    Attributes:
        vertices: float64 [V, 3], meters.
        faces: int64 [F, 3].
        face_object: int64 [F], 0 is the target.
    """

    vertices: np.ndarray
    faces: np.ndarray
    face_object: np.ndarray

    @property
    def target_faces(self) -> np.ndarray:
        return self.faces[self.face_object == 0]

    @property
    def target_vertices(self) -> np.ndarray:
        return self.vertices[: int(self.target_faces.max()) + 1]


def _bare_geometry(objects: list[list[Part]]) -> _BareGeometry:
    """Joins the meshes of all objects."""
    meshes = [part.mesh for model in objects for part in model]
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    owners = [index for index, model in enumerate(objects) for _ in model]
    return _BareGeometry(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([m.faces + s for m, s in zip(meshes, starts[:-1], strict=True)]),
        np.repeat(owners, [len(mesh.faces) for mesh in meshes]),
    )


def _draw_path(
    rng: Generator, geometry: _BareGeometry, times, size: tuple[int, int], events: TableEvents
) -> KeyframePath:
    """Draws a camera path with the events that depend on where the camera is aimed."""
    low, high = geometry.vertices.min(axis=0), geometry.vertices.max(axis=0)
    center = np.array([0.0, 0.0, (low[2] + high[2]) * 0.4])
    elevation = (8, 22) if events.occluded else (14, 42)
    path = KeyframePath.draw(rng, center, times, elevation)
    share = float(np.exp(rng.uniform(np.log(0.035), np.log(0.11))))
    # A first distance from the size of the target, as a share of the longer side of the picture.
    target = geometry.target_vertices
    extent = float(np.sqrt(np.sort(np.ptp(target, axis=0))[-2:].prod()))
    side = np.sqrt(share * min(size) / max(size) / 0.6)
    path = replace(path, distance=max(extent * float(path.focal.mean()) / side, 0.25))
    if events.exit:
        start, length = int(rng.integers(3, len(times) - 5)), int(rng.integers(2, 4))
        direction = _outward(path, geometry, start, size)
        for index in range(start, start + length):
            path = path.shifted(index, _leaving(direction, size, 1.04), target, size)
        for index in (start - 1, start + length):
            path = path.shifted(index, _leaving(direction, size, 0.0), target, size)
        path = path.smoothed(start - 2).smoothed(start + length + 1)
    if events.cut:
        kept = rng.uniform(*_CUT)
        direction = _outward(path, geometry, 0, size)
        path = path.shifted(0, _leaving(direction, size, 1 - kept), target, size)
        path = path.smoothed(1)
    return path


def _outward(path: KeyframePath, geometry: _BareGeometry, index: int, size) -> int:
    """Returns the side of the picture that the target is nearer to than the others: -1 left, 1."""
    view = path.view(float(path.times[index]), size)
    own = view.project(geometry.target_vertices)[:, 0].mean()
    return 1 if own > view.project(geometry.vertices)[:, 0].mean() else -1


def _leaving(direction: int, size: tuple[int, int], part: float) -> Callable:
    """Returns a move that puts a part of the width of a box beyond the left or right border."""

    def move(box: tuple[float, float, float, float]) -> tuple[float, float]:
        left, _, right, _ = box
        beyond = part * (right - left)
        wanted = size[1] + beyond - right if direction > 0 else -beyond - left
        return wanted, 0.0

    return move


def visibility(path: KeyframePath, geometry, size: tuple[int, int]) -> Visibility:
    """Measures the silhouette of the target at the keyframes, on small images."""
    rows = []
    for time in path.times:
        view = path.view(float(time), size).scaled(_PREVIEW / max(size))
        height, width = view.size
        wide = View(view.position, view.rotation, view.focal, (3 * height, 3 * width))
        whole = len(rasterize_view(wide, geometry.vertices, geometry.target_faces).pixels)
        alone = len(rasterize_view(view, geometry.vertices, geometry.target_faces).pixels)
        seen = rasterize_view(view, geometry.vertices, geometry.faces)
        visible = int((geometry.face_object[seen.faces] == 0).sum())
        area = max(whole, 1)
        rows.append((area / (height * width), alone / area, visible / alone if alone else 1.0))
    return Visibility(*np.array(rows).T)


def _fits(
    seen: Visibility, path: KeyframePath, geometry, size: tuple[int, int], events: TableEvents
) -> bool:
    """Checks that a clip has its events and that a person can follow the target."""
    away = seen.inside == 0
    present = ~away
    first = seen.area[0] * seen.inside[0] * seen.shown[0]
    kept = seen.inside[0]
    nearest = min(
        float(path.view(float(t), size).project(geometry.vertices)[:, 2].min()) for t in path.times
    )
    occluded = int((seen.shown[present] < _OCCLUDED).sum())
    least, most = _OCCLUDED_FRAMES[events.occluded]
    return bool(
        nearest > 0.3 * path.distance
        and _AREA[0] <= seen.area.min()
        and seen.area.max() <= _AREA[1]
        and first >= _FIRST_AREA
        and seen.shown[0] >= _FIRST_SHOWN
        and (_CUT[0] <= kept <= _CUT[1] if events.cut else kept > 0.97)
        and away.sum() in ((2, 3) if events.exit else (0,))
        and seen.inside[present].min() > 0.3
        and seen.shown[present].min() >= _LEAST_SHOWN
        and least <= occluded <= most
    )


def _furnish(
    rng: Generator, objects: list[list[Part]], path: KeyframePath, kind: str, size
) -> Scene:
    """Draws the room and the lights of objects on a table."""
    geometry = Geometry.gather(objects)
    spread = float(np.linalg.norm(geometry.vertices[:, :2], axis=1).max())
    reach = 1.2 * path.distance * float(path.approach.max() * np.cos(path.elevation.min()))
    while True:
        surroundings = Surroundings.draw(rng, 0.7 * spread, reach, 1024)
        x, y = geometry.vertices[:, :2].T
        # Corners of the bounding box suffice: outlines are convex.
        box = [(a, b) for a in (x.min(), x.max()) for b in (y.min(), y.max())]
        if all(inside(surroundings.outline, a, b) for a, b in box):
            break
    ground = surroundings.support[-1].mean(axis=(0, 1)).astype(np.float64)
    lights = Lights.draw(rng, ground)
    baked = bake(lights, geometry.vertices, geometry.normals, geometry.faces, fine=True)
    return Scene(geometry, surroundings, lights, baked, path, kind)
