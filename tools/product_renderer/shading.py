"""Renders a scene through a view: surroundings, reflections, lit objects, defocus, exact masks.

All colors here are linear light, float32, 1 being about the brightness of white paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from product_renderer.backdrop import (
    BASE_REFLECTANCE,
    environment,
    fresnel,
    room,
    support,
    support_coverage,
)
from product_renderer.raster import Coverage, View, barycentric, rasterize_view
from product_renderer.sampling import lengths, sample_levels
from product_renderer.scene import Scene

_SAMPLES = 2  # Samples per pixel along each axis, averaged for smooth edges.


@dataclass(frozen=True)
class Rendering:
    """A rendered frame before the optics and electronics of the phone.

    Attributes:
        light: float32 [H, W, 3], linear light.
        mask: uint8 [H, W], 1 where at least half of the pixel shows the product.
    """

    light: np.ndarray
    mask: np.ndarray


def shade_objects(scene: Scene, view: View, seen: Coverage, faces: np.ndarray) -> np.ndarray:
    """Lights the visible points of the objects.

    Args:
        scene: The scene.
        view: The camera of the coverage.
        seen: Covered pixels of the view.
        faces: The faces that the coverage indexes, int64 [F, 3].

    Returns:
        float32 [N, 3], one color per covered pixel.
    """
    geometry, lights, baked = scene.geometry, scene.lights, scene.baked
    weights = barycentric(view, geometry.vertices, faces, seen)
    packed = np.concatenate(
        [geometry.vertices, geometry.normals, geometry.uv, baked.sky[:, None]], axis=1
    ).astype(np.float32)
    corners = faces[seen.faces]
    values = sum(weights[:, k : k + 1] * packed[corners[:, k]] for k in range(3))
    position, normal, uv, open_sky = values[:, :3], values[:, 3:6], values[:, 6:8], values[:, 8]
    normal /= np.maximum(lengths(normal)[:, None], 1e-6)
    albedo, gloss, metal = _materials(scene, view, seen, faces, uv)
    toward = lights.direction.astype(np.float32)
    facing = np.maximum(normal @ toward, 0)
    # A fixed sequence of offsets: the same scene always gives the same picture.
    dither = np.random.default_rng(1).uniform(-0.7, 0.7, (4096, 2)).astype(np.float32)
    jitter = dither[np.arange(len(position)) * 7 % 4096]
    lit = sum(m.lit(position, jitter) for m in baked.key_maps) / len(baked.key_maps)
    distance = lengths(position[:, :2])
    direct = lit / (1 + (distance / lights.pool) ** 2)
    key = lights.key.astype(np.float32)
    height = np.clip(0.25 + position[:, 2] / 0.08, 0, 1)
    bounce = 0.5 * (1 - normal[:, 2]) * height
    diffuse = (facing * direct)[:, None] * key
    diffuse += open_sky[:, None] * lights.sky.astype(np.float32)
    diffuse += bounce[:, None] * lights.ground.astype(np.float32)
    away = view.position.astype(np.float32) - position
    away /= np.maximum(lengths(away)[:, None], 1e-6)
    cosine = np.einsum("ij,ij->i", away, normal)
    mirror = 2 * cosine[:, None] * normal - away
    base = np.where(metal[:, None], albedo * 0.9 + 0.05, np.float32(BASE_REFLECTANCE))
    reflected = fresnel(cosine[:, None], base) * (0.15 + 0.85 * gloss[:, None])
    sharp = 6.0 * 2.0 ** (7 * gloss)
    spot = np.exp(sharp * (mirror @ toward - 1)) * (0.5 + 0.12 * sharp) * direct * (facing > 0)
    shine = environment(scene, mirror, gloss) * (0.35 + 0.65 * open_sky[:, None])
    shine += spot[:, None] * key
    body = np.where(metal[:, None], 0.25, 1.0).astype(np.float32)
    return albedo * body * diffuse + reflected * shine


def _materials(scene: Scene, view: View, seen: Coverage, faces, uv: np.ndarray):
    """Looks up color [N, 3], gloss [N] and metal [N] of every covered pixel."""
    geometry = scene.geometry
    part = geometry.face_part[seen.faces]
    order = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[order], np.arange(len(geometry.parts) + 1))
    albedo = np.empty((len(part), 3), np.float32)
    gloss, metal = np.empty(len(part), np.float32), np.empty(len(part), bool)
    for index, material in enumerate(geometry.parts):
        chosen = order[bounds[index] : bounds[index + 1]]
        if not len(chosen):
            continue
        level = _mip_level(view, geometry, faces, seen, chosen, material.texture.shape)
        u, v = uv[chosen, 0], uv[chosen, 1]
        albedo[chosen] = sample_levels(geometry.pyramids[index], u, v, level)
        gloss[chosen], metal[chosen] = material.gloss, material.metal
    return albedo, gloss, metal


def _mip_level(view: View, geometry, faces, seen: Coverage, chosen: np.ndarray, shape) -> float:
    """Returns the texture level at which a texel is about as large as a pixel."""
    some = faces[seen.faces[chosen[:: max(1, len(chosen) // 64)]]]
    x, y = view.project(geometry.vertices[some].reshape(-1, 3))[:, :2].reshape(-1, 3, 2).T
    u, v = geometry.uv[some].T
    pixels = np.abs((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0]))
    texels = np.abs((u[1] - u[0]) * (v[2] - v[0]) - (u[2] - u[0]) * (v[1] - v[0]))
    texels = texels * shape[0] * shape[1]
    return float(0.5 * np.log2(max(np.median(texels), 1e-6) / max(np.median(pixels), 1e-6)) + 0.2)


def _mirror_image(scene: Scene, view: View) -> np.ndarray:
    """Renders the objects as a polished support reflects them, premultiplied [H, W, 4]."""
    flip = np.array([1.0, 1.0, -1.0])
    below = View(view.position * flip, view.rotation * flip, view.focal, view.size)
    faces = scene.geometry.faces[:, ::-1]
    seen = rasterize_view(below, scene.geometry.vertices, faces)
    image = np.zeros((view.size[0] * view.size[1], 4), np.float32)
    image[seen.pixels, :3] = shade_objects(scene, below, seen, faces)
    image[seen.pixels, 3] = 1
    blur = max(0.6, view.focal * 0.006 * (1.1 - scene.surroundings.gloss))
    return cv2.GaussianBlur(image.reshape(*view.size, 4), (0, 0), blur)


def _blur_by_depth(image: np.ndarray, depth: np.ndarray, focus: float, strength: float):
    """Blurs what is out of focus; `strength` is the lens opening in meters times the focal length
    in pixels, so that strength * |1 / depth - 1 / focus| is the width of the blur in pixels.
    """
    sigma = strength * np.abs(1 / np.maximum(depth, 0.05) - 1 / focus) / 3
    widest = float(np.percentile(sigma, 97))
    if widest < 0.4:
        return image
    half = cv2.GaussianBlur(image, (0, 0), widest / 2)
    full = cv2.GaussianBlur(image, (0, 0), widest)
    place = np.clip(sigma / widest * 2, 0, 2)[..., None]
    low = image + np.minimum(place, 1) * (half - image)
    return low + np.maximum(place - 1, 0) * (full - half)


def _layers(scene: Scene, view: View):
    """Renders the objects with several samples per pixel.

    Returns:
        Premultiplied light and coverage [H, W, 4] of the objects behind the product, the same of
        the product and what is about as near, the mean depth [H, W] of the former, and the mask.
    """
    fine = view.scaled(_SAMPLES)
    geometry = scene.geometry
    seen = rasterize_view(fine, geometry.vertices, geometry.faces)
    color = shade_objects(scene, fine, seen, geometry.faces)
    owner = geometry.face_object[seen.faces]
    depth = view.project(geometry.vertices)[:, 2]
    middles = np.full(geometry.part_object.max() + 1, np.inf)
    np.minimum.at(middles, geometry.face_object, depth[geometry.faces].max(axis=1))
    # The farther half of an object decides: what reaches into the product's depth stays sharp.
    behind = middles > scene.orbit.distance * 1.25
    behind[0] = False
    far = behind[owner]
    layers = []
    for chosen in (far, ~far):
        image = np.zeros((fine.size[0] * fine.size[1], 4), np.float32)
        image[seen.pixels[chosen], :3] = color[chosen]
        image[seen.pixels[chosen], 3] = 1
        layers.append(_shrink(image.reshape(*fine.size, 4), view.size))
    nearness = np.zeros(fine.size[0] * fine.size[1], np.float32)
    nearness[seen.pixels[far]] = seen.closeness[far]
    product = np.zeros(fine.size[0] * fine.size[1], np.float32)
    product[seen.pixels[owner == 0]] = 1
    mask = _shrink(product.reshape(fine.size), view.size) >= 0.5
    return (*layers, _shrink(nearness.reshape(fine.size), view.size), mask.astype(np.uint8))


def _shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Averages the samples of every pixel."""
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def render(scene: Scene, view: View, opening: float) -> Rendering:
    """Renders one frame.

    Args:
        scene: The scene.
        view: The camera.
        opening: Diameter of the lens opening in meters; larger blurs the background more.

    Returns:
        The frame and its mask.
    """
    coarse_light, coarse_depth = room(scene, view.scaled(0.5))
    coarse_light = cv2.GaussianBlur(coarse_light, (0, 0), 0.7)
    size = view.size[::-1]
    light = cv2.resize(coarse_light, size, interpolation=cv2.INTER_LINEAR)
    depth = cv2.resize(coarse_depth, size, interpolation=cv2.INTER_NEAREST)
    mirrored = _mirror_image(scene, view) if scene.surroundings.gloss > 0.25 else None
    ground, ground_depth = support(scene, view, mirrored)
    cover = support_coverage(scene, view)
    light += cover[..., None] * (ground - light)
    depth = np.where(cover > 0.5, ground_depth, depth)
    far, near, nearness, mask = _layers(scene, view)
    light = light * (1 - far[..., 3:]) + far[..., :3]
    depth = np.where(far[..., 3] > 0.5, far[..., 3] / np.maximum(nearness, 1e-3), depth)
    light = _blur_by_depth(light, depth, scene.orbit.distance, opening * view.focal)
    return Rendering(light * (1 - near[..., 3:]) + near[..., :3], mask)
