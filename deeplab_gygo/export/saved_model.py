"""Export as a TensorFlow SavedModel: frames of any size in, probabilities and masks out.

The folder is a SavedModel itself, so that `tf.saved_model.load(folder)` works as it is:
`saved_model.pb`, `variables/` and `assets.extra/model_card.json`. TensorFlow Serving wants a
version number below the model's name: export to `NAME/1` for it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deeplab_gygo import backend
from deeplab_gygo.errors import DeepLabGygoError, StorageError, UsageError
from deeplab_gygo.export.card import model_card
from deeplab_gygo.export.parity import (
    Answer,
    ParityCheck,
    Pictures,
    PythonPath,
    compare,
    tolerance,
)
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.weights import file_hash, variables_by_name

logger = logging.getLogger(__name__)

CARD_FILE = "assets.extra/model_card.json"
"""Path of the card inside an export; `assets.extra` is where servers expect a user's own files."""


@dataclass(frozen=True)
class ExportReport:
    """What was exported, and how well it agrees with the Python path.

    Attributes:
        path: Folder of the export.
        signatures: Names of its endpoints.
        tolerance: Largest difference of probabilities that was let through.
        checks: Every comparison.
        size_bytes: Size of all files.
        seconds: Wall time, comparison included.
    """

    path: Path
    signatures: tuple[str, ...]
    tolerance: float
    checks: tuple[ParityCheck, ...] = field(repr=False)
    size_bytes: int
    seconds: float

    @property
    def difference(self) -> float:
        """Largest difference of a probability over all comparisons."""
        return max(check.difference for check in self.checks)

    @property
    def mask_share(self) -> float:
        """Largest share of mask pixels that differ in a comparison."""
        return max(check.mask_share for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            "path": str(self.path),
            "signatures": list(self.signatures),
            "size_bytes": self.size_bytes,
            "seconds": round(self.seconds, 1),
            **_parity(self.checks, self.tolerance),
        }


