"""Training examples of OSVOS: only clips with a salient target, one or two frames of each."""

import numpy as np
import pytest

from deeplab_gygo.baselines.osvos.clips import PlainClipMaker
from deeplab_gygo.baselines.osvos.config import OsvosTraining
from deeplab_gygo.baselines.shared.clips import step_size
from deeplab_gygo.baselines.shared.config import flips_only
from deeplab_gygo.synthesis import augment
from deeplab_gygo.synthesis.clips import ClipFrame, RawClip

SIZE = (64, 80)


class _Given:
    def __init__(self, *clips):
        self.clips = list(clips)

    def sample(self, rng):
        return self.clips.pop(0)


def _clip(left, salient):
    mask = np.zeros(SIZE, np.uint8)
    mask[20:50, left : left + 30] = 1
    frame = ClipFrame(np.repeat(mask[..., None] * 200, 3, -1), mask, None)
    return RawClip((frame, frame), salient)


@pytest.mark.parametrize(("batch", "frames"), [(1, 1), (4, 2)])
def test_clips_with_an_ambiguous_target_are_skipped(monkeypatch, batch, frames):
    monkeypatch.setattr(augment, "_MAX_ASPECT", 1.0)
    identity = flips_only()
    identity.flip = 0.0
    ambiguous, salient = _clip(5, False), _clip(40, True)
    source = _Given(ambiguous, ambiguous, salient)
    config = OsvosTraining(crop=SIZE, scales=(1.0,), batch=batch, augment=identity)
    examples = PlainClipMaker(source, config).examples(0, 0)
    assert [set(e) for e in examples] == [{"image", "mask"}] * frames
    np.testing.assert_array_equal(examples[0]["mask"], salient.frames[0].mask)
    np.testing.assert_array_equal(examples[0]["image"], salient.frames[0].image)


def test_the_size_of_a_step_is_a_scaled_crop_in_multiples_of_16():
    config = OsvosTraining(crop=(96, 160), scales=(0.5, 1.0))
    sizes = {step_size(config, step) for step in range(50)}
    assert sizes == {(48, 80), (96, 160)}
    assert step_size(config, 7) == step_size(config, 7)
