"""Light of a still scene, computed once: soft shadows and ambient occlusion from depth maps."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from product_renderer.raster import rasterize
from product_renderer.sampling import sample
from product_renderer.textures import Generator

_EMPTY = -1e3  # Closeness, in meters, where nothing stands between the light and the ground.


@dataclass(frozen=True)
class Lights:
    """The lights of a scene; colors are float64 [3] in linear light.

    Attributes:
        direction: float64 [3], unit vector towards the key light.
        spread: Radius of the key light's cone in radians; wider is softer.
        key: Color of the key light.
        sky: Color of the light from walls and ceiling.
        ground: Color of the light that the support throws back.
        window: float64 [3], unit vector towards the bright patch seen in reflections.
        pool: Distance in meters at which the key light has fallen to a half.
    """

    direction: np.ndarray
    spread: float
    key: np.ndarray
    sky: np.ndarray
    ground: np.ndarray
    window: np.ndarray
    pool: float

    @classmethod
    def draw(cls, rng: Generator, ground: np.ndarray) -> Lights:
        """Draws lights over a support of mean albedo `ground`, float [3] in linear light."""
        azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(28, 78))
        direction = _direction(azimuth, elevation)
        warmth = rng.uniform(-0.12, 0.2)
        key = np.array([1 + warmth, 1.0, 1 - warmth]) * rng.uniform(0.25, 1.8)
        cool = rng.uniform(-0.1, 0.1)
        sky = np.array([1 - cool, 1.0, 1 + cool]) * rng.uniform(0.3, 0.7)
        bounce = ground * (sky + key * direction[2]) * 0.6
        window = _direction(azimuth + rng.normal(0, 0.6), np.radians(rng.uniform(10, 60)))
        spread = np.radians(rng.uniform(1.0, 12.0))
        return cls(direction, spread, key, sky, bounce, window, rng.uniform(0.6, 4.0))


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """Returns the unit vector float64 [3] of an azimuth and elevation in radians."""
    flat = np.cos(elevation)
    return np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])


def _frame(direction: np.ndarray) -> np.ndarray:
    """Returns right and down of an image plane seen from a light, float64 [2, 3]."""
    helper = np.array([0.0, 0.0, 1.0]) if abs(direction[2]) < 0.95 else np.array([1.0, 0.0, 0.0])
    right = np.cross(-direction, helper)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(-direction, right)])


@dataclass(frozen=True)
class DepthMap:
    """Depth of the geometry along the direction of a distant light.

    Attributes:
        direction: float64 [3], towards the light.
        axes: float64 [2, 3], right and down of the map.
        low: float64 [2], map coordinates of its upper left corner, meters.
        span: Length of its sides in meters.
        closeness: float32 [S, S], position along the direction in meters.
    """

    direction: np.ndarray
    axes: np.ndarray
    low: np.ndarray
    span: float
    closeness: np.ndarray

    @classmethod
    def render(cls, direction, vertices, faces, pixels: int) -> DepthMap:
        """Renders the map of a mesh.

        Only the faces that turn away from the light are drawn: a lit face then never shades itself
        by rounding. The outline of a closed mesh is the same.

        Args:
            direction: float [3], unit vector towards the light.
            vertices: float [V, 3], meters.
            faces: int [F, 3].
            pixels: Side of the map.

        Returns:
            The map.
        """
        axes = _frame(direction)
        flat = vertices @ axes.T
        margin = 0.03 * float(np.ptp(flat, axis=0).max())  # Its empty rim stands for all around.
        low = flat.min(axis=0) - margin
        span = float((flat.max(axis=0) - low).max()) + margin
        corners = np.concatenate(
            [(flat - low) * (pixels / span), (vertices @ direction)[:, None]], axis=1
        )
        seen = rasterize(corners, faces[:, ::-1], (pixels, pixels))
        image = np.full(pixels * pixels, _EMPTY, np.float32)
        image[seen.pixels] = seen.closeness
        return cls(direction, axes, low, span, image.reshape(pixels, pixels))

    def open_ground(self, points: np.ndarray) -> np.ndarray:
        """Tells which points below all geometry the light reaches.

        Args:
            points: float32 [N, 3], meters.

        Returns:
            float32 [N], 1 lit to 0 in shadow, without the offset that `lit` needs at contacts.
        """
        place = (points @ self.axes.T.astype(np.float32) - self.low.astype(np.float32)) / self.span
        empty = (self.closeness == _EMPTY).astype(np.float32)
        return sample(empty, place[:, 0], place[:, 1], cv2.BORDER_REPLICATE)

    def lit(self, points: np.ndarray, jitter: np.ndarray | None = None) -> np.ndarray:
        """Tells which points the light reaches.

        Args:
            points: float [N, 3], meters.
            jitter: float [N, 2] in map pixels added to the look-up, which turns the steps of the
                map into fine noise; none when absent.

        Returns:
            float32 [N], 1 lit to 0 in shadow.
        """
        points = points.astype(np.float32, copy=False)
        place = (points @ self.axes.T.astype(np.float32) - self.low.astype(np.float32)) / self.span
        if jitter is not None:
            place = place + jitter / self.closeness.shape[0]
        map_args = (place[:, 0], place[:, 1], cv2.BORDER_REPLICATE)
        stored = sample(self.closeness, *map_args)
        own = points @ self.direction.astype(np.float32)
        texel = np.float32(self.span / self.closeness.shape[0])
        return np.clip(2 - (stored - own) / texel, 0, 1)


def cone(direction: np.ndarray, spread: float, count: int) -> list[np.ndarray]:
    """Spreads directions evenly over a disc about a direction (sunflower pattern)."""
    right, down = _frame(direction)
    index = np.arange(count) + 0.5
    radius, turn = np.tan(spread) * np.sqrt(index / count), index * np.pi * (3 - np.sqrt(5))
    rays = (
        direction
        + (radius * np.cos(turn))[:, None] * right
        + (radius * np.sin(turn))[:, None] * down
    )
    return list(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def dome(count: int) -> list[np.ndarray]:
    """Spreads directions over the upper hemisphere, evenly by solid angle."""
    index = np.arange(count) + 0.5
    height = 0.06 + 0.94 * index / count
    turn, flat = index * np.pi * (3 - np.sqrt(5)), np.sqrt(1 - height**2)
    return list(np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1))


@dataclass(frozen=True)
class BakedLight:
    """Camera-independent part of the shading.

    Attributes:
        key_maps: Depth maps of the key light's cone, for shadows on objects.
        sky: float32 [V], share of the sky's light that reaches every vertex.
        extent: Half the side, in meters, of the square of the support that has maps.
        ground_key: float32 [S, S], share of the key light on the support.
        ground_sky: float32 [S, S], share of the sky's light on the support.
    """

    key_maps: list[DepthMap]
    sky: np.ndarray
    extent: float
    ground_key: np.ndarray
    ground_sky: np.ndarray


def bake(lights: Lights, vertices, normals, faces, fine: bool) -> BakedLight:
    """Computes shadows and ambient occlusion of a still scene.

    Args:
        lights: The lights.
        vertices: float [V, 3], meters.
        normals: float [V, 3], unit vectors.
        faces: int [F, 3].
        fine: Whether to spend about 0.5 s on it; else about a quarter.

    Returns:
        The light to shade with.
    """
    rays, domes, pixels, cells = (20, 28, 512, 320) if fine else (8, 12, 256, 160)
    extent = float(np.abs(vertices[:, :2]).max()) * 1.3 + 1.2 * float(vertices[:, 2].max())
    line = ((np.arange(cells) + 0.5) / cells * 2 - 1) * extent
    x, y = np.meshgrid(line, line)
    ground = np.stack([x, y, 0 * x], -1).reshape(-1, 3).astype(np.float32)
    key_maps = []
    ground_key = np.zeros(len(ground), np.float32)
    for direction in cone(lights.direction, lights.spread, rays):
        key_maps.append(DepthMap.render(direction, vertices, faces, pixels))
        ground_key += key_maps[-1].open_ground(ground) / rays
    sky, full = np.zeros(len(vertices), np.float32), 0.0
    ground_sky = np.zeros(len(ground), np.float32)
    lifted = vertices + 0.004 * normals
    for direction in dome(domes):
        shadows = DepthMap.render(direction, vertices, faces, pixels // 2)
        facing = np.maximum(normals @ direction, 0)
        sky += (facing * shadows.lit(lifted)).astype(np.float32)
        ground_sky += direction[2] * shadows.open_ground(ground)
        full += direction[2]
    soften = [
        cv2.GaussianBlur(m.reshape(cells, cells), (0, 0), 0.8) for m in (ground_key, ground_sky)
    ]
    return BakedLight(
        key_maps[:: max(1, rays // 5)], sky / full, extent, soften[0], soften[1] / full
    )
