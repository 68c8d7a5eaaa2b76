"""Non-rigid change of an object's shape: low waves whose strength grows with time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WAVES = 2
_CYCLES = (0.4, 1.1)  # across an object: its limbs, not its texture, are displaced
_SLOPE = 0.75  # of the displacement; from 1 on the shape would fold over itself
_STRENGTH = (0.25, 1.0)  # of that slope
_GROWTH = (5.0, 20.0)  # frames to three quarters of the strength
_TURN = 0.12  # deviation of the waves' progress, radians a frame


@dataclass(frozen=True)
class Bend:
    """Displacement of the parts of a view; places are relative to its sides.

    Attributes:
        shifts: float64 [waves, 2], largest displacement of each wave, relative to the sides.
        cycles: float64 [waves, 2], waves across the width and down the height.
        phases: float64 [waves], radians at time 0.
        turns: float64 [waves], radians a frame.
        growth: Time in which it builds up, frames.
    """

    shifts: np.ndarray
    cycles: np.ndarray
    phases: np.ndarray
    turns: np.ndarray
    growth: float

    @property
    def reach(self) -> float:
        """Largest displacement, relative to the sides."""
        return float(np.abs(self.shifts).sum())

    def displacement(self, places: np.ndarray, time: float) -> np.ndarray:
        """Evaluates the displacement.

        Args:
            places: float64 [..., 2], x and y relative to the sides of the view.
            time: Frames.

        Returns:
            float64 [..., 2], relative to the sides.
        """
        strength = np.tanh(abs(time) / self.growth)
        angles = 2 * np.pi * places @ self.cycles.T + self.phases + self.turns * time
        return strength * np.sin(angles) @ self.shifts


def draw_bend(rng: np.random.Generator) -> Bend:
    """Draws a bending that never folds.

    Args:
        rng: Source of randomness.

    Returns:
        The bending.
    """
    angles = rng.uniform(0, 2 * np.pi, (2, _WAVES))
    lengths = rng.uniform(*_CYCLES, _WAVES)
    cycles = lengths[:, None] * np.column_stack([np.cos(angles[0]), np.sin(angles[0])])
    size = _SLOPE * rng.uniform(*_STRENGTH) / (2 * np.pi * _WAVES * lengths)
    shifts = size[:, None] * np.column_stack([np.cos(angles[1]), np.sin(angles[1])])
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    return Bend(shifts, cycles, phases, rng.normal(0, _TURN, _WAVES), float(rng.uniform(*_GROWTH)))
