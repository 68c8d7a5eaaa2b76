"""Export of a network to a format that runs without this package, verified by a parity check."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import keras

from deeplab_gygo import backend
from deeplab_gygo.errors import DeepLabGygoError, UsageError
from deeplab_gygo.export.card import model_card
from deeplab_gygo.export.endpoints import Endpoints, Format
from deeplab_gygo.export.listing import exported_files
from deeplab_gygo.export.litert import LiteRt
from deeplab_gygo.export.onnx import Onnx
from deeplab_gygo.export.openvino import OpenVino
from deeplab_gygo.export.parity import ParityCheck, PythonPath, compare, tolerance
from deeplab_gygo.export.saved_model import SavedModel
from deeplab_gygo.io.atomic import replacing_folder
from deeplab_gygo.io.output_folder import check_new_folder
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import Memory
from deeplab_gygo.models.target_model import TargetModel
from deeplab_gygo.models.weight_file import file_hash

logger = logging.getLogger(__name__)

FORMATS: dict[str, Format] = {f.name: f for f in (SavedModel(), Onnx(), OpenVino(), LiteRt())}
"""Formats by name."""


@dataclass(frozen=True)
class ExportReport:
    """Result of an export: its place, its endpoints and the parity check.

    Attributes:
        path: Folder of the export.
        kind: Name of its format.
        signatures: Names of its endpoints.
        tolerance: Largest accepted difference of probabilities.
        checks: Parity checks.
        size_bytes: Size of all files.
        seconds: Wall time, comparison included.
    """

    path: Path
    kind: str
    signatures: tuple[str, ...]
    tolerance: float
    checks: tuple[ParityCheck, ...] = field(repr=False)
    size_bytes: int
    seconds: float

    @property
    def difference(self) -> float:
        """Largest difference of a probability over all comparisons."""
        return max(check.difference for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values for JSON."""
        return {
            "path": str(self.path),
            "format": self.kind,
            "signatures": list(self.signatures),
            "size_bytes": self.size_bytes,
            "seconds": round(self.seconds, 1),
            **_parity(self.checks, self.tolerance),
        }


def export_model(
    parent: DeepLabV3Plus,
    out: str | Path,
    *,
    kind: str = "saved_model",
    size: int = 480,
    threshold: float = 0.5,
    card: dict[str, Any],
    sequence_name: str | None = None,
    memory: Memory | None = None,
    target_model: TargetModel | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Writes a network with its current weights in a format of `FORMATS` and verifies it.

    The endpoint `serving_default` takes `frames` uint8 [N, H, W, 3] RGB of any size and returns
    `probability` float32 [N, H, W] in 0..1 and `mask` uint8 [N, H, W] of 0 and 1, without a
    previous mask. Where the architecture has a guide, the endpoint `guided` takes `previous`
    float32 [N, H, W] in 0..1 as well and propagates a mask as the package does.

    The export is written beside its place, loaded again, compared with the Python path on images
    of several sizes, and then renamed; nothing remains of one that fails.

    Args:
        parent: Network; a parent's or fine-tuned.
        out: Folder to write.
        kind: Name of the format.
        size: Short side at which the network sees frames, pixels; smaller frames stay as they are.
        threshold: Probability above which a pixel is object, inside 0..1.
        card: Provenance of the weights, for the model card.
        sequence_name: Sequence that the weights are fine-tuned on; None for a parent.
        memory: Memory of the annotated frame, which becomes part of the export; None for none.
        target_model: Target model of the annotated object, likewise.
        overwrite: Replace an export that is there; with other files in its folder, it is not.

    Returns:
        Path, endpoints and the comparison.

    Raises:
        UsageError: Keras does not run on TensorFlow, an argument is out of its range, or the
            folder is in use.
        DependencyError: A package that the format needs is missing.
        StorageError: The folder cannot be written, or somebody changed what is there meanwhile.
        DeepLabGygoError: The format cannot take the network, or the export does not answer as the
            Python path does.
    """
    started = time.monotonic()
    out = Path(out)
    if size < 16:
        raise UsageError("The working size is at least 16 pixels", met=size, where="size")
    if not 0.0 < threshold < 1.0:
        raise UsageError("A threshold lies inside 0..1", met=threshold, where="threshold")
    target, packages = check_format(kind)
    check = partial(
        check_new_folder, overwrite=overwrite, marker=target.marker, list_files=exported_files
    )
    place, allowed = check(out), tolerance()
    with replacing_folder(place, check=check) as folder:
        endpoints = Endpoints.of(parent, size, threshold, memory, target_model)
        signatures = tuple(endpoints.signatures)
        _convert(target, endpoints, folder, out)
        checks = compare(
            target.load(folder, signatures),
            PythonPath(parent, size, memory, target_model),
            size=size,
            threshold=threshold,
            tolerance=allowed,
        )
        _check_parity(checks, allowed, out)
        text = model_card(
            parent,
            card,
            size=size,
            threshold=threshold,
            sequence_name=sequence_name,
            target_model=target_model is not None,
            written={"format": kind, "use": target.use, "packages": packages},
            files={str(p.relative_to(folder)): file_hash(p) for p in _files(folder)},
            parity=_parity(checks, allowed),
        )
        file = folder / target.card_file
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(text, indent=1, default=str) + "\n", encoding="utf-8")
    size_bytes = sum(path.stat().st_size for path in _files(out))
    seconds = time.monotonic() - started
    report = ExportReport(out, kind, signatures, allowed, tuple(checks), size_bytes, seconds)
    logger.info("exported %s: largest difference %.1e", out, report.difference)
    return report


def check_format(kind: str) -> tuple[Format, dict[str, str]]:
    """Checks that networks can be written in a format in this process, before any work is done.

    Args:
        kind: Name of the format.

    Returns:
        The format, and the versions of the packages that it uses.

    Raises:
        UsageError: There is no such format, or Keras does not run as the format needs it.
        DependencyError: A package is missing.
    """
    if backend.name() != "tensorflow":
        raise UsageError(
            "A network is exported from the TensorFlow backend",
            met=backend.name(),
            where="environment variable KERAS_BACKEND",
            remedy="Run the command again with KERAS_BACKEND=tensorflow",
        )
    if kind not in FORMATS:
        raise UsageError(f"A format is one of {', '.join(FORMATS)}", met=kind, where="format")
    target = FORMATS[kind]
    policy = keras.config.dtype_policy().name
    if not target.any_precision and policy != "float32":
        raise UsageError(
            f"The format {kind} is written of networks in float32",
            met=policy,
            where="--precision",
            remedy="Give --precision float32",
        )
    return target, target.require()


def _convert(target: Format, endpoints: Endpoints, folder: Path, out: Path) -> None:
    """Writes the export; what a converter raises becomes an error of this package."""
    try:
        target.write(endpoints, folder)
    except (DeepLabGygoError, OSError):
        raise
    except Exception as error:  # converters raise errors of many unrelated classes
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DeepLabGygoError(
            f"The converter to {target.name} takes every operation of the network",
            met=lines[0][:300],
            where=out,
            remedy="Export to saved_model; report the versions of TensorFlow and of the converter",
        ) from error


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
        "TensorFlow, Keras and OpenCV, and of the format's packages",
    )


def _parity(checks: Any, allowed: float) -> dict[str, Any]:
    return {
        "tolerance": allowed,
        "difference": max(check.difference for check in checks),
        "checks": [check.to_dict() for check in checks],
    }


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
