"""Models made of several primitives: vehicles, figures, furniture, kitchenware."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from product_renderer import meshes
from product_renderer.models import Part, solid
from product_renderer.prints import label
from product_renderer.textures import Generator, color_in_family, palette, pattern


def _texture(rng: Generator, colors) -> np.ndarray:
    """Draws the skin of a toy from its palette."""
    return pattern(rng, (160, 240), colors, ["plain", "plain", "stripes", "dots", "wood", "fabric"])


def car(rng: Generator) -> list[Part]:
    """A toy car, van or truck."""
    colors = palette(rng, 4)
    cabin_long, cabin_at = rng.uniform(0.35, 0.75), rng.uniform(-0.12, 0.12)
    wheel = rng.uniform(0.10, 0.15)
    hood, roof = rng.uniform(0.2, 0.28), rng.uniform(0.36, 0.5)
    body = meshes.rounded_box((1.0, 0.42, hood - wheel * 0.6), rng.uniform(0.04, 0.07), spans=5)
    body = body.moved((0, 0, wheel * 0.6))
    cabin = meshes.rounded_box((cabin_long, 0.4, roof - hood + 0.05), 0.03, spans=4)
    slope = 1 - rng.uniform(0.15, 0.4) * cabin.vertices[:, 2:] / (roof - hood)
    lean = np.concatenate([slope, 0.5 + 0.5 * slope, slope * 0 + 1], axis=1)
    cabin = replace(cabin, vertices=cabin.vertices * lean).moved((cabin_at, 0, hood - 0.05))
    top = cabin.vertices[cabin.vertices[:, 2] > roof - 0.02]
    length, width = np.ptp(top, axis=0)[:2] * 1.04
    glass = pattern(rng, (64, 64), [(40, 52, 62)] * 2, ["plain"])
    parts = [Part(body, _texture(rng, colors), 0.7), Part(cabin, glass, 0.9)]
    plate = meshes.rounded_box((length, width, 0.03), 0.012)
    parts.append(Part(plate.moved((cabin_at, 0, roof - 0.015)), solid(rng, colors[0]), 0.7))
    rim = color_in_family(rng, rng.choice(["gray", "vivid", "white"]), rng.uniform())
    for along in (-0.3, 0.3):
        for side in (-1, 1):
            tire = (
                meshes.cylinder(wheel, 0.09, 0.02, 24).moved((0, 0, -0.045)).turned("x", np.pi / 2)
            )
            hub = meshes.cylinder(wheel * 0.55, 0.1, 0.01, 20).moved((0, 0, -0.05))
            place = (along, side * 0.2, wheel)
            parts.append(Part(tire.moved(place), solid(rng, (28, 28, 30)), 0.1))
            parts.append(Part(hub.turned("x", np.pi / 2).moved(place), solid(rng, rim), 0.7))
    for side in (-0.14, 0.14):
        lamp = meshes.ellipsoid((0.02, 0.04, 0.035), 14).moved((0.49, side, hood * 0.75))
        parts.append(Part(lamp, solid(rng, (250, 240, 200)), 0.8))
    if rng.random() < 0.3:
        cargo = meshes.rounded_box((0.4, 0.42, 0.4), 0.02).moved((-0.26, 0, hood - 0.02))
        parts.append(Part(cargo, _texture(rng, palette(rng, 4)), 0.4))
    return parts


def figure(rng: Generator) -> list[Part]:
    """A teddy, doll or robot: head, trunk, limbs, face."""
    colors = palette(rng, 4)
    fur, cloth = _texture(rng, colors), _texture(rng, palette(rng, 4))
    robot = rng.random() < 0.3
    gloss = 0.7 if robot else 0.05
    head_size = rng.uniform(0.15, 0.24)
    trunk = (0.2, 0.16, 0.24)
    top = 0.2 + 2 * trunk[2]

    def lump(radii, place, texture):
        if robot:
            box = meshes.rounded_box(np.asarray(radii) * 1.8, min(radii) * 0.35)
            mesh = box.moved((0, 0, -0.9 * radii[2]))
        else:
            mesh = meshes.ellipsoid(radii, 24)
        return Part(mesh.moved(place), texture, gloss)

    head = np.array([0, 0, top + head_size * 0.75])
    parts = [lump(trunk, (0, 0, 0.2 + trunk[2]), cloth), lump((head_size,) * 3, head, fur)]
    spread = rng.uniform(0.0, 0.9)
    for side in (-1, 1):
        leg = np.array(
            [[side * 0.1, 0, 0.3], [side * 0.12, -0.02, 0.16], [side * 0.13, -0.03, 0.06]]
        )
        parts.append(Part(meshes.tube(leg, [0.085, 0.08, 0.075], 14), fur, gloss))
        parts.append(lump((0.08, 0.11, 0.05), (side * 0.13, -0.06, 0.05), fur))
        hand = (side * (0.24 + 0.12 * spread), -0.08, top - 0.32 + 0.3 * spread)
        arm = np.array([[side * 0.15, 0, top - 0.1], [side * 0.24, -0.03, top - 0.2], hand])
        parts.append(Part(meshes.tube(arm, [0.065, 0.06, 0.055], 12), fur, gloss))
        ear = head + (side * head_size * 0.75, 0, head_size * 0.75)
        parts.append(lump((head_size * 0.35, head_size * 0.2, head_size * 0.35), ear, fur))
        eye = head + (side * head_size * 0.4, -head_size * 0.86, head_size * 0.2)
        dot = meshes.ellipsoid((0.028,) * 3, 12).moved(eye)
        parts.append(Part(dot, solid(rng, (20, 18, 18)), 0.9))
    nose = meshes.ellipsoid(np.array([0.4, 0.35, 0.3]) * head_size, 16)
    snout = head + (0, -head_size * 0.85, -head_size * 0.25)
    return [*parts, Part(nose.moved(snout), solid(rng, colors[1]), gloss)]


def duck(rng: Generator) -> list[Part]:
    """A bath duck or bird of ellipsoids."""
    colors = palette(rng, 3)
    if rng.random() < 0.4:
        colors[0] = (245, 205, 40)
    skin = solid(rng, colors[0])
    body = meshes.ellipsoid((0.36, 0.26, 0.22), 32).moved((0, 0, 0.21))
    tail = meshes.ellipsoid((0.16, 0.1, 0.08), 20).turned("y", 0.7).moved((-0.33, 0, 0.33))
    head = meshes.ellipsoid((0.18, 0.17, 0.18), 28).moved((0.22, 0, 0.53))
    beak = meshes.ellipsoid((0.1, 0.08, 0.035), 18).moved((0.42, 0, 0.5))
    parts = [Part(mesh, skin, 0.6) for mesh in (body, tail, head)]
    parts.append(Part(beak, solid(rng, (235, 110, 30)), 0.5))
    for side in (-1, 1):
        eye = meshes.ellipsoid((0.02, 0.03, 0.03), 12).moved((0.35, side * 0.1, 0.58))
        wing = meshes.ellipsoid((0.2, 0.04, 0.11), 20).moved((-0.04, side * 0.25, 0.25))
        parts += [Part(eye, solid(rng, (15, 15, 15)), 0.9), Part(wing, solid(rng, colors[1]), 0.5)]
    return parts


def house(rng: Generator) -> list[Part]:
    """A small house or bird box with a gabled roof."""
    size = (rng.uniform(0.6, 0.8), rng.uniform(0.5, 0.7), rng.uniform(0.4, 0.6))
    walls = meshes.rounded_box(size, 0.01)
    texture = pattern(rng, (256, 384), palette(rng, 4), ["plain", "wood", "checks", "stripes"])
    for x in (30, 86, 158, 214, 286, 342):
        texture[30:70, x : x + 26] = (70, 90, 110)
    parts = [Part(walls, texture, 0.2)]
    rise = rng.uniform(0.2, 0.4)
    gable = np.linspace(-1, 1, 9)
    height = size[2] + rise * (1 - np.abs(gable))
    core = meshes.loft(gable * size[0] / 2, size[1], size[2] - 0.02, height + 1e-3, 12)
    parts.append(Part(core, texture[:128, :128], 0.2))
    tilt = np.arctan2(rise, size[0] / 2)
    slope = np.hypot(rise, size[0] / 2) * 1.2
    roof = pattern(rng, (128, 192), palette(rng, 3), ["plain", "zigzag", "stripes", "wood"])
    for side in (-1, 1):
        slab = meshes.rounded_box((slope, size[1] * 1.2, 0.04), 0.01).turned("y", side * tilt)
        place = (
            side * slope / 2 * np.cos(tilt) * 0.97,
            0,
            size[2] + rise - slope / 2 * np.sin(tilt),
        )
        parts.append(Part(slab.moved(place), roof, 0.3))
    chimney = meshes.rounded_box((0.08, 0.08, 0.3), 0.01)
    return [*parts, Part(chimney.moved((0.15, 0.1, size[2] + rise * 0.5)), solid(rng), 0.1)]


def ring_stack(rng: Generator) -> list[Part]:
    """A stacking toy: rings of falling size on a peg."""
    parts, height, radius = [], 0.0, 0.36
    base = meshes.cylinder(0.38, 0.06, 0.02).moved((0, 0, 0))
    parts.append(Part(base, solid(rng), 0.4))
    height = 0.06
    for _ in range(int(rng.integers(3, 6))):
        thick = rng.uniform(0.07, 0.1)
        ring = meshes.torus(radius - thick, thick).moved((0, 0, height + thick))
        color = color_in_family(rng, "vivid", rng.uniform())
        parts.append(Part(ring, solid(rng, color), 0.6))
        height, radius = height + 1.75 * thick, radius * 0.88
    knob = meshes.ellipsoid((0.09, 0.09, 0.09), 20).moved((0, 0, height + 0.08))
    peg = meshes.cylinder(0.05, height + 0.02)
    return [*parts, Part(peg, solid(rng), 0.3), Part(knob, solid(rng), 0.5)]


def chair(rng: Generator) -> list[Part]:
    """A chair, stool or bench."""
    texture = pattern(rng, (192, 288), palette(rng, 3), ["wood", "plain", "fabric"])
    wide, seat = rng.uniform(0.45, 0.6), rng.uniform(0.4, 0.5)
    parts = [Part(meshes.rounded_box((wide, 0.48, 0.07), 0.025).moved((0, 0, seat)), texture, 0.2)]
    splay = rng.uniform(0, 0.06)
    thick = rng.uniform(0.025, 0.045)
    legs = []
    for x in (-1, 1):
        for y in (-1, 1):
            foot = (x * (wide / 2 - 0.05 + splay), y * (0.19 + splay), 0.02)
            legs.append(meshes.tube([foot, (x * (wide / 2 - 0.06), y * 0.18, seat + 0.02)], thick))
    if rng.random() < 0.8:
        posts = [
            meshes.tube(
                [(x * (wide / 2 - 0.05), 0.2, seat), (x * (wide / 2 - 0.05), 0.27, 0.95)], thick
            )
            for x in (-1, 1)
        ]
        legs += posts
        back = meshes.rounded_box((wide, 0.04, rng.uniform(0.2, 0.4)), 0.015)
        parts.append(Part(back.turned("x", -0.12).moved((0, 0.235, 0.62)), texture, 0.2))
    return [*parts, Part(meshes.join(legs), pattern(rng, (64, 64), None, ["wood", "plain"]), 0.3)]


def table_lamp(rng: Generator) -> list[Part]:
    """A lamp with foot, stem and shade."""
    foot = meshes.lathe([[0, 0], [0.2, 0], [0.21, 0.02], [0.12, 0.05], [0.05, 0.1], [0, 0.1]])
    stem = meshes.tube([(0, 0, 0.08), (0, 0, 0.6)], rng.uniform(0.02, 0.06))
    low, high = rng.uniform(0.26, 0.36), rng.uniform(0.14, 0.24)
    edge = np.linspace(0, 1, 8)[:, None]
    outside = (1 - edge) * [low, 0.5] + edge * [high, 0.95]
    shade = meshes.lathe(np.concatenate([outside, outside[::-1] - (0.015, 0)]), 44)
    metal = solid(rng, color_in_family(rng, rng.choice(["gray", "dark", "white"]), 0.1))
    skin = pattern(rng, (160, 320), palette(rng, 4), ["plain", "fabric", "stripes", "dots"])
    return [Part(foot, metal, 0.7, True), Part(stem, metal, 0.7, True), Part(shade, skin, 0.05)]


def teapot(rng: Generator) -> list[Part]:
    """A teapot, kettle or watering can."""
    turn = np.linspace(-np.pi / 2 * 0.85, np.pi / 2 * 0.8, 20)
    tall = rng.uniform(0.26, 0.36)
    profile = np.stack([0.34 * np.cos(turn), tall + tall * np.sin(turn)], 1)
    body = meshes.lathe(np.concatenate([[[0, profile[0, 1]]], profile, [[0, profile[-1, 1]]]]), 44)
    texture = pattern(rng, (256, 512))
    spout = np.array(
        [[0.26, 0, tall * 0.8], [0.42, 0, tall], [0.5, 0, tall * 1.5], [0.6, 0, tall * 1.8]]
    )
    angle = np.linspace(-1.9, 1.9, 16)
    ear = np.stack([-0.34 - 0.18 * np.cos(angle), 0 * angle, tall + 0.75 * tall * np.sin(angle)], 1)
    knob = meshes.ellipsoid((0.05, 0.05, 0.05), 16).moved((0, 0, 2 * tall + 0.03))
    parts = [Part(body, texture, 0.8), Part(knob, solid(rng), 0.6)]
    parts.append(Part(meshes.tube(spout, [0.09, 0.06, 0.045, 0.035], 16), texture[:64, :64], 0.8))
    return [*parts, Part(meshes.tube(ear, 0.035), texture[:64, :64], 0.8)]


def camera(rng: Generator) -> list[Part]:
    """A gadget: camera, radio or speaker; a box with a round front and knobs."""
    size = (rng.uniform(0.7, 1.0), rng.uniform(0.25, 0.4), rng.uniform(0.45, 0.65))
    skin = color_in_family(rng, rng.choice(["dark", "gray", "vivid", "pastel"]), rng.uniform())
    body = meshes.rounded_box(size, rng.uniform(0.03, 0.1))
    texture = pattern(rng, (256, 384), [skin, skin], ["plain", "fabric"])
    texture[20:46, 12:60] = label(rng, (26, 48))
    radius = size[2] * rng.uniform(0.28, 0.4)
    across = rng.uniform(-0.15, 0.15)
    lens = meshes.cylinder(radius, rng.uniform(0.08, 0.3), 0.02, 36).turned("x", np.pi / 2)
    glass = meshes.ellipsoid((radius * 0.7, 0.04, radius * 0.7), 28)
    front = np.array([across, -size[1] / 2, size[2] / 2])
    tip = front + (0, float(lens.vertices[:, 1].min()), 0)
    parts = [Part(body, texture, 0.3), Part(lens.moved(front), solid(rng), 0.6)]
    parts.append(Part(glass.moved(tip), solid(rng, (25, 25, 45)), 1.0))
    for x in (-0.32, 0.32):
        knob = meshes.cylinder(0.07, 0.06, 0.01, 20).moved((x * size[0], 0, size[2] - 0.005))
        parts.append(Part(knob, solid(rng, (200, 200, 200)), 0.8, True))
    return parts
