"""ONNX, OpenVINO and LiteRT must answer as the package does; what cannot be exported is refused."""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from types import SimpleNamespace
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from export_cases import (
    SIZE,
    loud_parent,
    memory_of,
    python_logits,
    scene,
    soft_mask,
    target_model_of,
)

from deeplab_gygo.cli.export import MARKERS
from deeplab_gygo.errors import DeepLabGygoError, DependencyError, UsageError
from deeplab_gygo.export.endpoints import Endpoints
from deeplab_gygo.export.exporter import FORMATS, export_model
from deeplab_gygo.export.parity import EXACT
from deeplab_gygo.inference.geometry import sigmoid
from deeplab_gygo.models.weight_file import file_hash

NEEDS = {
    "onnx": ("onnx", "tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert",),
}
FILES = {
    "onnx": {"serving_default.onnx", "guided.onnx"},
    "openvino": {f"{n}.{e}" for n in ("serving_default", "guided") for e in ("xml", "bin")},
    "litert": {"model.tflite"},
}


def run_onnx(folder, name, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def run_openvino(folder, name, inputs):
    import openvino

    properties = {"INFERENCE_PRECISION_HINT": "f32"}
    call = openvino.Core().compile_model(folder / f"{name}.xml", "CPU", properties)
    answers = call(inputs)
    return {key: np.array(answers[key]) for key in ("probability", "mask")}


def run_litert(folder, name, inputs):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(folder / "model.tflite")).get_signature_runner(name)(**inputs)


RUN = {"onnx": run_onnx, "openvino": run_openvino, "litert": run_litert}


@pytest.fixture(scope="module")
def parent(small_parent):
    return loud_parent(small_parent)


@pytest.fixture(scope="module")
def memory(parent):
    return memory_of(parent)


@pytest.fixture(scope="module")
def target_model(parent):
    return target_model_of(parent)


@pytest.fixture(scope="module", params=sorted(NEEDS))
def report(request, parent, memory, target_model, tmp_path_factory):
    """The export of a network with all that fine-tuning leaves of an annotated frame."""
    if not all(find_spec(package) for package in NEEDS[request.param]):
        pytest.skip(f"the extra {request.param} is not installed")
    if request.param == "onnx":
        # tf2onnx copies the graph before each of a hundred passes, in case that one fails.
        uncopied = SimpleNamespace(deepcopy=lambda graph: graph)
        with mock.patch("tf2onnx.optimizer.copy", uncopied):
            return _exported(request.param, parent, memory, target_model, tmp_path_factory)
    return _exported(request.param, parent, memory, target_model, tmp_path_factory)


def _exported(kind, parent, memory, target_model, tmp_path_factory):
    return export_model(
        parent,
        tmp_path_factory.mktemp(kind) / "a",
        kind=kind,
        size=SIZE,
        threshold=0.4,
        card={"adaptation": {"steps": 5}},
        sequence_name="shoes",
        memory=memory,
        target_model=target_model,
    )


# === What is exported ===


def test_export_is_proved_and_described(report):
    assert report.signatures == ("serving_default", "guided") and len(report.checks) == 8
    assert report.difference <= report.tolerance == EXACT
    found = {str(p.relative_to(report.path)) for p in report.path.rglob("*") if p.is_file()}
    assert found == FILES[report.kind] | {"model_card.json"}
    assert os.listdir(report.path.parent) == ["a"]
    card = json.loads((report.path / "model_card.json").read_text())
    assert card["file_format"] == report.kind == json.loads(json.dumps(report.to_dict()))["format"]
    assert card["kind"] == "fine-tuned" and set(card["signatures"]) == {"serving_default", "guided"}
    assert set(card["sha256"]) == FILES[report.kind]
    for name, digest in card["sha256"].items():
        assert file_hash(report.path / name) == digest
    assert {package.replace("_", "-") for package in NEEDS[report.kind]} <= set(card["versions"])


@pytest.fixture(scope="module")
def python(parent, memory, target_model):
    """What the package says of a frame, and of the mask before it."""

    def logits(frame, previous=None, model=target_model):
        return python_logits(parent, frame, previous, memory=memory, target_model=model)

    return lambda *told, **changes: sigmoid(logits(*told, **changes))


def test_frames_of_any_number_and_size_are_answered_like_the_package(report, python):
    for height, width in ((50, 91), (131, 97)):
        frames = np.stack([scene(height, width, seed) for seed in (1, 2)])
        answer = RUN[report.kind](report.path, "serving_default", {"frames": frames})
        expected = np.stack([python(frame) for frame in frames])
        assert answer["probability"].dtype == np.float32 and answer["mask"].dtype == np.uint8
        assert expected.std() > 0.05  # or equality would say little
        assert np.abs(expected[0] - python(frames[0], model=None)).max() > 0.01
        np.testing.assert_allclose(answer["probability"], expected, atol=1e-4)
        np.testing.assert_array_equal(answer["mask"], answer["probability"] > np.float32(0.4))


