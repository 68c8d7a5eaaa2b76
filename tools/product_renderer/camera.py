"""Path of a handheld camera around a product that fills the frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from product_renderer.raster import View, look_at, rasterize_view
from product_renderer.textures import Generator

_PREVIEW = 112  # Pixels of the longer side of the silhouettes that the distance is fitted on.


@dataclass(frozen=True)
class Shake:
    """Smooth random motion of a hand: a few sinusoids, the faster the smaller.

    Attributes:
        amplitudes: float64 [D, K], in units of the motion.
        frequencies: float64 [D, K], Hz.
        phases: float64 [D, K], radians.
    """

    amplitudes: np.ndarray
    frequencies: np.ndarray
    phases: np.ndarray

    @classmethod
    def draw(cls, rng: Generator, dimensions: int, strength: float) -> Shake:
        """Draws a motion of `dimensions` values with about `strength` standard deviation."""
        # Hand tremor is near 8-12 Hz with small amplitude; sway and steps are below 2 Hz.
        bands = np.array([0.25, 0.6, 1.4, 3.0, 8.0])
        frequencies = bands * rng.uniform(0.7, 1.4, (dimensions, len(bands)))
        amplitudes = strength * rng.uniform(0.4, 1.2, frequencies.shape) / (1 + 2 * frequencies)
        return cls(2 * amplitudes, frequencies, rng.uniform(0, 2 * np.pi, frequencies.shape))

    def at(self, time: float) -> np.ndarray:
        """Returns the motion at a time in seconds, float64 [D]."""
        turns = 2 * np.pi * self.frequencies * time + self.phases
        return (self.amplitudes * np.sin(turns)).sum(axis=1)


@dataclass(frozen=True)
class Orbit:
    """Position and orientation of the camera over time.

    Attributes:
        center: float64 [3], the point it turns about, meters.
        distance: Mean distance from the center in meters.
        focal: Focal length in units of the longer image side.
        start: Azimuth at time 0 in radians.
        speed: Mean turn in radians per second.
        sway: Amplitude, in radians, of the unevenness of the turn.
        elevation: Mean angle above the horizon in radians.
        nod: Amplitude of its slow change in radians.
        zoom: Amplitude of the slow change of the distance, relative.
        offset: Where the center stands in the frame, in units of the shorter side from its middle.
        roll: Mean turn about the line of sight in radians.
        pace: Frequency of the slow changes in Hz.
        shake: Motion of 6 values: position (3, relative to the distance), aim (2), roll.
    """

    center: np.ndarray
    distance: float
    focal: float
    start: float
    speed: float
    sway: float
    elevation: float
    nod: float
    zoom: float
    offset: np.ndarray
    roll: float
    pace: float
    shake: Shake

    @classmethod
    def draw(cls, rng: Generator, center: np.ndarray, duration: float) -> Orbit:
        """Draws an orbit about a center for a clip of `duration` seconds."""
        speed = np.radians(rng.uniform(8, 45)) * rng.choice([-1, 1])
        full = np.radians(340)
        speed = float(np.clip(speed, -full / max(duration, 0.1), full / max(duration, 0.1)))
        return cls(
            center=center,
            distance=1.0,
            focal=rng.uniform(0.75, 1.15),
            start=rng.uniform(0, 2 * np.pi),
            speed=speed,
            sway=rng.uniform(0, 0.12),
            elevation=np.radians(rng.triangular(9, 24, 58)),
            nod=np.radians(rng.uniform(0, 7)),
            zoom=rng.uniform(0, 0.1),
            offset=rng.normal(0, 0.04, 2),
            roll=np.radians(rng.normal(0, 1.5)),
            pace=rng.uniform(0.08, 0.3),
            shake=Shake.draw(rng, 6, rng.uniform(0.004, 0.014)),
        )

    def azimuth(self, time: float) -> float:
        """Returns the azimuth of the camera in radians at a time in seconds."""
        return self.start + self.speed * time + self.sway * np.sin(2 * np.pi * self.pace * time)

    def view(self, time: float, size: tuple[int, int]) -> View:
        """Returns the camera at a time.

        Args:
            time: Seconds from the start of the clip.
            size: (H, W) in pixels.

        Returns:
            The view.
        """
        shake = self.shake.at(time)
        slow = np.sin(2 * np.pi * self.pace * time + 1.0)
        azimuth, elevation = self.azimuth(time), self.elevation + self.nod * slow
        outward = np.array(
            [
                np.cos(elevation) * np.cos(azimuth),
                np.cos(elevation) * np.sin(azimuth),
                np.sin(elevation),
            ]
        )
        away = self.distance * (1 + self.zoom * np.cos(2 * np.pi * self.pace * time))
        position = self.center + away * (outward + shake[:3])
        position[2] = max(position[2], 0.04)
        straight = look_at(position, self.center, 0.0, self.focal * max(size), size)
        aim = (self.offset + shake[3:5]) * away * min(size) / max(size) / self.focal
        target = self.center + aim[0] * straight.rotation[0] + aim[1] * straight.rotation[1]
        return look_at(position, target, self.roll + shake[5], self.focal * max(size), size)


def _extent(orbit: Orbit, times, size, vertices, faces) -> tuple[np.ndarray, float]:
    """Measures the silhouette along the orbit.

    Returns:
        The area at every time as a share of the frame, float64 [T], and how far the silhouette
        reaches from the middle of the frame at the worst, 1 being the border.
    """
    scale = _PREVIEW / max(size)
    areas, reach = [], 0.0
    for time in times:
        view = orbit.view(float(time), size).scaled(scale)
        height, width = view.size
        areas.append(len(rasterize_view(view, vertices, faces).pixels) / (height * width))
        x, y, depth = view.project(vertices).T
        if (depth < 0.05).any():
            reach = max(reach, 4.0)
            continue
        reach = max(reach, np.abs(x / width * 2 - 1).max(), np.abs(y / height * 2 - 1).max())
    return np.array(areas), float(reach)


def fit_distance(
    orbit: Orbit, times, size: tuple[int, int], vertices, faces, share: float
) -> Orbit:
    """Moves the camera so far away that the product covers a wanted share of the frame.

    The border comes first: the product stays inside the frame; then its area stays between 5.5 and
    23 % wherever that is possible.

    Args:
        orbit: The orbit to fit.
        times: Times in seconds to look at.
        size: (H, W) in pixels.
        vertices: float [V, 3] of the product, meters.
        faces: int [F, 3] of the product.
        share: Wanted mean area as a share of the frame.

    Returns:
        The orbit with another distance.
    """
    extent = np.ptp(vertices, axis=0).max()
    orbit = replace(orbit, distance=float(extent) * 2.5)
    for _ in range(7):
        areas, reach = _extent(orbit, times, size, vertices, faces)
        low, high = max(areas.min(), 1e-4), max(areas.max(), 1e-4)
        # Distance goes with the root of the area.
        factor = np.sqrt(max(areas.mean(), 1e-4) / share)
        factor = max(factor, np.sqrt(high / 0.23))
        factor = min(factor, np.sqrt(low / 0.055))
        factor = max(factor, (reach - 0.02) / 0.92, 0.4)
        orbit = replace(orbit, distance=orbit.distance * float(np.clip(factor, 0.4, 2.5)))
        if abs(factor - 1) < 0.01:
            break
    return orbit
