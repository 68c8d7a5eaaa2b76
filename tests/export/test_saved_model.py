"""The export must be the package in a graph: the same numbers for frames of any size."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import tensorflow as tf
from export_cases import SIZE, loud_parent, memory_of, python_logits, scene, soft_mask

from deeplab_gygo import backend
from deeplab_gygo.backend.extras import save_signatures
from deeplab_gygo.errors import DeepLabGygoError, StorageError, UsageError
from deeplab_gygo.export import exporter
from deeplab_gygo.export.endpoints import Endpoints
from deeplab_gygo.export.exporter import export_model
from deeplab_gygo.export.graph import GraphGeometry, enlarge, shrink
from deeplab_gygo.export.parity import EXACT, ParityCheck, compare
from deeplab_gygo.export.saved_model import SavedModel
from deeplab_gygo.inference.geometry import Geometry, sigmoid
from deeplab_gygo.models.weight_file import file_hash

CARD_FILE = "assets.extra/model_card.json"
PROVENANCE = {
    "step": 7,
    "validation": {"davis16/zero-shot": 0.5},
    "terms": "for research",
    "training": {"data_root": "/somewhere/private", "sources": [{"kind": "stills"}]},
}


@pytest.fixture(scope="module")
def parent(small_parent):
    return loud_parent(small_parent)


@pytest.fixture(scope="module")
def report(parent, tmp_path_factory):
    out = tmp_path_factory.mktemp("export") / "nested" / "1"
    return export_model(parent, out, size=SIZE, card=PROVENANCE)


@pytest.fixture(scope="module")
def loaded(report):
    return tf.saved_model.load(str(report.path))


# === The export of a guided parent ===


def test_report_covers_both_endpoints_at_four_sizes(report):
    assert report.signatures == ("serving_default", "guided")
    frames = {check.frames for check in report.checks}
    assert len(frames) == 4 and len(report.checks) == 8
    assert (2, SIZE, SIZE * 4 // 3) in frames
    assert any(height % 2 and height < SIZE for _, height, _ in frames)
    assert any(height > width > SIZE for _, height, width in frames)
    assert report.difference <= report.tolerance == EXACT
    assert json.loads(json.dumps(report.to_dict()))["difference"] == report.difference


def test_layout(report):
    files = {str(p.relative_to(report.path)) for p in report.path.rglob("*") if p.is_file()}
    assert {"saved_model.pb", "variables/variables.index", CARD_FILE} <= files
    assert [p.name for p in report.path.parent.iterdir()] == ["1"]  # nothing is left beside it
    assert report.size_bytes == sum(p.stat().st_size for p in report.path.rglob("*") if p.is_file())


def test_variables_are_stored_once(report, parent):
    stored = (report.path / "variables" / "variables.data-00000-of-00001").stat().st_size
    values = sum(v.numpy().size for part in parent.parts for v in part.variables)
    assert stored < 1.5 * 4 * values  # twice would be 2; the graph of a small network adds .1


def test_card(report):
    card = json.loads((report.path / CARD_FILE).read_text())
    assert card["kind"] == "parent" and card["fine_tuned_on"] is None
    assert set(card["signatures"]) == {"serving_default", "guided"}
    assert card["threshold"] == 0.5 and card["internal_size"]["short_side"] == SIZE
    assert card["parent"]["scores"] == PROVENANCE["validation"]
    assert card["parent"]["terms"] == "for research" and card["parent"]["step"] == 7
    assert card["parent"]["data"] == [{"kind": "stills"}]
    assert "private" not in json.dumps(card)
    assert "component filter" in json.dumps(card["unlike_the_package"])
    assert "zero-shot" in card["signatures"]["serving_default"]["use"]
    assert "one-shot" in card["signatures"]["guided"]["use"]
    for name, digest in card["sha256"].items():
        assert file_hash(report.path / name) == digest
    assert "saved_model.pb" in card["sha256"]


@pytest.mark.parametrize("height, width", [(64, 80), (50, 91), (211, 127), (128, 256), (1, 5)])
def test_answers_like_the_package(parent, loaded, height, width):
    image = scene(height, width, seed=height)
    answer = loaded.signatures["serving_default"](frames=tf.constant(image[None]))
    probability, mask = answer["probability"].numpy()[0], answer["mask"].numpy()[0]
    expected = sigmoid(python_logits(parent, image))
    assert probability.shape == mask.shape == (height, width)
    assert probability.dtype == np.float32 and mask.dtype == np.uint8
    assert height < 2 or expected.std() > 0.05  # or equality would say little
    np.testing.assert_allclose(probability, expected, atol=1e-5)
    np.testing.assert_array_equal(mask, probability > 0.5)


def test_frames_of_a_batch_do_not_see_each_other(loaded):
    frames = np.stack([scene(70, 90, seed) for seed in range(3)])
    call = loaded.signatures["serving_default"]
    together = call(frames=tf.constant(frames))["probability"].numpy()
    for frame, probability in zip(frames, together, strict=True):
        alone = call(frames=tf.constant(frame[None]))["probability"].numpy()[0]
        np.testing.assert_allclose(probability, alone, atol=1e-5)


def test_guided_propagates_like_the_package(parent, loaded):
    call = loaded.signatures["guided"]
    given = soft_mask(135, 101)
    theirs = ours = given
    for index in range(3):
        image = scene(135, 101, seed=index)
        theirs = call(frames=tf.constant(image[None]), previous=tf.constant(theirs[None]))
        theirs = theirs["probability"].numpy()[0]
        ours = sigmoid(python_logits(parent, image, ours))
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    unguided = sigmoid(python_logits(parent, image))
    assert np.abs(ours - unguided).max() > 0.01  # the guide has a say


def test_guide_of_another_size_is_refused(loaded):
    with pytest.raises(tf.errors.InvalidArgumentError, match="previous must have the size"):
        loaded.signatures["guided"](
            frames=tf.zeros((1, 64, 64, 3), tf.uint8), previous=tf.zeros((1, 64, 60))
        )


@pytest.mark.slow
def test_the_shipped_architecture_is_exported(tmp_path):
    report = export_model(loud_parent(), tmp_path / "a", size=SIZE, card=PROVENANCE)
    assert report.difference <= report.tolerance == EXACT and len(report.checks) == 8


# === The export of a network with the memory of an annotated frame ===


def test_a_memory_becomes_part_of_the_export(small_parent, tmp_path):
    parent = loud_parent(small_parent)
    memory = memory_of(parent)
    report = export_model(
        parent, tmp_path / "a", size=SIZE, card={}, sequence_name="shoes", memory=memory
    )
    assert report.difference <= EXACT and len(report.checks) == 8
    call = tf.saved_model.load(str(tmp_path / "a")).signatures["serving_default"]
    frames = np.stack([scene(70, 90, seed) for seed in (1, 2)])
    found = call(frames=tf.constant(frames))["probability"].numpy()
    for frame, probability in zip(frames, found, strict=True):
        told = sigmoid(python_logits(parent, frame, memory=memory))
        np.testing.assert_allclose(probability, told, atol=1e-4)
        assert np.abs(told - sigmoid(python_logits(parent, frame))).max() > 0.01


# === The export of a fine-tuned network without guide, over another one ===


def test_fine_tuned_network_without_guide_replaces_an_export(small_parent, tmp_path):
    out = tmp_path / "model"
    out.mkdir()
    (out / "saved_model.pb").write_bytes(b"an older one")
    (out / CARD_FILE).parent.mkdir()
    (out / CARD_FILE).write_text(json.dumps({"sha256": {"saved_model.pb": "aa"}}))
    parent = loud_parent(small_parent, guide=False, memory=False, refine=False)
    before = sigmoid(python_logits(parent, scene(90, 70)))
    bias = parent.head.get_layer("logit").bias
    bias.assign(bias.numpy() + 1.0)  # what fine-tuning does, in short
    report = export_model(
        parent,
        out,
        size=SIZE,
        threshold=0.3,
        card={"adaptation": {"steps": 5}},
        sequence_name="shoes/1",
        overwrite=True,
    )
    assert report.signatures == ("serving_default",)
    loaded = tf.saved_model.load(str(out))
    answer = loaded.serving_default(tf.constant(scene(90, 70)[None]))
    probability = answer["probability"].numpy()[0]
    np.testing.assert_allclose(
        probability, sigmoid(python_logits(parent, scene(90, 70))), atol=1e-5
    )
    assert np.abs(probability - before).max() > 0.1
    np.testing.assert_array_equal(answer["mask"].numpy()[0], probability > 0.3)
    card = json.loads((out / CARD_FILE).read_text())
    assert card["kind"] == "fine-tuned" and card["fine_tuned_on"] == "shoes/1"
    assert card["adaptation"] == {"steps": 5} and "adaptation" not in card["parent"]
    assert "fine-tune" in card["signatures"]["serving_default"]["use"]
    assert "shoes/1" in card["scope"] and set(card["signatures"]) == {"serving_default"}
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


# === The geometry inside the graph ===


def test_sizes_are_those_of_the_package():
    rng = np.random.default_rng(1)
    fit = tf.function(
        lambda frames: tf.stack([tf.stack(size) for size in GraphGeometry.fit(frames, 480, 16)]),
        input_signature=[tf.TensorSpec([None, None, None], tf.uint8)],
    )
    sizes = [(1080, 1920), (961, 1281), (481, 481), (480, 640), (3, 1), (720, 483)]
    sizes += [tuple(int(side) for side in rng.integers(1, 2500, 2)) for _ in range(60)]
    for size in sizes:
        expected = Geometry.fit(size, 480, 16)
        found = fit(tf.zeros((0, *size), tf.uint8)).numpy().tolist()
        assert found == [list(s) for s in (expected.frame, expected.working, expected.padded)]


@pytest.mark.parametrize(
    "old, new",
    [
        ((96, 128), (64, 85)),
        ((128, 170), (64, 85)),  # by two: OpenCV averages integers and rounds halves up
        ((192, 255), (64, 85)),
        ((256, 256), (64, 64)),
        ((384, 384), (64, 64)),
        ((85, 113), (64, 85)),
        ((64, 120), (48, 90)),  # by 4/3: ties between gray levels occur
        ((65, 67), (64, 66)),
        ((211, 127), (106, 64)),
    ],
)
def test_image_is_shrunk_as_opencv_does(old, new):
    image = np.random.default_rng(2).integers(0, 256, (*old, 3), dtype=np.uint8)
    expected = cv2.resize(image, new[::-1], interpolation=cv2.INTER_AREA)
    geometry = GraphGeometry(tuple(tf.constant(s) for s in old), new, new)
    found = geometry.image(tf.constant(image[None])).numpy()[0]
    np.testing.assert_array_equal(found, expected)


def test_probability_is_shrunk_as_opencv_does():
    values = np.random.default_rng(2).random((211, 127), np.float32)
    for size in [(106, 64), (105, 63), (210, 126)]:
        expected = cv2.resize(values, size[::-1], interpolation=cv2.INTER_AREA)
        found, _ = shrink(tf.constant(values[None, ..., None]), size)
        np.testing.assert_allclose(found.numpy()[0, ..., 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    "old, new",
    [((24, 32), (96, 128)), ((64, 85), (211, 283)), ((64, 64), (65, 64)), ((1, 2), (7, 9))],
)
def test_logits_are_enlarged_as_opencv_does(old, new):
    values = np.random.default_rng(2).normal(0, 4, old).astype(np.float32)
    expected = cv2.resize(values, new[::-1], interpolation=cv2.INTER_LINEAR)
    found = enlarge(tf.constant(values[None, ..., None]), new).numpy()[0, ..., 0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_border_is_repeated():
    image = scene(50, 70)
    geometry = Geometry.fit((50, 70), SIZE, 16)
    found = GraphGeometry.fit(tf.constant(image[None]), SIZE, 16).image(tf.constant(image[None]))
    np.testing.assert_array_equal(found.numpy()[0], geometry.image(image))


def test_comparison_tells_right_from_wrong():
    def path(frames, previous):  # sensitive to colors, places and the guide, as a network is
        red = frames[..., 0] / np.float32(300.0)
        return red if previous is None else 0.5 * (red + previous)

    def answer(frames, previous) -> dict[str, np.ndarray]:
        probability = path(frames, previous)
        return {"probability": probability, "mask": (probability > 0.5).astype(np.uint8)}

    def inverted(inputs):
        right = answer(inputs["frames"], inputs["previous"])
        return {**right, "mask": 1 - right["mask"]}

    def shorter(inputs):
        return {key: value[:, 1:] for key, value in answer(inputs["frames"], None).items()}

    def failures(name, endpoint):
        checks = compare({name: endpoint}, path, size=32, threshold=0.5, tolerance=EXACT)
        assert len(checks) == 4
        return [check for check in checks if not check.holds(EXACT)]

    assert not failures("serving_default", lambda i: answer(i["frames"], None))
    assert not failures("guided", lambda i: answer(i["frames"], i["previous"]))
    assert len(failures("guided", lambda i: answer(i["frames"], None))) == 4
    assert len(failures("serving_default", lambda i: answer(i["frames"][..., ::-1], None))) == 4
    assert len(failures("guided", inverted)) == 4
    assert len(failures("serving_default", shorter)) == 4


def test_mask_may_differ_only_near_the_threshold():
    def endpoint_with(probability):
        def endpoint(inputs):
            values = np.full(inputs["frames"].shape[:3], probability, np.float32)
            return {"probability": values, "mask": np.ones(values.shape, np.uint8)}

        return endpoint

    def path(frames, previous):
        return np.full(frames.shape[:3], 0.5, np.float32)

    near = compare({"a": endpoint_with(0.50001)}, path, size=32, threshold=0.5, tolerance=EXACT)
    assert all(check.holds(EXACT) and check.mask_share == 1.0 for check in near)
    far = compare({"a": endpoint_with(0.51)}, path, size=32, threshold=0.5, tolerance=EXACT)
    assert not any(check.holds(EXACT) for check in far)


def test_check_of_nan_does_not_hold():
    assert not ParityCheck("guided", (1, 2, 2), float("nan"), 0.0, 0).holds(EXACT)


@pytest.fixture
def quick(monkeypatch):
    """Replaces writing and comparing, which take seconds, by a stub; returns its result."""
    checks = [ParityCheck("serving_default", (1, 9, 9), 0.0, 0.0, 0)]

    def write(self, endpoints, folder):
        (folder / "saved_model.pb").write_bytes(b"new")

    traced = Endpoints(tf.Module(), {"serving_default": None})
    monkeypatch.setattr(Endpoints, "of", lambda *args: traced)
    monkeypatch.setattr(SavedModel, "write", write)
    monkeypatch.setattr(SavedModel, "load", lambda self, folder, names: {})
    monkeypatch.setattr(exporter, "compare", lambda *args, **options: checks)
    return checks


def test_failed_comparison_leaves_nothing_new(parent, tmp_path, quick):
    old = tmp_path / "b"
    export_model(parent, old, card={})
    (old / "saved_model.pb").write_bytes(b"old")
    quick.append(ParityCheck("guided", (1, 65, 43), 0.02, 0.01, 3))
    with pytest.raises(DeepLabGygoError, match="guided on 1x65x43 frames.* 0.02, and 1.00%"):
        export_model(parent, tmp_path / "a", card={})
    assert [path.name for path in tmp_path.iterdir()] == ["b"]

    with pytest.raises(DeepLabGygoError):
        export_model(parent, old, card={}, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert (old / "saved_model.pb").read_bytes() == b"old"


def test_interrupt_leaves_nothing(parent, tmp_path, quick, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(exporter, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export_model(parent, tmp_path / "a", card={})
    assert not list(tmp_path.iterdir())


def test_export_is_replaced_only_when_asked_for(parent, tmp_path, quick):
    out = tmp_path / "a"
    export_model(parent, out, card={})
    with pytest.raises(UsageError, match="an earlier result"):
        export_model(parent, out, card={})
    (out / "saved_model.pb").write_bytes(b"old")
    export_model(parent, out, card={}, overwrite=True)
    assert (out / "saved_model.pb").read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_files_that_the_card_does_not_list_are_never_removed(parent, tmp_path, quick):
    export_model(parent, tmp_path / "a", card={})
    (tmp_path / "a" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="changed since: notes.txt"):
        export_model(parent, tmp_path / "a", card={}, overwrite=True)
    # The export of another program has no card of this one.
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(UsageError, match="changed since: saved_model.pb"):
        export_model(parent, tmp_path / "b", card={}, overwrite=True)
    assert (tmp_path / "a" / "notes.txt").read_text() == "mine"
    assert (tmp_path / "b" / "saved_model.pb").read_bytes() == b"other"


@pytest.mark.parametrize("earlier", [False, True])
def test_what_another_puts_there_meanwhile_is_kept(parent, tmp_path, quick, monkeypatch, earlier):
    out, checks = tmp_path / "X", list(quick)
    if earlier:
        export_model(parent, out, card={})

    def compare(*args, **options):
        out.mkdir(exist_ok=True)
        (out / "thesis.tex").write_text("years")
        return checks

    monkeypatch.setattr(exporter, "compare", compare)
    with pytest.raises(StorageError, match=r"thesis\.tex.*X\.new"):
        export_model(parent, out, card={}, overwrite=True)
    assert (out / "thesis.tex").read_text() == "years"
    assert (tmp_path / "X.new" / "saved_model.pb").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["X", "X.new"]


def test_empty_folder_is_taken_and_other_folders_are_never_replaced(parent, tmp_path, quick):
    empty = tmp_path / "empty"
    empty.mkdir()
    export_model(parent, empty, card={})
    assert (empty / "saved_model.pb").exists()

    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.tex").write_text("precious")
    for place in (full, full / "thesis.tex"):
        with pytest.raises(UsageError, match="other files in it|a file"):
            export_model(parent, place, card={}, overwrite=True)
    assert (full / "thesis.tex").read_text() == "precious"


def test_place_that_cannot_be_written(parent, tmp_path, quick):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="must be writable"):
        export_model(parent, tmp_path / "file" / "a", card={})


def test_disk_that_fills_up(parent, tmp_path, quick, monkeypatch):
    def save(module, folder, signatures):
        (tmp_path / folder / "saved_model.pb").write_bytes(b"half")
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    def write(self, endpoints, folder):
        save_signatures(tf.Module(), folder, {})

    monkeypatch.setattr(tf.saved_model, "save", save)
    monkeypatch.setattr(SavedModel, "write", write)
    with pytest.raises(StorageError, match="No space left"):
        export_model(parent, tmp_path / "a", card={})
    assert not list(tmp_path.iterdir())


def test_other_backend_is_refused(parent, tmp_path, monkeypatch):
    monkeypatch.setattr(backend, "name", lambda: "jax")
    with pytest.raises(UsageError, match="KERAS_BACKEND=tensorflow"):
        export_model(parent, tmp_path / "a", card={})


@pytest.mark.parametrize("wrong", [{"size": 0}, {"threshold": 1.5}, {"threshold": 0.0}])
def test_arguments_out_of_range(parent, tmp_path, wrong):
    with pytest.raises(UsageError):
        export_model(parent, tmp_path / "a", card={}, **wrong)
    assert not list(tmp_path.iterdir())