def test_previous_mask_is_heard_like_in_the_package(report, python):
    frame, previous = scene(70, 90, seed=3), soft_mask(70, 90)
    inputs = {"frames": frame[None], "previous": previous[None]}
    found = RUN[report.kind](report.path, "guided", inputs)["probability"][0]
    expected = python(frame, previous)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.abs(expected - python(frame)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_the_shipped_architecture_is_exported(kind, tmp_path):
    if not all(find_spec(package) for package in NEEDS[kind]):
        pytest.skip(f"the extra {kind} is not installed")
    parent = loud_parent()
    given = {"memory": memory_of(parent), "target_model": target_model_of(parent)}
    report = export_model(parent, tmp_path / "a", kind=kind, size=SIZE, card={}, **given)
    assert report.difference <= report.tolerance == EXACT and len(report.checks) == 8


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_command_exports_what_it_fine_tuned(kind, command, tmp_path, make_clip, tiny_parent):
    if not all(find_spec(package) for package in NEEDS[kind]):
        pytest.skip(f"the extra {kind} is not installed")
    make_clip(tmp_path / "clip", 2)
    result = command(
        "export", tmp_path / "clip", "--mask", tmp_path / "clip-masks" / "00000.png",
        "--format", kind, "--out", tmp_path / "model", "--weights", tiny_parent,
        "--size", 64, "--steps", 2, "-q",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["format"] == kind and report["difference"] <= report["tolerance"]
    card = json.loads((tmp_path / "model" / "model_card.json").read_text())
    assert card["adaptation"]["steps"] == 2 and card["kind"] == "fine-tuned"


# === What is refused ===


@pytest.fixture
def instant(monkeypatch):
    """Replaces tracing, which takes seconds."""
    traced = Endpoints(tf.Module(), {"serving_default": None})
    monkeypatch.setattr(Endpoints, "of", lambda *args: traced)


def test_command_knows_the_formats():
    assert {name: target.marker for name, target in FORMATS.items()} == MARKERS


@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_missing_package_names_its_extra(kind, parent, tmp_path, monkeypatch):
    def absent(package):
        raise ImportError(package)

    monkeypatch.setattr("deeplab_gygo.backend.extras.import_module", absent)
    with pytest.raises(DependencyError, match=rf"deeplab-gygo\[{kind}\]"):
        export_model(parent, tmp_path / "a", kind=kind, card={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_networks_in_16_bits_are_refused(kind, parent, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(UsageError, match="--precision float32"):
            export_model(parent, tmp_path / "a", kind=kind, card={})
    finally:
        keras.config.set_dtype_policy("float32")


def test_unknown_format_is_refused(parent, tmp_path):
    with pytest.raises(UsageError, match="one of saved_model, onnx, openvino, litert"):
        export_model(parent, tmp_path / "a", kind="caffe", card={})


@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_what_a_converter_refuses_leaves_nothing(kind, parent, tmp_path, monkeypatch, instant):
    def write(self, traced, folder):
        (folder / "half").write_bytes(b"half")
        raise RuntimeError("no such operation: Foo\nand a long trace")

    monkeypatch.setattr(type(FORMATS[kind]), "require", lambda self: {})
    monkeypatch.setattr(type(FORMATS[kind]), "write", write)
    with pytest.raises(DeepLabGygoError, match=f"converter to {kind} .*no such operation: Foo "):
        export_model(parent, tmp_path / "a", kind=kind, card={})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", sorted(NEEDS))
def test_wrong_answers_leave_nothing(kind, parent, tmp_path, monkeypatch, instant):
    def load(self, folder, names):
        def endpoint(inputs):
            shape = inputs["frames"].shape[:3]
            return {"probability": np.ones(shape, np.float32), "mask": np.ones(shape, np.uint8)}

        return dict.fromkeys(names, endpoint)

    monkeypatch.setattr(type(FORMATS[kind]), "require", lambda self: {})
    monkeypatch.setattr(type(FORMATS[kind]), "write", lambda self, traced, folder: None)
    monkeypatch.setattr(type(FORMATS[kind]), "load", load)
    with pytest.raises(DeepLabGygoError, match="answers as the Python path does"):
        export_model(parent, tmp_path / "a", kind=kind, size=SIZE, card={})
    assert not list(tmp_path.iterdir())


def test_export_of_another_format_is_not_replaced(parent, tmp_path, instant, monkeypatch):
    (tmp_path / "saved_model.pb").write_bytes(b"precious")
    monkeypatch.setattr(type(FORMATS["onnx"]), "require", lambda self: {})
    with pytest.raises(UsageError, match="other files in it"):
        export_model(parent, tmp_path, kind="onnx", card={}, overwrite=True)
    assert (tmp_path / "saved_model.pb").read_bytes() == b"precious"
