"""Composed clips whose foreground is known, and the errors that are measured on them."""

import cv2
import measure_matte
import numpy as np
import pytest


@pytest.fixture(scope="module")
def shots():
    sprite = np.zeros((200, 300, 4), np.uint8)
    cv2.ellipse(sprite, (150, 100), (130, 80), 0, 0, 360, (210, 60, 30, 255), -1)
    photo = np.full((400, 500, 3), (20, 90, 160), np.uint8)
    return measure_matte.compose_clip(sprite, photo, 4, np.random.default_rng(0))


def test_frames_are_composed_of_the_known_foreground(shots):
    for shot in shots:
        weight = shot.alpha[..., None]
        behind = np.array([20, 90, 160])
        composed = shot.colors * weight + behind * (1 - weight)
        assert np.abs(shot.image - composed)[shot.alpha > 0.05].mean() < 3
        edge = (shot.alpha > 0.05) & (shot.alpha < 0.95)
        assert 100 < edge.sum() < 10_000
        np.testing.assert_allclose(shot.colors[edge].mean(axis=0), (210, 60, 30), atol=3)
    assert np.abs(shots[0].alpha - shots[3].alpha).max() > 0.5


def test_errors_at_edges(shots):
    before, after = measure_matte.color_errors(shots[0], shots[0].alpha)
    assert before > 30 and after < before / 3


def test_alpha_without_error_does_not_flicker(shots):
    alphas = [shot.alpha for shot in shots]
    assert measure_matte.alpha_errors(alphas, shots) == (0, 0)
    shifted = [np.clip(alpha + 0.1 * (k % 2), 0, 1) for k, alpha in enumerate(alphas)]
    error, flicker = measure_matte.alpha_errors(shifted, shots)
    assert 0.01 < error < 0.06 and flicker > 1.2 * error
    assert measure_matte.alpha_errors(measure_matte.smoothed(shifted, shots), shots)[1] < flicker
    # Without regard to motion, edges are blurred.
    assert measure_matte.alpha_errors(measure_matte.averaged(alphas), shots)[0] > 0.005
