"""`segment`: the command `deeplab-gygo segment` as a Python function."""

from __future__ import annotations

from collections.abc import Sequence as Collection
from pathlib import Path
from typing import Any

import numpy as np

from deeplab_gygo.inference.config import Engine, Mode
from deeplab_gygo.io.array_sequence import ArraySequence
from deeplab_gygo.io.sequence import Sequence
from deeplab_gygo.methods import MethodName
from deeplab_gygo.models.config import Precision
from deeplab_gygo.runs.given_masks import GivenMasks
from deeplab_gygo.runs.output_kinds import DEFAULT_OPTIONS, DEFAULT_OUTPUTS, OutputOptions
from deeplab_gygo.runs.remote_results import claimed_output, kept_result
from deeplab_gygo.runs.run_record import RunRecord
from deeplab_gygo.runs.settings import make_settings
from deeplab_gygo.runs.staging import open_staged_clip


def segment(
    source: str | Path | Sequence | list[np.ndarray],
    mask: GivenMasks | None = None,
    *,
    out: str | Path,
    preset: str | None = None,
    mode: Mode | None = None,
    frame: str | None = None,
    mask_format: str = "auto",
    method: MethodName = "deeplab",
    weights: str | Path | None = None,
    precision: Precision = "auto",
    engine: Engine = "keras",
    seed: int = 0,
    outputs: Collection[str] = DEFAULT_OUTPUTS,
    output_options: OutputOptions = DEFAULT_OPTIONS,
    overwrite: bool = False,
    keep_going: bool = False,
    progress: bool = False,
    **online: Any,
) -> RunRecord:
    """Segments one clip into a folder of results. All paths may be URLs, see docs/storage.md.

    Args:
        source: Video, folder of frames, open sequence, or list of uint8 [H, W, 3] RGB images.
        mask: Mask of the annotated frame: a file in any supported encoding, or uint8 [H, W] of
            object ids; or {frame index or name: mask} of several frames; or a list of files
            `FRAME=FILE`; or a folder of masks named as their frames. None in the mode `zero-shot`
            only.
        out: Folder to make. It appears when it is complete.
        preset: Preset of the method, such as `fast`, `balanced` or `best`; None takes its default.
        mode: `zero-shot`, `one-shot` or `fine-tune`; None takes the default of the method.
        frame: Name or index of the frame of a single mask; None is the first.
        mask_format: Encoding of mask files, as in `read_mask`.
        method: Name of the segmentation method.
        weights: Parent file; None takes the shipped one.
        precision: Numeric policy; the Keras policy of the caller is restored afterwards.
        engine: Runtime of the encoder.
        seed: Seed of every random number generator.
        outputs: Kinds of results, of `runs.output_kinds.OUTPUTS`.
        output_options: Options of the kinds.
        overwrite: Whether an existing result in `out` is replaced; with other files in it, it
            never is.
        keep_going: Whether the frames that can be decoded are taken of a damaged video.
        progress: Whether progress bars are shown on a terminal.
        **online: Single online options of the method (`OnlineConfig`), which override the preset.

    Returns:
        The record, also written to `out/run.json`.

    Raises:
        InputError: The clip or the mask is unusable.
        UsageError: An option is unusable, `out` exists, or another run writes to it.
        WeightsError: The weights are unusable.
        StorageError: The results cannot be written.

    Example:
        >>> import tempfile
        >>> frames = [np.full((32, 48, 3), 60, np.uint8) for _ in range(3)]
        >>> mask = np.zeros((32, 48), np.uint8)
        >>> mask[8:24, 12:36] = 1
        >>> out = Path(tempfile.mkdtemp()) / "result"
        >>> record = segment(frames, mask, out=out, mode="one-shot", size=32, outputs=["masks"])
        >>> record.masks, sorted(path.name for path in (out / "masks").iterdir())
        (3, ['00000.png', '00001.png', '00002.png'])
    """
    settings = make_settings(
        method=method, preset_name=preset, mode=mode, online=online, weights=weights,
        precision=precision, engine=engine, seed=seed, outputs=tuple(outputs),
        output_options=output_options, overwrite=overwrite, progress=progress,
    )  # fmt: skip
    with claimed_output(out, overwrite) as folder:
        if isinstance(source, (list, np.ndarray)):
            source = ArraySequence(source)
        needs_mask = settings.online.mode != "zero-shot"
        clip = open_staged_clip(
            source, mask, frame=frame, needs_mask=needs_mask, keep_going=keep_going,
            mask_format=mask_format,
        )  # fmt: skip
        if (kept := kept_result(out, folder, clip, settings)) is not None:
            return kept
        # Imported here because both load Keras, which bad input need not wait for.
        from deeplab_gygo import backend
        from deeplab_gygo.runs.runner import SequenceRunner

        with backend.policy(precision):
            return SequenceRunner(settings).run(clip, folder)
