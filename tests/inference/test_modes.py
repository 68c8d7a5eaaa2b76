"""The three modes: mask, memory, target model, test-time augmentation."""

from types import SimpleNamespace

import numpy as np
import pytest

from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.config import OnlineConfig
from deeplab_gygo.inference.segmenter import DeepLabSegmenter
from deeplab_gygo.io.frame_folder import sequence_from_folder
from deeplab_gygo.io.masks import write_mask

FRAMES, SIZE = 5, (64, 96)


def _mask(left: int = 20) -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[18:46, left : left + 28] = 1
    return mask


@pytest.fixture(scope="module")
def clip(make_clip, tmp_path_factory):
    """Frames of a bright square that moves over noise."""
    return make_clip(tmp_path_factory.mktemp("clip") / "frames", FRAMES)


def _sequence(clip, mask):
    path = clip.with_name("first.png")
    write_mask(path, mask)
    return sequence_from_folder(clip, annotations={0: path})


def _config(**changes) -> OnlineConfig:
    return OnlineConfig(**{"steps": 1, "num_views": 2, "size": 64, **changes})


def test_zero_shot_never_looks_at_the_mask(parent, clip):
    segmenter = DeepLabSegmenter(parent, _config(mode="zero-shot"))
    one = list(segmenter.run(_sequence(clip, _mask())))
    other = list(segmenter.run(_sequence(clip, _mask(58))))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a.probability, b.probability)
    assert segmenter.adaptation.steps == 0


def test_zero_shot_needs_no_mask_and_starts_at_the_first_frame(parent, clip):
    sequence = sequence_from_folder(clip)
    segmenter = DeepLabSegmenter(parent, _config(mode="zero-shot", zero_shot_anchor_frames=0))
    predictions = list(segmenter.run(sequence))
    assert [p.name for p in predictions] == [f"{i:05d}" for i in range(FRAMES)]
    first = next(iter(sequence))
    segmenter.begin(first, None)
    again = segmenter.step(first)
    np.testing.assert_array_equal(predictions[0].probability, again.probability)
    assert len(np.unique(again.probability)) > 2, "a prediction, not a mask"


@pytest.mark.parametrize("mode", ["one-shot", "fine-tune"])
def test_the_other_modes_start_from_a_mask(parent, clip, mode):
    segmenter = DeepLabSegmenter(parent, _config(mode=mode))
    with pytest.raises(UsageError, match="start from a mask.*zero-shot"):
        segmenter.begin(next(iter(_sequence(clip, _mask()))), None)
    with pytest.raises(InputError, match="mask"):
        list(segmenter.run(sequence_from_folder(clip)))


def test_a_frame_of_another_size_is_refused(parent, clip):
    segmenter = DeepLabSegmenter(parent, _config(mode="zero-shot"))
    segmenter.begin(next(iter(_sequence(clip, _mask()))), None)
    other = SimpleNamespace(index=1, name="00001", image=np.zeros((60, 96, 3), np.uint8))
    with pytest.raises(InputError, match="64x96.*60x96.*00001"):
        segmenter.step(other)


def test_the_memory_tells_which_object_is_meant(parent, clip):
    """Without guide and fine-tuning, the first mask is known from the memory alone."""
    config = _config(mode="one-shot", guide="none")
    segmenter = DeepLabSegmenter(parent, config)
    one, other = (list(segmenter.run(_sequence(clip, _mask(left)))) for left in (20, 58))
    assert np.abs(one[2].probability - other[2].probability).max() > 1e-3
    silent = DeepLabSegmenter(parent, _config(mode="zero-shot"))
    alone = list(silent.run(_sequence(clip, _mask())))
    assert np.abs(one[2].probability - alone[2].probability).max() > 1e-3


def test_the_target_model_tells_which_object_is_meant(parent, clip):
    """Without memory, fine-tuning and previous mask: what is solved for on the first frame."""
    config = _config(mode="one-shot", memory_frames=0)
    scores = {}
    for left in (20, 58):
        segmenter = DeepLabSegmenter(parent, config)
        first = next(iter(_sequence(clip, _mask(left))))
        assert segmenter.begin(first, _mask(left)).steps == 0 and segmenter.adaptation.seconds > 0
        network, model = segmenter._network, segmenter.target_model
        features = network.encode(segmenter._geometry.image(first.image)[None])
        scores[left] = np.array(network.guide(features, model, None))[..., 1]
    for left, other in ((20, 58), (58, 20)):
        inside = _mask(left)[2::4, 2::4] > 0
        assert scores[left][inside].mean() > scores[left][~inside].mean() + 0.3
        assert scores[left][inside].mean() > scores[other][inside].mean() + 0.3


