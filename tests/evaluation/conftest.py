"""Small masks of known scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

SIDE = 20


def _overlapping(share: float) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth uint8 [20, 20] with J equal to `share`; the truth has 100 pixels."""
    truth = np.zeros((SIDE, SIDE), dtype=np.uint8)
    truth[5:15, 5:15] = 1
    prediction = truth.copy()
    flat = np.flatnonzero(truth)[round(share * 100) :]
    prediction.reshape(-1)[flat] = 0
    return prediction, truth


def _clip(shares: list[float]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    pairs = [_overlapping(share) for share in shares]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _two_objects(second: int = 2) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[2:8, 2:8] = 1
    mask[12:18, 12:18] = second
    return mask


@pytest.fixture
def clip() -> Callable[[list[float]], tuple[list[np.ndarray], list[np.ndarray]]]:
    """Makes predictions and truths, masks [20, 20], that have the given values of J."""
    return _clip


@pytest.fixture
def two_objects() -> Callable[..., np.ndarray]:
    """Makes a mask [20, 20] of two squares with ids 1 and, if nothing else is given, 2."""
    return _two_objects
