"""Renders what stands still round the product: the room, the support, what they reflect.

All colors here are linear light, float32, 1 being about the brightness of white paper.
"""

from __future__ import annotations

import cv2
import numpy as np

from product_renderer.raster import View
from product_renderer.sampling import lengths, sample, sample_levels
from product_renderer.scene import Scene

BASE_REFLECTANCE = 0.04  # Of plastic, paper, glaze and wood at normal incidence.


def fresnel(cosine: np.ndarray, base) -> np.ndarray:
    """Returns Schlick's approximation of the reflected share at a cosine of incidence."""
    return base + (1 - base) * (1 - np.clip(cosine, 0, 1)) ** 5


def environment(scene: Scene, direction: np.ndarray, gloss: np.ndarray) -> np.ndarray:
    """Returns the light that arrives from directions [N, 3]: walls, a bright window, the support.

    `gloss` [N] narrows the window's reflection.
    """
    lights = scene.lights
    up = np.clip(direction[:, 2:] * 3 + 0.3, 0, 1)
    around = lights.ground.astype(np.float32) * (1 - up) + lights.sky.astype(np.float32) * up
    sharp = 4.0 * 2.0 ** (6 * gloss)
    window = np.exp(sharp * (direction @ lights.window.astype(np.float32) - 1))
    strength = (0.4 + 0.25 * np.sqrt(sharp))[:, None]
    return around + (window[:, None] * strength) * lights.sky.astype(np.float32)


def room(scene: Scene, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Renders the empty room: light [h, w, 3] and depth [h, w] at the size of the view."""
    place = scene.surroundings
    rays = view.rays().reshape(-1, 3)
    position = view.position.astype(np.float32)
    safe = np.where(np.abs(rays) < 1e-6, np.float32(1e-6), rays)
    low, high = place.low.astype(np.float32), place.high.astype(np.float32)
    exits = (np.where(safe > 0, high, low) - position) / safe
    depth = np.minimum(np.minimum(exits[:, 0], exits[:, 1]), exits[:, 2])
    axis = np.where(exits[:, 0] == depth, 0, np.where(exits[:, 1] == depth, 1, 2))
    points = position + depth[:, None] * rays
    local = (points - low) / (high - low)
    side = axis * 2 + (rays[np.arange(len(axis)), axis] > 0)
    light = np.empty_like(rays)
    sky, key = scene.lights.sky.astype(np.float32), scene.lights.key.astype(np.float32)
    for wall in range(6):
        chosen = side == wall
        if not chosen.any():
            continue
        across = (1, 1, 0, 0, 0, 0)[wall]
        u = local[chosen, across]
        v = 1 - local[chosen, 2] if wall < 4 else local[chosen, 1]
        number = wall if wall < 4 else wall
        color = sample_levels(place.walls[number], u, v, 0.5)
        corner = 1 - 0.35 * np.exp(-6 * np.minimum(u, 1 - u)) - 0.2 * np.exp(-5 * np.abs(1 - v))
        turned = 0.2 + 0.15 * np.cos(wall * 1.3 + scene.lights.direction[0] * 3)
        light[chosen] = color * corner[:, None] * (sky * 0.9 + key * turned)
    return light.reshape(*view.size, 3), depth.reshape(view.size)


def support_coverage(scene: Scene, view: View) -> np.ndarray:
    """Returns the share of every pixel that the support covers, float32 [H, W]."""
    outline = scene.surroundings.outline
    points = np.concatenate([outline, np.zeros((len(outline), 1))], axis=1)
    local = (points - view.position) @ view.rotation.T
    clipped = []
    for a, b in zip(local, np.roll(local, -1, axis=0), strict=True):
        if a[2] > 0.02:
            clipped.append(a)
        if (a[2] > 0.02) != (b[2] > 0.02):
            part = (0.02 - a[2]) / (b[2] - a[2])
            clipped.append(a + part * (b - a))
    cover = np.zeros(view.size, np.uint8)
    if len(clipped) >= 3:
        ahead = np.stack(clipped)
        image = ahead[:, :2] / ahead[:, 2:] * view.focal + np.array(view.size[::-1]) / 2 - 0.5
        image = np.clip(image, -20000, 20000)
        cv2.fillConvexPoly(cover, np.round(image * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    return cover.astype(np.float32) / 255


def support(scene: Scene, view: View, mirrored: np.ndarray | None):
    """Renders the support as if it filled the frame below the horizon: light and depth."""
    place, lights, baked = scene.surroundings, scene.lights, scene.baked
    rays = view.rays().reshape(-1, 3)
    depth = np.where(rays[:, 2] < -1e-4, -view.position[2] / np.minimum(rays[:, 2], -1e-4), 50.0)
    depth = np.minimum(depth, 50.0).astype(np.float32)
    point = (view.position + depth[:, None] * rays).astype(np.float32)
    cosine, sine = np.cos(place.turn), np.sin(place.turn)
    u = (point[:, 0] * cosine + point[:, 1] * sine) / place.tile
    v = (point[:, 1] * cosine - point[:, 0] * sine) / place.tile
    # Every second tile is a mirror image, so that no texture shows a seam.
    u, v = (np.abs((value + 1000.37) % 2 - 1) for value in (u, v))
    slant = np.clip(-rays[:, 2] / lengths(rays), 0.02, 1)
    texels = place.support[0].shape[0] / place.tile * depth / view.focal / np.sqrt(slant)
    albedo = sample_levels(place.support, u, v, np.log2(np.maximum(texels, 1)))
    x, y = point[:, 0] / baked.extent / 2 + 0.5, point[:, 1] / baked.extent / 2 + 0.5
    key = sample(baked.ground_key, x, y, cv2.BORDER_REPLICATE)
    sky = sample(baked.ground_sky, x, y, cv2.BORDER_REPLICATE)
    fall = 1 / (1 + (point[:, 0] ** 2 + point[:, 1] ** 2) / lights.pool**2)
    direct = key * fall * np.float32(lights.direction[2])
    light = direct[:, None] * lights.key.astype(np.float32)
    light += sky[:, None] * lights.sky.astype(np.float32)
    light *= albedo
    if place.gloss > 0:
        bounced = rays / lengths(rays)[:, None] * np.float32([1, 1, -1])
        gloss = np.full(len(rays), place.gloss, np.float32)
        shine = environment(scene, bounced, gloss * 0.6)
        if mirrored is not None:
            flat = mirrored.reshape(-1, 4)
            shine = shine * (1 - flat[:, 3:]) + flat[:, :3]
        light += (fresnel(slant, BASE_REFLECTANCE) * place.gloss)[:, None] * shine * sky[:, None]
    return light.reshape(*view.size, 3), depth.reshape(view.size)
