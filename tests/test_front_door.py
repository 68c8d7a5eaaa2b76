"""The Python front door: `import deeplab_gygo`."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import deeplab_gygo
from deeplab_gygo import backend
from deeplab_gygo.errors import InputError, UsageError, WeightsError
from deeplab_gygo.inference.config import OnlineConfig

FAST = {"mode": "fine-tune", "steps": 2, "num_views": 2, "size": 64}


@pytest.fixture(scope="module")
def model(tiny_parent):
    return deeplab_gygo.load(tiny_parent)


@pytest.fixture
def mask(squares) -> np.ndarray:
    return squares.truth(0)


@pytest.fixture
def frames(squares) -> list[np.ndarray]:
    return [squares.frame(index).image for index in range(5)]


def _same(one, other, tolerance: float = 0.0) -> None:
    one, other = list(one), list(other)
    assert [p.name for p in one] == [p.name for p in other]
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a.probability, b.probability, atol=tolerance)
        assert np.mean(a.mask != b.mask) <= tolerance


def test_importing_is_cheap_and_names_are_listed():
    code = (
        "import sys, deeplab_gygo; assert 'segment' in dir(deeplab_gygo);"
        "deeplab_gygo.read_mask, deeplab_gygo.open_video, deeplab_gygo.evaluate;"
        "assert not {'keras', 'tensorflow', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(deeplab_gygo.__all__) == set(dir(deeplab_gygo))
    for name in deeplab_gygo.__all__:
        assert getattr(deeplab_gygo, name) is not None
    with pytest.raises(AttributeError, match="sgment"):
        _ = deeplab_gygo.sgment


@pytest.mark.parametrize("options", [FAST, {"mode": "one-shot"}], ids=["fine-tune", "one-shot"])
def test_every_kind_of_source_gives_the_same_masks(model, frames, mask, tmp_path, options):
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index:05d}.png")
    expected = list(model.segment(frames, mask, **options))
    assert [p.index for p in expected] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(expected[0].mask, mask)
    _same(expected, model.segment(np.stack(frames), mask, **options))
    # A stream is encoded frame by frame, which rounds otherwise than a batch.
    _same(expected, model.segment((frame for frame in frames), {0: mask}, **options), 1e-3)
    _same(expected, model.segment(tmp_path, mask, **options))
    Image.fromarray(mask * 255).save(tmp_path.with_name("first.png"))
    _same(expected, model.segment(str(tmp_path), str(tmp_path.with_name("first.png")), **options))


def test_without_a_mask_the_salient_object_is_segmented(model, frames):
    expected = list(model.segment(frames, zero_shot_anchor_frames=0))
    assert len(expected) == 5 and expected[0].probability.dtype == np.float32
    # A stream cannot be read twice, so that its frames are segmented independently.
    _same(expected, model.segment(iter(frames)), 1e-3)


def test_a_stream_is_segmented_as_it_arrives(model, frames, mask):
    read = []

    def camera():
        for index, frame in enumerate(frames):
            read.append(index)
            yield frame

    for prediction in model.segment(camera(), mask, mode="one-shot"):
        assert max(read) == prediction.index


def test_clips_are_independent_and_the_parent_is_restored(model, frames, mask):
    weights = [np.array(v.numpy()) for v in model._parent.head.variables]
    first = list(model.segment(frames, mask, **FAST))
    list(model.segment(frames[::-1], mask, **FAST))
    _same(first, model.segment(frames, mask, **FAST))
    now = [np.array(v.numpy()) for v in model._parent.head.variables]
    for before, after in zip(weights, now, strict=True):
        np.testing.assert_array_equal(before, after)


def test_one_clip_at_a_time_and_an_abandoned_one_frees_the_model(model, frames, mask):
    running = model.segment(frames, mask, mode="one-shot")
    next(running)
    with pytest.raises(UsageError, match="one clip at a time"):
        next(model.segment(frames, mask, mode="one-shot"))
    assert len(list(running)) == 4
    for _ in model.segment(frames, mask, mode="one-shot"):
        break
    assert len(list(model.segment(frames, mask, mode="one-shot"))) == 5


def test_a_session_propagates_its_annotation(model, frames, mask, squares):
    with model.session(frames, **FAST) as session:
        with pytest.raises(UsageError, match="annotate"):
            session.propagate()
        session.annotate(1, squares.truth(1))
        session.annotate(1, squares.truth(1, 58))
        predictions = list(session.propagate())
        assert [p.index for p in predictions] == [0, 1, 2, 3, 4]
        np.testing.assert_array_equal(predictions[1].mask, squares.truth(1, 58))
        assert session.adaptation.steps == 2
        assert not list(session.propagate())  # nothing changed
        for prediction in predictions:
            np.testing.assert_array_equal(session.result(prediction.index).mask, prediction.mask)
    assert list(model.segment(frames, mask, mode="one-shot"))


def test_a_correction_changes_the_frames_up_to_the_next_annotated_ones(model, frames, squares):
    with model.session(frames, mode="one-shot") as session:
        session.annotate(0, squares.truth(0))
        session.annotate(3, squares.truth(3))
        assert [p.index for p in session.propagate()] == [0, 1, 2, 3, 4]
        before = [session.result(index).mask for index in range(5)]
        session.annotate(4, squares.truth(4, 58))
        assert [p.index for p in session.propagate()] == [4]
        session.annotate(1, squares.truth(1))
        assert [p.index for p in session.propagate()] == [1, 2]
        np.testing.assert_array_equal(session.result(1).mask, squares.truth(1))
        np.testing.assert_array_equal(session.result(4).mask, squares.truth(4, 58))
        np.testing.assert_array_equal(session.result(3).mask, before[3])
        session.annotate(1, None)
        assert [p.index for p in session.propagate()] == [1, 2]
        assert session.annotated == [0, 3, 4]


def test_a_session_propagated_anew_gives_what_segment_gives(model, frames, squares):
    masks = {0: squares.truth(0), 3: squares.truth(3, 58)}
    with model.session(frames, **FAST) as session:
        session.annotate(0, masks[0])
        list(session.propagate())
        session.annotate(3, masks[3])
        list(session.propagate())
        list(session.propagate(anew=True))
        for expected in model.segment(frames, masks, **FAST):
            np.testing.assert_array_equal(session.result(expected.index).mask, expected.mask)


def test_fine_tuning_goes_on_where_it_ended(model, frames, squares, monkeypatch):
    with model.session(frames, **FAST) as session:
        session.annotate(0, squares.truth(0))
        list(session.propagate())
        known = session._folder.known.initial_state()
        monkeypatch.setattr(OnlineConfig, "CORRECTION_STEPS", 0)
        session.annotate(2, squares.truth(2))
        list(session.propagate())
        assert session.adaptation.steps == 0
        gone_on = session._folder.known.initial_state()
    weights = [name for name in known if "/weights/" in name]
    assert weights
    for name in weights:
        np.testing.assert_allclose(gone_on[name], known[name], atol=1e-5)


def test_a_propagation_that_was_left_is_done_whole_the_next_time(model, frames, squares):
    with model.session(frames, mode="one-shot") as session:
        session.annotate(0, squares.truth(0))
        next(session.propagate())
        with pytest.raises(UsageError, match="frame 3"):
            session.result(3)
        assert len(list(session.propagate())) == 5
        session.annotate(2, squares.truth(2))
        next(session.propagate())
        assert [p.index for p in session.propagate()] == [2, 1, 3, 4]


def test_masks_of_several_frames_are_propagated_both_ways(model, frames, squares):
    given = {1: squares.truth(1), 3: squares.truth(3)}
    predictions = list(model.segment(frames, given, mode="one-shot"))
    assert [p.index for p in predictions] == [0, 1, 2, 3, 4]
    for index, mask in given.items():
        np.testing.assert_array_equal(predictions[index].mask, mask)
    with pytest.raises(UsageError, match="mask of its first frame"):
        next(model.segment(iter(frames), given, mode="one-shot"))


def test_progress_is_reported(model, frames, mask):
    seen = []
    progress = lambda step, steps, loss: seen.append((step, steps))  # noqa: E731
    list(model.segment(frames, mask, progress=progress, **FAST))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"preset": "turbo"}, UsageError, "fast, balanced, best"),
        ({"mode": "two-shot"}, UsageError, "fine-tune, one-shot, zero-shot"),
        ({"steps": -1}, UsageError, "steps is in 0..1000000"),
        ({"views": 3}, UsageError, "Write num_views"),
        ({"common_fate": True}, UsageError, "delete the line"),
        ({"masks": np.zeros((64, 96), np.uint8)}, InputError, "must show the object"),
        ({"masks": np.ones((64, 96), np.uint8)}, InputError, "leave some background"),
        ({"masks": np.eye(20, dtype=np.uint8)}, InputError, "size of the frame"),
        ({"masks": np.zeros((64, 96, 3), np.float32)}, InputError, "bool or uint8"),
        ({"masks": "absent.png"}, InputError, "no such file"),
        ({"masks": {9: np.ones((64, 96), np.uint8)}}, UsageError, "frames 0 to 4"),
        ({"source": "absent.mp4"}, InputError, "absent.mp4"),
        ({"source": 5}, UsageError, "A source is"),
        ({"source": []}, InputError, "must have frames"),
        ({"source": [np.zeros((64, 96), np.uint8)]}, InputError, "uint8 .H, W, 3."),
        ({"source": [np.zeros((64, 96, 3), np.float32)]}, InputError, "uint8 .H, W, 3."),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_input_is_refused_before_anything_runs(model, frames, mask, change, error, text):
    arguments = {"source": frames, "masks": mask, **change}
    with pytest.raises(error, match=text):
        model.segment(**arguments)  # not iterated


def test_a_session_needs_frames_and_a_mode_that_can_be_corrected(model, frames):
    with pytest.raises(UsageError, match="read again"):
        model.session(iter(frames))
    with pytest.raises(UsageError, match="zero-shot"):
        model.session(frames, mode="zero-shot")


def test_bad_weights_precision_and_engine_are_refused(tmp_path, tiny_parent):
    with pytest.raises(WeightsError, match="no such file"):
        deeplab_gygo.load(tmp_path / "absent.npz")
    with pytest.raises(UsageError, match="float32, bfloat16, float16"):
        deeplab_gygo.load(tiny_parent, precision="double")
    with pytest.raises(UsageError, match="keras, onnxruntime, openvino"):
        deeplab_gygo.load(tiny_parent, engine="torch")


def test_nothing_leaks_into_a_program_that_has_other_keras_code(tiny_parent, frames, mask):
    """Policy, random state, OpenCV threads and signal handlers stay those of the caller."""
    import signal

    import cv2
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        caller = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
        state, threads = np.random.get_state()[1].copy(), cv2.getNumThreads()
        handlers = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
        model = deeplab_gygo.load(tiny_parent, precision="float32")
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
        for prediction in model.segment(frames, mask, **FAST):
            assert keras.config.dtype_policy().name == "mixed_bfloat16"
            assert prediction.probability.dtype == np.float32
            layer = keras.layers.Dense(3)
            layer.build((None, 2))
            assert layer.compute_dtype == "bfloat16"
        caller.compile("sgd", "mse")
        caller.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0)
        assert backend.to_numpy(caller(np.zeros((1, 4)))).shape == (1, 2)
        np.testing.assert_array_equal(np.random.get_state()[1], state)
        assert cv2.getNumThreads() == threads
        assert {s: signal.getsignal(s) for s in handlers} == handlers
    finally:
        keras.config.set_dtype_policy(before)
