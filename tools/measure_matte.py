"""Errors of color and alpha at the edges of objects, on composed clips whose foreground is known.

    python tools/measure_matte.py --cutouts FOLDER --backgrounds FOLDER --out FILE [--clips 12]

Every clip moves one cut-out over one photo, both along smooth paths, blurred as by a lens. The
network segments it from its first mask. Edges are the pixels whose true alpha is in .05 to .95.

- color: mean absolute error of the object's color at edges, 0..255, of the pixels of the frame and
  of the estimate of `deeplab_gygo.io.matte`, with the true alpha and with that of the network;
- alpha: mean absolute error within 4 pixels of the edges, 0..1;
- flicker: mean absolute difference of the change of alpha from frame to frame and the true change.

The last two also of alpha averaged over three frames in place, and along the optical flow, as
`--smooth` does.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

import deeplab_gygo
from deeplab_gygo.io.alpha_smoothing import AlphaSmoother
from deeplab_gygo.io.matte import estimate_foreground
from deeplab_gygo.synthesis.sprites import find_cutouts

SIZE = (360, 480)
EDGE = (0.05, 0.95)
BAND = 4  # pixels
BLUR = 0.7  # standard deviation of the lens, pixels
SIDE = (0.35, 0.6)  # of the object, fraction of the short side of the frames


class Shot(NamedTuple):
    """A composed frame: uint8 RGB, float colors of the object, float alpha 0..1."""

    image: np.ndarray
    colors: np.ndarray
    alpha: np.ndarray


def compose_clip(
    sprite: np.ndarray, photo: np.ndarray, frames: int, rng: np.random.Generator
) -> list[Shot]:
    """Moves a sprite, RGBA with straight alpha, over a photo."""
    height, width = SIZE
    photo = photo.astype(np.float32)
    straight = sprite.astype(np.float32)
    premultiplied = np.dstack([straight[..., :3] * straight[..., 3:] / 255, straight[..., 3]])
    side = rng.uniform(*SIDE) * height / max(sprite.shape[:2])
    start, speed = rng.uniform(0.35, 0.65, 2) * (width, height), rng.uniform(-3, 3, 2)
    turn, growth = rng.uniform(-0.02, 0.02), rng.uniform(-0.006, 0.006)
    drift = rng.uniform(-1, 1, 2)
    shots = []
    for time in range(frames):
        scale, angle = side * (1 + growth) ** time, turn * time
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        linear = np.array([[cosine, -sine], [sine, cosine]])
        middle = np.array(sprite.shape[1::-1]) / 2
        shift = start + speed * time - linear @ middle
        # The sprite is reduced with its own pixels averaged, then placed.
        reduced = cv2.resize(premultiplied, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        matrix = np.column_stack([linear / scale, shift])
        layer = cv2.warpAffine(reduced, matrix, (width, height), flags=cv2.INTER_LINEAR)
        layer = cv2.GaussianBlur(layer, (0, 0), BLUR)
        cover = 1.15 * max(height / photo.shape[0], width / photo.shape[1])
        offset = (np.array(SIZE[::-1]) - cover * np.array(photo.shape[1::-1])) / 2 + drift * time
        place = np.array([[cover, 0, offset[0]], [0, cover, offset[1]]])
        behind = cv2.warpAffine(photo, place, (width, height), borderMode=cv2.BORDER_REFLECT)
        alpha = np.clip(layer[..., 3] / 255, 0, 1)
        image = layer[..., :3] + behind * (1 - alpha[..., None])
        colors = layer[..., :3] / np.maximum(alpha, 1e-3)[..., None]
        noisy = image + rng.normal(0, 1.5, image.shape)
        shots.append(Shot(np.clip(noisy + 0.5, 0, 255).astype(np.uint8), colors, alpha))
    return shots


def color_errors(shot: Shot, alpha: np.ndarray) -> tuple[float, float]:
    """Returns the error of the pixels at edges as they are, and of the estimated colors."""
    edge = (shot.alpha > EDGE[0]) & (shot.alpha < EDGE[1])
    levels = np.clip(alpha * 255 + 0.5, 0, 255).astype(np.uint8)
    estimate = estimate_foreground(shot.image, levels)
    before, after = (
        float(np.abs(colors[edge] - shot.colors[edge]).mean()) for colors in (shot.image, estimate)
    )
    return before, after


def alpha_errors(alphas: list[np.ndarray], shots: list[Shot]) -> tuple[float, float]:
    """Returns the error of alpha around edges, and its flicker."""
    kernel = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    errors, flicker, before = [], [], None
    for alpha, shot in zip(alphas, shots, strict=True):
        edge = ((shot.alpha > EDGE[0]) & (shot.alpha < EDGE[1])).astype(np.uint8)
        band = cv2.dilate(edge, kernel) > 0
        difference = alpha - shot.alpha
        errors.append(np.abs(difference[band]).mean())
        if before is not None:
            flicker.append(np.abs(difference - before)[band].mean())
        before = difference
    return float(np.mean(errors)), float(np.mean(flicker))


def averaged(alphas: list[np.ndarray]) -> list[np.ndarray]:
    """Averages alpha with its neighbors in time, weights 1, 2, 1, each pixel in its place."""
    padded = np.pad(alphas, ((1, 1), (0, 0), (0, 0)), mode="edge")
    return list((padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4)


def smoothed(alphas: list[np.ndarray], shots: list[Shot]) -> list[np.ndarray]:
    """Smooths alpha as the option `--smooth` does."""
    smoother, found = AlphaSmoother(), []
    for alpha, shot in zip(alphas, shots, strict=True):
        found.append(smoother.push(shot.image, np.rint(alpha * 255).astype(np.uint8)))
    return [alpha.astype(np.float32) / 255 for alpha in [*found[1:], smoother.last()]]


def clips(options: argparse.Namespace) -> Iterator[tuple[str, list[Shot]]]:
    """Composes the clips: name of the object, and its shots."""
    rng = np.random.default_rng(options.seed)
    objects = find_cutouts(options.cutouts)
    photos = sorted(options.backgrounds.iterdir())
    for index in rng.permutation(len(objects))[: options.clips]:
        path = objects[index].paths[0]
        sprite = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
        photo = cv2.cvtColor(cv2.imread(str(photos[rng.integers(len(photos))])), cv2.COLOR_BGR2RGB)
        yield path.stem, compose_clip(sprite, photo, options.frames, rng)


def main() -> None:
    """Runs the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cutouts", type=Path, required=True, help="folder of RGBA pictures")
    parser.add_argument("--backgrounds", type=Path, required=True, help="folder of photos")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    model, rows = deeplab_gygo.load(), {}
    for name, shots in clips(options):
        mask = (shots[0].alpha > 0.5).astype(np.uint8)
        images = [shot.image for shot in shots]
        found = list(model.segment(images, mask, preset=options.preset))
        alphas = [np.rint(p.probability * 255).astype(np.float32) / 255 for p in found]
        known = np.mean([color_errors(shot, shot.alpha) for shot in shots], axis=0)
        own = np.mean(
            [color_errors(shot, a) for shot, a in zip(shots, alphas, strict=True)], axis=0
        )
        variants = {
            "alpha": alphas,
            "alpha, averaged in place": averaged(alphas),
            "alpha, smoothed": smoothed(alphas, shots),
        }
        rows[name] = {
            "color, true alpha": known.tolist(),
            "color, alpha of the network": own.tolist(),
            **{key: alpha_errors(values, shots) for key, values in variants.items()},
        }
        print(name, {key: np.round(value, 4).tolist() for key, value in rows[name].items()})
    mean = {
        key: np.mean([row[key] for row in rows.values()], axis=0).round(4).tolist()
        for key in next(iter(rows.values()))
    }
    result = {
        "clips": len(rows), "frames": options.frames, "preset": options.preset,
        "columns": {"color": ["as it is", "estimated"], "alpha": ["error", "flicker"]},
        "mean": mean,
        "objects": {n: {k: np.round(v, 4).tolist() for k, v in r.items()} for n, r in rows.items()},
    }  # fmt: skip
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(mean, indent=1))


if __name__ == "__main__":
    main()