def test_no_target_model_where_another_guide_is_asked_for(parent, clip):
    for config in (_config(mode="one-shot", guide="blend"), _config(guide="blend", steps=1)):
        segmenter = DeepLabSegmenter(parent, config)
        segmenter.begin(next(iter(_sequence(clip, _mask()))), _mask())
        assert segmenter.target_model is None


def test_the_memory_does_not_grow_with_the_sequence(parent, clip, monkeypatch):
    monkeypatch.setattr(OnlineConfig, "MEMORY_INTERVAL", 1)
    monkeypatch.setattr(OnlineConfig, "MIN_MEMORY_CONFIDENCE", 0.0)
    monkeypatch.setattr(OnlineConfig, "LOST_AREA_FRACTION", 0.0)
    monkeypatch.setattr(DeepLabSegmenter, "batch_size", 1)
    segmenter = DeepLabSegmenter(parent, _config(mode="one-shot", memory_frames=2))
    counts = []
    for _ in segmenter.run(_sequence(clip, _mask())):
        keys, _ = segmenter._objects[0].memory.contents()
        counts.append(keys.shape[1] // (4 * 6))
    assert counts == [1, 2, 3, 3, 3]
    for part, stored in zip(
        segmenter.first_memory, segmenter._objects[0].memory.annotated[0], strict=True
    ):
        np.testing.assert_array_equal(part, stored)


@pytest.mark.parametrize("mode", ["zero-shot", "one-shot"])
def test_a_flipped_frame_gives_a_symmetric_answer_to_a_symmetric_picture(parent, tmp_path, mode):
    half = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    half[20:44, 34:62] = (230, 210, 40)
    image = np.where(np.arange(SIZE[1])[None, :, None] < 48, half, half[:, ::-1])
    mask = np.zeros(SIZE, np.uint8)
    mask[20:44, 34:62] = 1
    frames = [SimpleNamespace(index=i, name=f"{i:05d}", image=image) for i in range(2)]
    for flip in (True, False):
        # A second view has a padded border that the first one has not.
        segmenter = DeepLabSegmenter(
            parent, _config(mode=mode, tta_flip=flip, zero_shot_tta_scale=0.0)
        )
        segmenter.begin(frames[0], mask)
        probability = segmenter.step(frames[1]).probability
        lopsided = np.abs(probability - probability[:, ::-1]).max()
        assert lopsided < 1e-5 if flip else lopsided > 1e-3


def test_batches_do_not_change_the_result(parent, clip, monkeypatch):
    sequence, found = _sequence(clip, _mask()), []
    for size in (1, 4):
        monkeypatch.setattr(DeepLabSegmenter, "batch_size", size)
        found.append(list(DeepLabSegmenter(parent, _config(mode="one-shot")).run(sequence)))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=1e-4)


def test_refinement_can_be_left_out(parent, clip):
    kernel = parent.refiner.get_layer("refine_change").kernel
    kernel.assign(np.ones(kernel.shape, np.float32))
    found = {}
    for refine in (True, False):
        config = _config(
            mode="zero-shot", refine=refine, zero_shot_anchor_frames=0, zero_shot_tta_scale=0.0
        )
        found[refine] = next(
            DeepLabSegmenter(parent, config).run(_sequence(clip, _mask()))
        ).probability
    kernel.assign(np.zeros(kernel.shape, np.float32))
    config = _config(mode="zero-shot", zero_shot_anchor_frames=0, zero_shot_tta_scale=0.0)
    plain = next(DeepLabSegmenter(parent, config).run(_sequence(clip, _mask())))
    assert np.abs(found[True] - found[False]).max() > 1e-3
    # What is left is the bilinear way, in two steps of two or in one of four.
    assert np.abs(found[False] - plain.probability).mean() < 1e-3


@pytest.mark.parametrize("mode", ["zero-shot", "one-shot", "fine-tune"])
def test_a_parent_without_memory_and_refinement_still_runs(small_parent, clip, mode):
    parent = small_parent(memory=False, refine=False, separable=False)
    segmenter = DeepLabSegmenter(parent, _config(mode=mode))
    predictions = list(segmenter.run(_sequence(clip, _mask())))
    assert len(predictions) == FRAMES and segmenter.first_memory is None
    assert all(p.probability.shape == SIZE for p in predictions)


def test_guided_modes_need_a_guided_parent(clip, small_parent):
    parent = small_parent(guide=False, separable=False)
    with pytest.raises(UsageError, match="guide"):
        DeepLabSegmenter(parent, _config(mode="one-shot"))
    assert list(DeepLabSegmenter(parent, _config(guide="none")).run(_sequence(clip, _mask())))
