"""The way from the features of a frame to its probability as one function, to be compiled whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from keras import ops

from deeplab_gygo import backend
from deeplab_gygo.models.deeplab import DeepLabV3Plus
from deeplab_gygo.models.memory import memory_of, read_memory
from deeplab_gygo.models.target_model import target_guide

Flips = tuple[tuple[bool, ...], ...]
"""For every size of the frame, which of its views are mirrored."""

OUTPUT_MULTIPLE = 32
"""Height and width of the probability are grown to a multiple of it, pixels: clips of like sizes
share a program."""

LEVELS = 256
"""Number of levels of earlier probabilities, none of which is 0 or 1."""


def frame_program(
    parent: DeepLabV3Plus, flips: Flips, *, variants: int, refine: bool
) -> Callable[..., Any]:
    """Compiles the prediction of an object on one frame of an encoded window.

    Args:
        parent: Network; every call uses its current weights.
        flips: Views of the frame.
        variants: 1; 2 averages the logits with those without any guide (`blend`).
        refine: Whether to refine the logits.

    Returns:
        `call(position, weight, sizes, model, memory, unguided) -> probability`. Its arguments:
        position: int32 scalar, the frame in the window.
        weight: float32 scalar, weight of the logits where `unguided` has weight 1.
        sizes: For every size "features", those of the window in every view; "previous", the
        coded previous mask, float32 [H/4, W/4, 1], 0 for unknown; "rows" and "columns" of
        `Geometry.resampling`.
        model: `TargetModel.values`, or None.
        memory: `MemoryBank.slots()`, or None.
        unguided: An earlier probability in `LEVELS` levels, uint8 of the size of the result, or
        None.
        The result is float32 in 0..1, of the size that rows and columns have.
    """

    def probability(
        position: Any, weight: Any, sizes: list[Any], model: Any, memory: Any, unguided: Any
    ) -> Any:
        planes = [
            _logits(parent, mirrored, variants, refine, position, model, memory, **size)
            for mirrored, size in zip(flips, sizes, strict=True)
        ]
        # Logits are averaged, not probabilities: they keep the certainty of each view.
        mean = sum(planes[1:], planes[0]) / len(planes)
        if unguided is not None:
            earlier = (ops.cast(unguided, "float32") + 0.5) / LEVELS
            mean = (weight * mean + ops.log(earlier / (1 - earlier))) / (weight + 1)
        return 0.5 * (1.0 + ops.tanh(0.5 * mean))

    models = [parent.head, *([parent.refiner] if refine else [])]
    variables = [variable for model in models for variable in model.variables]
    return backend.compiled_function(probability, variables, single_kernel=True)


def _logits(
    parent: DeepLabV3Plus,
    flips: Sequence[bool],
    variants: int,
    refine: bool,
    position: Any,
    model: Any,
    memory: Any,
    *,
    features: list[dict[str, Any]],
    previous: Any,
    rows: Any,
    columns: Any,
) -> Any:
    """Returns the mean logits of the views of one size, resampled to the frame."""
    seen = {name: _joined([_at(view, position)[name] for view in features]) for name in features[0]}
    planes = previous[None]
    planes = _joined([planes[:, :, ::-1] if flip else planes for flip in flips])
    score = ops.zeros_like(planes)
    if model is not None:
        score = target_guide(seen["high"], model, parent.config.block_size)
    guide, readout = ops.concatenate([planes, score], axis=-1), None
    if memory is not None:
        keys, values, known = memory
        shape = (len(keys), keys[0].shape[1])
        valid = ops.reshape(ops.broadcast_to(known[:, None], shape), (-1,))
        keys, values = (ops.concatenate(parts, axis=1) for parts in (keys, values))
        readout = read_memory(seen["key"], keys, values, valid)
    inputs = parent.head_inputs(seen, guide, readout)
    if variants == 2:
        blank = {**inputs, "guide": ops.zeros_like(guide)} if "guide" in inputs else inputs
        inputs = {name: ops.concatenate([inputs[name], blank[name]]) for name in inputs}
    logits = parent.head(backend.materialized(inputs), training=False)
    if variants == 2:
        logits = (logits[: len(flips)] + logits[len(flips) :]) / 2
    if refine:
        logits = parent.refine(seen, logits)
    views = [logits[i, :, ::-1, 0] if flip else logits[i, :, :, 0] for i, flip in enumerate(flips)]
    return backend.resample(sum(views[1:], views[0]) / len(views), rows, columns)


def _at(features: dict[str, Any], position: Any) -> dict[str, Any]:
    """Returns the features of one frame of a window, [1, ...] each."""
    return {
        name: ops.slice(value, (position, 0, 0, 0), (1, *value.shape[1:]))
        for name, value in features.items()
    }


def memory_program(block: int) -> Callable[..., Any]:
    """Compiles `models.memory.memory_of` for one frame of a window.

    Args:
        block: Side of a block.

    Returns:
        `call(keys, position, coded) -> memory`, of the keys of a window, the frame in it, int32
        scalar, and its coded mask, float32 [H/4, W/4, 1].
    """

    def store(keys: Any, position: Any, coded: Any) -> Any:
        key = _at({"key": keys}, position)["key"]
        return memory_of(ops.cast(key, "float32"), coded[None], block)

    return backend.compiled_function(store, single_kernel=True)


def views_program(parent: DeepLabV3Plus) -> Callable[..., Any]:
    """Compiles the inputs of the head for all views of an annotated frame.

    Args:
        parent: Network.

    Returns:
        `call(windows, coded, guides, known) -> inputs` of `DeepLabV3Plus.head_inputs`, [N, ...]
        each. Its arguments: features of the views in windows, of which the last one may be longer;
        their coded masks and their guides, float32 [N, H/4, W/4, 1]; bool [N], the views that read
        the memory of another view: of the first one, which later frames are matched to as well.
    """
    return backend.compiled_function(partial(_head_inputs, parent), single_kernel=True)


def _head_inputs(
    parent: DeepLabV3Plus, windows: list[dict[str, Any]], coded: Any, guides: Any, known: Any
) -> dict[str, Any]:
    count = coded.shape[0]
    features = {name: _joined([w[name] for w in windows])[:count] for name in windows[0]}
    readout = None
    if parent.config.memory and count > 1:
        keys, values = memory_of(features["key"], coded, parent.config.block_size)
        others = [1, *[0] * (count - 1)]
        keys, values = (_joined([part[i : i + 1] for i in others]) for part in (keys, values))
        readout = read_memory(features["key"], keys, values)
        readout = ops.where(known[:, None, None, None], readout, 0.0)
    guide = ops.concatenate([guides, ops.zeros_like(guides)], axis=-1)
    return parent.head_inputs(features, guide, readout)


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts)
