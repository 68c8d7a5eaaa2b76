"""Options of online fine-tuning and propagation, their ranges, and the presets.

The dataclass is the schema of YAML files and of the command line too. Numbers that no user has a
reason to set are constants of the class, with their source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from deeplab_gygo.errors import UsageError
from deeplab_gygo.io.config_file import check_choices, check_range, from_dict, to_plain
from deeplab_gygo.methods import find_method

Engine = Literal["keras", "onnxruntime", "openvino"]
Mode = Literal["zero-shot", "one-shot", "fine-tune"]
Adapt = Literal["decoder", "full"]
Guide = Literal["none", "previous", "blend", "target"]

UNLIMITED_STEPS = 1_000_000
"""Number of fine-tuning steps when only `seconds` ends the fine-tuning."""

MAX_SIDE = 8192
"""Largest short side of frames as the network sees them, pixels."""

DEFAULT_PRESET = "balanced"
"""Preset of DeepLabV3+ unless another is asked for."""


@dataclass(frozen=True)
class OnlineConfig:
    """Online fine-tuning on the annotated frame, and mask propagation.

    Attributes:
        mode: `zero-shot` segments the salient object without a mask, `one-shot` propagates the
            mask with the parent's weights, `fine-tune` adapts the weights to the mask first.
        adapt: What fine-tuning changes: `decoder` (ASPP and decoder, on cached features) or
            `full` (the last stages of the encoder too).
        steps: Number of fine-tuning steps.
        seconds: Time limit of fine-tuning, augmentation and encoding of views included; it ends at
            whichever comes first. 0: no limit. On the command line, `--seconds` without `--steps`
            lifts the limit of steps.
        size: Short side of the frames, and of the close-ups of the objects in them, as the network
            sees them, pixels; smaller frames keep their size. 0: 320, in `zero-shot` 360.
        num_views: Number of augmented views of the annotated frame, used for fine-tuning and to
            fit the target model.
        learning_rate: Peak learning rate of ASPP and decoder (Adam, cosine decay).
        memory_frames: Number of propagated frames in the memory beside the annotated one.
        guide: Conditioning of the decoder: `none`; `previous`, the previous mask; `blend`, the mean
            of the logits with and without it; `target`, the previous mask and the score of a linear
            target model (FRTM: Robinson et al., CVPR 2020). In the second pass of
            `zero-shot`, `target` is `blend`. `none` where the weights take no guide.
        refine: Whether the logits are refined with learned guided filters.
        tta_flip: Whether to average the logits of the frame and of its mirror image. None: only in
            `zero-shot`, where it gains most.
        zero_shot_tta_scale: `zero-shot` only: relative size of a second view of every frame whose
            logits are averaged with the first; 0: none.
        zero_shot_anchor_frames: `zero-shot` only: number of confident frames from which the others
            are segmented in a second pass; 0: every frame is segmented independently.
        threshold: Probability above which a pixel is object.

    Raises:
        UsageError: A value is out of range.

    Example:
        >>> OnlineConfig(mode="one-shot").short_side
        320
    """

    mode: Mode = "fine-tune"
    adapt: Adapt = "decoder"
    steps: int = 80
    seconds: float = 0.0
    size: int = 0
    num_views: int = 12
    learning_rate: float = 2e-3
    memory_frames: int = 3
    guide: Guide = "target"
    refine: bool = True
    tta_flip: bool | None = None
    zero_shot_tta_scale: float = 0.7
    zero_shot_anchor_frames: int = 5
    threshold: float = 0.5

    # Of frames and close-ups: experiments/results/close_up_choices.json.
    CLOSE_UP_SIZE: ClassVar[int] = 320
    # Of frames alone: experiments/results/online_choices.json (480 and 400 against 360 without
    # fine-tuning; 480 against 400 with it, too slow for what it gained). `DEFAULT_SIZE` is that of
    # zero-shot too, with close-ups (320 in experiments/results/parent_passing_choices.json).
    FINE_TUNE_SIZE: ClassVar[int] = 416
    DEFAULT_SIZE: ClassVar[int] = 360
    # Lucid Data Dreaming (Khoreva et al., 2017) on half of the views: object on another position.
    LUCID_FRACTION: ClassVar[float] = 0.5
    VIEW_SCALE: ClassVar[tuple[float, float]] = (0.8, 1.3)
    BACKBONE_LEARNING_RATE: ClassVar[float] = 3e-5
    # With `adapt: full` the stem and the encoder's stages up to this one stay frozen.
    FROZEN_STAGES: ClassVar[int] = 3
    DICE_WEIGHT: ClassVar[float] = 1.0
    GUIDE_DROPOUT: ClassVar[float] = 0.5
    MEMORY_DROPOUT: ClassVar[float] = 0.4
    # Share of the fine-tuned weights in their mean with the parent's: against .5 in
    # experiments/results/parent_passing_choices.json, against 1 in parent_scenes_choices.json.
    TUNED_SHARE: ClassVar[float] = 0.3
    # Steps of a correction, from the weights that the fine-tuning before it gave. 25 gain .006 of J
    # (standard error .003) after one true mask on five real clips, and nothing over five rounds of
    # masks drawn by clicks (experiments/results/correction_steps.json).
    CORRECTION_STEPS: ClassVar[int] = 10
    # L2-SP (Li et al., ICML 2018): distance to the parent's weights.
    L2_SP_WEIGHT: ClassVar[float] = 0.01
    # Frames between two that enter the memory, and their minimum confidence.
    MEMORY_INTERVAL: ClassVar[int] = 5
    MIN_MEMORY_CONFIDENCE: ClassVar[float] = 0.8
    # Below this fraction of its running area an object counts as lost, and is guided by the target
    # model alone, so that it can be found anywhere.
    LOST_AREA_FRACTION: ClassVar[float] = 0.25
    # Frames encoded at once.
    ENCODE_BATCH: ClassVar[int] = 4
    # Bounds of memory: a view with its cached features has about 15 MB, and a frame in the memory
    # is matched to every position.
    MAX_VIEWS: ClassVar[int] = 100
    MAX_MEMORY_FRAMES: ClassVar[int] = 64
    # Frames held in memory by the second pass of `zero-shot`.
    CHUNK_SIZE: ClassVar[int] = 100

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {
            "steps": 40,
            "zero_shot_anchor_frames": 0,
            "zero_shot_tta_scale": 0.0,
            "tta_flip": False,
        },
        "balanced": {},
        "best": {"tta_flip": True},
    }

    RENAMED_KEYS: ClassVar[dict[str, str]] = {
        "views": "num_views",
        "rate": "learning_rate",
        "memory": "memory_frames",
        "flip": "tta_flip",
        "second": "zero_shot_tta_scale",
        "agree": "zero_shot_anchor_frames",
        "tuned_size": "size",
    }
    REMOVED_KEYS: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            (
                "distractors", "replay", "keep", "online_steps", "online_every", "online_rate",
                "online_weight", "recognize",
            ),
            "it was measured to gain nothing; delete the line",
        ),
        **dict.fromkeys(
            ("filter_components", "track_distractors", "common_fate"),
            "its code was removed; delete the line",
        ),
        "shot_guide": "write `guide`, which holds in every mode",
        "recall": "the memory is always used; delete the line",
        **dict.fromkeys(
            (
                "lucid", "view_scale", "whole", "backbone_rate", "frozen_stages", "dice",
                "guide_dropout", "memory_dropout", "anchor", "memory_every", "trust", "passage",
                "lost", "window",
            ),
            "it is a constant of OnlineConfig now; delete the line",
        ),
    }  # fmt: skip

    def __post_init__(self) -> None:
        check_choices(self)
        check_range(self, "steps", 0, UNLIMITED_STEPS)
        check_range(self, "seconds", 0)
        check_size(self)
        check_range(self, "num_views", 1, self.MAX_VIEWS)
        check_range(self, "learning_rate", 0, 1)
        check_range(self, "memory_frames", 0, self.MAX_MEMORY_FRAMES)
        if self.zero_shot_tta_scale:
            check_range(self, "zero_shot_tta_scale", 0.1, 4)
        check_range(self, "zero_shot_anchor_frames", 0, self.CHUNK_SIZE)
        check_range(self, "threshold", 0, 1)

    @property
    def short_side(self) -> int:
        """Short side of the frames as the network sees them, pixels."""
        return self.size or (self.DEFAULT_SIZE if self.mode == "zero-shot" else self.CLOSE_UP_SIZE)

    @property
    def flips(self) -> bool:
        """Whether the mirror image of every frame is segmented too."""
        return self.mode == "zero-shot" if self.tta_flip is None else self.tta_flip


def check_size(config: Any) -> None:
    """Raises `UsageError` unless `size` is a short side, pixels, or 0 for the default."""
    check_range(config, "size", 0, MAX_SIDE)
    if 0 < config.size < 16:
        raise UsageError(
            "size is 16 or more, or 0 for the default",
            met=config.size,
            where=f"{type(config).__name__}.size",
        )


def default_preset(method: str, trunk: str = "") -> str:
    """Returns the preset that a method starts from unless another is asked for.

    Args:
        method: A key of `methods.METHODS`.
        trunk: Trunk of its weights; the numbers of OSMN and OSVOS depend on it.

    Returns:
        A name; empty for a method without presets.

    Example:
        >>> default_preset("deeplab")
        'balanced'
    """
    if method == "deeplab":
        return DEFAULT_PRESET
    if not preset_names(method):
        return ""
    return "original" if trunk == "vgg16" else "light"


def preset_names(method: str) -> tuple[str, ...]:
    """Returns the names of a method's presets, fastest first."""
    return tuple(getattr(find_method(method).resolve("options"), "PRESETS", {}))