def export_saved_model(
    parent: DeepLabV3Plus,
    out: str | Path,
    *,
    size: int = 480,
    threshold: float = 0.5,
    card: dict[str, Any],
    sequence_name: str | None = None,
    memory: Memory | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Writes a network, with the weights that it has now, as a SavedModel and proves it.

    The endpoint `serving_default` takes `frames` uint8 [N, H, W, 3] RGB of any size and returns
    `probability` float32 [N, H, W] in 0..1 and `mask` uint8 [N, H, W] of 0 and 1; it knows no
    previous mask. Where the architecture has a guide, the endpoint `guided` takes `previous`
    float32 [N, H, W] in 0..1 as well: with it a network propagates a mask as the package does.

    The export is written beside its place, loaded again, compared with the Python path on pictures
    of several sizes, and then renamed; nothing is left of one that fails.

    Args:
        parent: Network; a parent's or fine-tuned.
        out: Folder to write.
        size: Short side at which the network sees frames, pixels; smaller frames stay as they are.
        threshold: Probability above which a pixel is object, inside 0..1.
        card: Provenance of the weights, for the model card.
        sequence_name: Sequence that the weights are fine-tuned on; None for a parent.
        memory: Memory of the annotated frame, which becomes part of the export; None for none.
        overwrite: Replace an export that is there.

    Returns:
        Path, endpoints and the comparison.

    Raises:
        UsageError: Keras does not run on TensorFlow, an argument is out of its range, or the
            folder is in use.
        StorageError: The folder cannot be written.
        DeepLabGygoError: The export does not answer as the Python path does.
    """
    started = time.monotonic()
    out = Path(out)
    _check_arguments(size, threshold)
    _check_place(out, overwrite)
    allowed = tolerance()
    with _written_beside(out) as folder:
        signatures = _write(parent, folder, size, threshold, memory)
        checks = compare(
            _endpoints(folder, signatures),
            PythonPath(parent, size, memory),
            size=size,
            threshold=threshold,
            tolerance=allowed,
        )
        _check_parity(checks, allowed, out)
        hashes = {str(p.relative_to(folder)): file_hash(p) for p in _files(folder)}
        text = model_card(
            parent,
            card,
            size=size,
            threshold=threshold,
            sequence_name=sequence_name,
            files=hashes,
            parity=_parity(checks, allowed),
        )
        place = folder / CARD_FILE
        place.parent.mkdir(exist_ok=True)
        place.write_text(json.dumps(text, indent=1, default=str) + "\n", encoding="utf-8")
    size_bytes = sum(path.stat().st_size for path in _files(out))
    seconds = time.monotonic() - started
    report = ExportReport(out, signatures, allowed, tuple(checks), size_bytes, seconds)
    logger.info("exported %s: largest difference %.1e", out, report.difference)
    return report


def _check_arguments(size: int, threshold: float) -> None:
    if backend.name() != "tensorflow":
        raise UsageError(
            "A SavedModel is exported from the TensorFlow backend",
            met=backend.name(),
            where="environment variable KERAS_BACKEND",
            remedy="Run the command again with KERAS_BACKEND=tensorflow",
        )
    if size < 16:
        raise UsageError("The working size is at least 16 pixels", met=size, where="size")
    if not 0.0 < threshold < 1.0:
        raise UsageError("A threshold lies inside 0..1", met=threshold, where="threshold")


def _check_place(out: Path, overwrite: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    # Only what looks like an export is ever deleted: a mistyped path must not cost a folder.
    if not (out / "saved_model.pb").is_file():
        raise UsageError(
            "An export is written to a new or empty folder, or over another export",
            met="something else is there",
            where=out,
            remedy="Give another folder",
        )
    if not overwrite:
        raise UsageError(
            "An export is replaced only when this is asked for",
            met="an export is there",
            where=out,
            remedy="Give another folder, or ask for overwriting",
        )


# === Writing ===


@contextmanager
def _written_beside(out: Path) -> Iterator[Path]:
    """Gives a new folder beside `out` that takes its place at the end, or is removed on failure."""
    folder = out.with_name(f".{out.name}.partial-{os.getpid()}")
    previous = out.with_name(f".{out.name}.previous-{os.getpid()}")
    try:
        folder.mkdir(parents=True)
        yield folder
        if out.exists():
            os.replace(out, previous)
        try:
            os.replace(folder, out)
        except OSError:
            if previous.exists():
                os.replace(previous, out)
            raise
    except OSError as error:
        raise _unwritable(error.strerror or error, out) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(previous, ignore_errors=True)


def _write(
    parent: DeepLabV3Plus, folder: Path, size: int, threshold: float, memory: Memory | None
) -> tuple[str, ...]:
    """Writes the SavedModel and returns the names of its endpoints."""
    import tensorflow as tf

    from deeplab_gygo.export.graph import segmentation_graph

    frames = tf.TensorSpec([None, None, None, 3], tf.uint8, name="frames")
    previous = tf.TensorSpec([None, None, None], tf.float32, name="previous")
    segment = segmentation_graph(parent, size, threshold, memory)
    module = tf.Module()
    # Held one by one: Keras's ExportArchive stores every variable of two models twice.
    module.weights = {name: v.value for name, v in variables_by_name(parent).items()}
    module.serving_default = tf.function(lambda frames: segment(frames), input_signature=[frames])
    endpoints = {"serving_default": module.serving_default}
    if parent.config.guide:
        module.guided = tf.function(segment, input_signature=[frames, previous])
        endpoints["guided"] = module.guided
    concrete = {name: call.get_concrete_function() for name, call in endpoints.items()}
    _save(module, folder, concrete)
    return tuple(endpoints)


def _save(module: Any, folder: Path, signatures: dict[str, Any]) -> None:
    import tensorflow as tf

    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    except tf.errors.OpError as error:  # a full disk, among others
        raise _unwritable(error.message, folder) from error


def _unwritable(met: object, where: Path) -> StorageError:
    return StorageError(
        "An export can be written",
        met=met,
        where=where,
        remedy="Free some space, or give a folder that is writable",
    )


# === Proving ===


def _endpoints(
    folder: Path, signatures: tuple[str, ...]
) -> dict[str, Callable[[Pictures], Answer]]:
    """Loads an export afresh, as a server would, and returns how to ask its endpoints."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))

    def asking(name: str) -> Callable[[Pictures], Answer]:
        call = loaded.signatures[name]

        def ask(pictures: Pictures) -> Answer:
            inputs = {"frames": tf.constant(pictures.frames)}
            if name == "guided":
                inputs["previous"] = tf.constant(pictures.previous)
            return backend.to_numpy(call(**inputs))

        ask.keep = loaded  # signatures do not keep the variables of their model alive
        return ask

    return {name: asking(name) for name in signatures}


def _check_parity(checks: list[ParityCheck], allowed: float, out: Path) -> None:
    failed = [check for check in checks if not check.holds(allowed)]
    if not failed:
        return
    worst = max(failed, key=lambda check: check.difference)
    raise DeepLabGygoError(
        f"An export answers as the Python path does, to {allowed:g} on probabilities",
        met=f"{len(failed)} of {len(checks)} comparisons fail; with {worst.signature} on "
        f"{'x'.join(map(str, worst.frames))} frames probabilities differ by "
        f"{worst.difference:.2g}, and {worst.mask_share:.2%} of the mask",
        where=out,
        remedy="Export in float32 on a CPU; if it fails there too, report the versions of "
        "TensorFlow, Keras and OpenCV",
    )


def _parity(checks: Any, allowed: float) -> dict[str, Any]:
    return {
        "tolerance": allowed,
        "difference": max(check.difference for check in checks),
        "checks": [check.to_dict() for check in checks],
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
