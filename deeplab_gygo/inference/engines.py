"""The encoder in another runtime: OpenVINO or onnxruntime, for inference on a CPU.

Only the encoder moves: its weights do not change with a clip, and it takes most of the time of a
frame. It is converted once for its weights and kept in the user's cache folder. The head, which
fine-tuning adapts, stays in Keras.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.backend.extras import import_extra, save_signatures, trace_on_frames, versions_of
from deeplab_gygo.errors import InputError, UsageError
from deeplab_gygo.inference.config import Engine
from deeplab_gygo.inference.network import EncoderFn
from deeplab_gygo.io.atomic import cache_folder, replacing_folder, storage_error
from deeplab_gygo.io.locking import random_side_path
from deeplab_gygo.io.reading import check_regular, read_json
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.weight_file import file_hash, named_variables

logger = logging.getLogger(__name__)

PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
"""OpenVINO's property INFERENCE_PRECISION_HINT by precision; `auto` leaves the choice to it, which
is bfloat16 on processors that multiply in it."""

OPSET = 17
"""Of ONNX; the first with all operators that the encoders need."""

_HASHES = "files.json"  # SHA-256 of every file of a converted encoder; written last
_MAX_HASHES_BYTES = 1 << 16

_SIZES = 8  # Compiled at a time: two TTA views in two orientations, and some to spare.


def encoder_in(parent: DeepLabV3Plus, engine: Engine, precision: str) -> EncoderFn | None:
    """Converts the encoder of a parent for another runtime.

    Args:
        parent: Network; the current weights of its encoder are converted; later changes are not.
        engine: Runtime; `keras` changes nothing.
        precision: `auto`, `float32`, `bfloat16` or `float16`. onnxruntime computes in float32.

    Returns:
        The encoder; None for `keras`.

    Raises:
        UsageError: Keras does not run on TensorFlow, which the conversion starts from, or the
            engine does not know the precision.
        DependencyError: A package is missing.
        StorageError: The cache folder cannot be written.
    """
    if engine == "keras":
        return None
    if backend.name() != "tensorflow":
        raise UsageError(
            f"The engine {engine} takes its encoder from the TensorFlow backend",
            met=backend.name(),
            where="--engine",
            remedy="Run the command again with KERAS_BACKEND=tensorflow, or with --engine keras",
        )
    if engine == "openvino":
        return _OpenVino(parent, precision)
    if precision not in ("auto", "float32"):
        raise UsageError(
            "The engine onnxruntime computes in float32",
            met=precision,
            where="--precision",
            remedy="Leave --precision out, or give --engine openvino",
        )
    return _OnnxRuntime(parent)


class _OpenVino:
    """Encodes frame by frame with networks that are compiled for one size each."""

    def __init__(self, parent: DeepLabV3Plus, precision: str):
        openvino = import_extra("openvino", "openvino", purpose="--engine openvino")
        folder = _converted(parent, "openvino", versions_of("openvino"), self._write)
        self._model = folder / "encoder.xml"
        self._properties = {"PERFORMANCE_HINT": "LATENCY", "CACHE_DIR": str(folder / "compiled")}
        if precision in PRECISION_HINTS:
            self._properties["INFERENCE_PRECISION_HINT"] = PRECISION_HINTS[precision]
        self._core = openvino.Core()
        self._compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    @staticmethod
    def _write(parent: DeepLabV3Plus, folder: Path) -> None:
        openvino = import_extra("openvino", "openvino", purpose="--engine openvino")
        with TemporaryDirectory(dir=folder) as beside:
            module, signature = _traced(parent)
            save_signatures(module, Path(beside), {"serving_default": signature})
            model = openvino.convert_model(beside)
            openvino.save_model(model, str(folder / "encoder.xml"), compress_to_fp16=False)

    def __call__(self, images: np.ndarray) -> dict[str, Any]:
        compiled = self._for_size(images.shape[1:])
        parts: dict[str, list[np.ndarray]] = {}
        for image in images:
            for output, value in compiled(image[None]).items():
                # The runtime writes the next answer over this one.
                parts.setdefault(output.get_any_name(), []).append(np.array(value))
        return {n: ops.convert_to_tensor(np.concatenate(part)) for n, part in parts.items()}

    @property
    def precision(self) -> str:
        """Precision that the network of the last size computes in; `auto` before the first one."""
        if not self._compiled:
            return "auto"
        last = self._compiled[next(reversed(self._compiled))]
        kind = last.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return {hint: name for name, hint in PRECISION_HINTS.items()}.get(kind, kind)

    def _for_size(self, size: tuple[int, ...]) -> Any:
        """Compiles for one size: about twice as fast as a network for all sizes."""
        if size not in self._compiled:
            model = self._core.read_model(str(self._model))
            model.reshape([1, *size])
            self._compiled[size] = self._core.compile_model(model, "CPU", self._properties)
            if len(self._compiled) > _SIZES:
                self._compiled.popitem(last=False)
        self._compiled.move_to_end(size)
        return self._compiled[size]


class _OnnxRuntime:
    """Encodes windows of frames with one session for all sizes."""

    def __init__(self, parent: DeepLabV3Plus):
        for package in ("onnx", "tf2onnx", "onnxruntime"):
            import_extra(package, "onnx", purpose="--engine onnxruntime")
        runtime = import_extra("onnxruntime", "onnx", purpose="--engine onnxruntime")
        versions = versions_of("onnx", "tf2onnx", "onnxruntime")
        folder = _converted(parent, "onnxruntime", versions, self._write)
        self._session = runtime.InferenceSession(
            str(folder / "encoder.onnx"), providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    @staticmethod
    def _write(parent: DeepLabV3Plus, folder: Path) -> None:
        tf2onnx = import_extra("tf2onnx", "onnx", purpose="--engine onnxruntime")
        module, signature = _traced(parent)
        specs = signature.structured_input_signature
        model, _ = tf2onnx.convert.from_function(
            module.call, input_signature=[*specs[0], *specs[1].values()], opset=OPSET
        )
        (folder / "encoder.onnx").write_bytes(model.SerializeToString())

    def __call__(self, images: np.ndarray) -> dict[str, Any]:
        answers = self._session.run(self._names, {"frames": images})
        return dict(zip(self._names, map(ops.convert_to_tensor, answers), strict=True))


def _traced(parent: DeepLabV3Plus) -> tuple[Any, Any]:
    encoder = parent.build_encoder()
    return trace_on_frames(partial(encoder, training=False), encoder.variables)


def _converted(
    parent: DeepLabV3Plus,
    engine: str,
    versions: dict[str, str],
    write: Callable[[DeepLabV3Plus, Path], None],
) -> Path:
    """Returns the folder of a converted encoder; converts where it is not there yet."""
    versions = {**versions, "tensorflow": import_extra("tensorflow", "cpu").__version__}
    digest = hashlib.sha256(repr([engine, versions, parent.config]).encode())
    for name, variable in sorted(named_variables(parent.build_encoder()).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(backend.to_numpy(variable.value)).tobytes())
    folder = cache_folder() / "encoders" / f"{engine}-{digest.hexdigest()[:16]}"
    if _is_whole(folder):
        return folder
    remedy = "Free some space, or name another folder with DEEPLAB_GYGO_CACHE"
    try:
        _discard(folder)
    except OSError as error:
        raise storage_error(folder, error, remedy) from error
    with replacing_folder(folder, keep_existing=True, remedy=remedy) as side:
        write(parent, side)
        hashes = {path.name: file_hash(path) for path in side.iterdir()}
        (side / _HASHES).write_text(json.dumps(hashes), encoding="utf-8")
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether every file of a converted encoder is as it was written."""
    try:
        hashes = read_json(folder / _HASHES, _MAX_HASHES_BYTES)
        return bool(hashes) and all(
            check_regular(folder / name) and file_hash(folder / name) == expected
            for name, expected in hashes.items()
        )
    except (InputError, OSError, AttributeError, TypeError):  # absent, cut, or of another form
        return False


def _discard(folder: Path) -> None:
    """Removes a damaged encoder, or one of a version that kept no hashes."""
    if not os.path.lexists(folder):
        return
    logger.info("%s is damaged, and made anew", folder)
    aside = random_side_path(folder, "partial")  # removed by the next process, if not by this one
    os.replace(folder, aside)  # in one step: another process never finds the half of it
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink()