def preset(name: str, method: str = "deeplab", mode: str = "") -> Any:
    """Makes the options of a preset.

    Args:
        name: Name of a preset of the method; empty for its defaults.
        method: A key of `methods.METHODS`.
        mode: Mode to segment in; empty for the default of the method.

    Returns:
        A new instance of the method's options.

    Raises:
        UsageError: There is no such preset, or the method lacks the mode.

    Example:
        >>> preset("fast").steps
        40
    """
    check_preset(name, method)
    options = find_method(method).resolve("options")
    mode = mode or options().mode
    values = options.PRESETS[name] if name else {}
    return options(**values, mode=mode)


def make_options(
    method: str, preset_name: str, mode: str, *overrides: tuple[Mapping[str, Any], str | Path]
) -> Any:
    """Makes the options of a preset, overridden by values of increasing priority.

    Args:
        method: A key of `methods.METHODS`.
        preset_name: Name of a preset of the method; empty for its defaults.
        mode: Mode to segment in; empty for the default of the method.
        *overrides: Options by name and their origin, for messages. In the last ones `seconds`
            without `steps` lifts the limit of steps.

    Returns:
        A new instance of the method's options.

    Raises:
        UsageError: There is no such preset or mode, or an option is unknown or out of range.

    Example:
        >>> make_options("deeplab", "fast", "", ({"seconds": 5.0}, "example")).steps
        1000000
    """
    modes = find_method(method).modes
    if mode and mode not in modes:
        raise UsageError(
            f"The method {method} has the mode{'s' * (len(modes) > 1)} {', '.join(modes)}",
            met=mode,
            where="--mode",
        )
    options = preset(preset_name, method, mode)
    given: Mapping[str, Any] = {}
    for given, where in overrides:
        if given:
            options = from_dict(type(options), to_plain(options) | dict(given), where)
    if given.get("seconds") and "steps" not in given:
        options = replace(options, steps=UNLIMITED_STEPS)
    return options


def check_preset(name: str, method: str = "deeplab") -> None:
    """Raises `UsageError` unless the method has a preset of this name; an empty name is none."""
    known = preset_names(method)
    if not name or name in known:
        return
    if not known:
        raise UsageError(
            f"The method {method} has no presets",
            met=name,
            where="--preset",
            remedy="Leave --preset out",
        )
    rule = "A preset is" if method == "deeplab" else f"A preset of the method {method} is"
    raise UsageError(f"{rule} one of {', '.join(known)}", met=name, where="--preset")
