"""Every constant of the package, as dataclasses that are the YAML schema too.

An experiment file is one of these dataclasses written as YAML; an unknown key or a value of the
wrong kind is a `UsageError`. Where a constant comes from a paper or an official implementation its
source stands beside it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from deeplab_gygo.errors import UsageError

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Engine = Literal["keras", "onnxruntime", "openvino"]
Mode = Literal["zero-shot", "one-shot", "fine-tune"]
Adapt = Literal["decoder", "full"]
GuideUse = Literal["none", "previous", "blend", "target"]
Backbone = Literal[
    "efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "mobilenet_v2", "resnet50"
]


@dataclass
class ModelConfig:
    """Architecture of DeepLabV3+ (Chen et al., ECCV 2018) with a guide.

    Attributes:
        backbone: Encoder network.
        output_stride: Ratio of image size to the size of the encoder's last features, 8 or 16.
        aspp_channels: Width of every ASPP branch; 256 in the paper.
        low_level_channels: Width of the projected stride-4 features; 48 in the paper.
        decoder_channels: Width of the two 3x3 convolutions of the decoder; 256 in the paper.
        separable: Depthwise separable 3x3 convolutions in ASPP and decoder, as in the paper's
            Xception configuration; False gives dense ones.
        dropout: Rate after the ASPP; 0.1 in the official implementation.
        guide: Whether the decoder takes the previous mask as a guide.
        guide_channels: Width of the guide's own embedding at the output stride.
        memory: Whether the decoder takes what the memory of annotated frames says: every place is
            matched to the places of the first frame and of earlier ones.
        key_channels: Width of the embeddings that are matched.
        refine: Whether the logits are refined at stride 2.
        refine_channels: Width of the refinement.
        refine_guides: Width of what guides its filters: maps made of the stride-2 features.
        batch_norm_momentum: Of ASPP and decoder. The official .9997 needs 30k steps to settle;
            shorter trainings need a smaller one.
        batch_norm_epsilon: 1e-5 in the official implementation.
    """

    backbone: Backbone = "efficientnet_lite0"
    output_stride: Literal[8, 16] = 16
    aspp_channels: int = 256
    low_level_channels: int = 48
    decoder_channels: int = 256
    separable: bool = True
    dropout: float = 0.1
    guide: bool = True
    guide_channels: int = 32
    memory: bool = True
    key_channels: int = 64
    refine: bool = True
    refine_channels: int = 24
    refine_guides: int = 6
    batch_norm_momentum: float = 0.99
    batch_norm_epsilon: float = 1e-5


@dataclass
class AugmentConfig:
    """Random changes of a training picture.

    Attributes:
        scale: Range of the zoom, log-uniform; 1 fits the short side of the picture to the crop.
        rotate: Largest rotation, degrees.
        flip: Probability of a horizontal flip.
        brightness: Largest relative change of brightness; likewise `contrast`, `saturation`.
        hue: Largest shift of hue, as a part of the full circle.
        gray: Probability of a picture without colour.
        blur: Probability of Gaussian or motion blur.
        noise: Probability of sensor noise.
        jpeg: Probability of a strong JPEG compression.
        object_in_crop: Probability that the crop is drawn around the object.
    """

    scale: tuple[float, float] = (0.8, 1.8)
    rotate: float = 12.0
    flip: float = 0.5
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 0.04
    gray: float = 0.05
    blur: float = 0.15
    noise: float = 0.15
    jpeg: float = 0.1
    object_in_crop: float = 0.9


@dataclass
class SourceConfig:
    """One part of the material that a parent is trained on.

    Attributes:
        kind: `gygo`, `davis2016`, `davis2017` (video), `stills` (folder with images/ and masks/)
            or `compose` (cut-outs on backgrounds).
        root: Folder of the material; a relative one starts at the trainer's `data_root`.
        weight: Share of the samples, relative to the other sources.
        split: Split of a video dataset.
        exclude: Names of sequences held back.
        backgrounds: `compose` only: folders of pictures to compose onto.
        stills: `compose` only: folders of stills whose objects are cut out and whose pictures
            serve as backgrounds with a distractor.
        guided: `compose` only: share of pictures in which only the guide names the object.
        resolution: `gygo` and DAVIS only: `480p` or the original's folder name.
    """

    kind: Literal["gygo", "davis2016", "davis2017", "stills", "compose"]
    root: str = ""
    weight: float = 1.0
    split: str = "train"
    exclude: list[str] = field(default_factory=list)
    backgrounds: list[str] = field(default_factory=list)
    stills: list[str] = field(default_factory=list)
    guided: float = 0.5
    resolution: str = "480p"


@dataclass
class ValidationConfig:
    """Sequences on which J is measured during training: never those of a test set.

    Attributes:
        kind: Kind of dataset, as in `SourceConfig`.
        root: Folder of the dataset.
        split: Split to read.
        sequences: Names to use; empty takes all of the split.
        stride: Every how many frames are measured.
    """

    kind: Literal["gygo", "davis2016", "davis2017"]
    root: str = ""
    split: str = "train"
    sequences: list[str] = field(default_factory=list)
    stride: int = 5


@dataclass
class TrainConfig:
    """Offline training of a parent model.

    Attributes:
        model: Architecture.
        sources: Material, as a weighted mix.
        initial: Parent file to start from instead of the backbone's ImageNet weights.
        grow: Whether `initial` may lack parts of the architecture (a memory, a refinement), which
            then start afresh.
        data_root: Folder that relative roots start at, or the shards that `data pack` made of it;
            the environment variable `DEEPLAB_GYGO_DATA` fills it when it is empty.
        validation: Sets measured every `validate_every` steps.
        crop: Size (height, width) of training crops, pixels.
        batch: Crops a step; two are one clip.
        trained: What learns: `all`, but for what is frozen below, or the `refinement` alone, at
            `head_rate`.
        steps: Optimizer steps in all.
        seconds: Stop early after this training time, counting earlier runs; 0 means no limit. The
            schedule then runs over time instead of steps.
        head_rate: Peak learning rate of ASPP and decoder.
        backbone_rate: Peak learning rate of the encoder.
        frozen_stages: The stem and the encoder's stages up to this one are not trained; -1 trains
            all.
        freeze_batch_norm: Run ASPP and decoder on their moving statistics and without dropout:
            right for batches of a few large crops, after a training on larger batches.
        weight_decay: Decoupled, on kernels that are not depthwise.
        clip: Largest global norm of the gradient.
        warmup: Steps of linear warm-up; the rest is a cosine to zero.
        dice: Weight of the soft Dice loss beside the cross-entropy.
        edge: What a pixel by an edge of the object counts in the cross-entropy beyond others.
        ema: Momentum of the moving average of weights that is kept as the result; 0 keeps the
            last weights.
        guide_dropout: Share of crops without a guide, among those that do not need one.
        memory_dropout: Share of crops without a memory, likewise.
        augment: Random changes of the pictures.
        validate_every: Steps between validations.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between lines of the log.
        workers: Threads that make samples.
        worker_processes: Processes that make samples instead of the threads, for a GPU that
            threads cannot keep busy; 0 does with threads. Both make the same samples.
        cache_gb: Memory for decoded pictures, GB; processes share it evenly.
        data_parallel: Whether every step is computed by all GPUs of the machine (JAX only), each a
            part of the batch.
        precision: Numeric policy.
        seed: Of everything random.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    sources: list[SourceConfig] = field(default_factory=list)
    initial: str = ""
    grow: bool = False
    data_root: str = ""
    validation: list[ValidationConfig] = field(default_factory=list)
    crop: tuple[int, int] = (288, 352)
    batch: int = 6
    trained: Literal["all", "refinement"] = "all"
    steps: int = 10000
    seconds: float = 0.0
    head_rate: float = 1.5e-3
    backbone_rate: float = 3e-4
    frozen_stages: int = 3
    freeze_batch_norm: bool = False
    weight_decay: float = 1e-4
    clip: float = 5.0
    warmup: int = 200
    dice: float = 1.0
    edge: float = 0.0
    ema: float = 0.999
    guide_dropout: float = 0.5
    memory_dropout: float = 0.5
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    validate_every: int = 1000
    checkpoint_every: int = 250
    log_every: int = 20
    workers: int = 2
    worker_processes: int = 0
    cache_gb: float = 6.0
    data_parallel: bool = False
    precision: Precision = "auto"
    seed: int = 0


PLAIN_SIZE = 360
"""The parent alone finds less that is not the object where it sees more of the scene at once:
measured against 480 and 400 in experiments/results/online_choices.json."""

PLAIN_SECOND = 0.7
"""A coarser look is steadier about what the object is: measured on the same sequences."""

UNLIMITED_STEPS = 1_000_000
"""Steps of a fine-tuning that only time ends."""

TUNED_SIZE = 416
"""Fine-tuned, the network knows the surroundings and can see finer; larger sizes were too slow for
what they gained (480 against 400 in experiments/results/online_choices.json)."""


@dataclass
class OnlineConfig:
    """Online fine-tuning on the first frame, and the propagation of masks.

    Attributes:
        mode: `zero-shot` never looks at the mask, `one-shot` is guided by the previous mask,
            `fine-tune` adapts to the first frame as well.
        adapt: What fine-tuning changes: `decoder` (ASPP and decoder, on cached features) or
            `full` (the trained stages of the encoder too).
        steps: Steps of fine-tuning.
        seconds: Time for fine-tuning, views included; it ends at whichever comes first. 0 means
            no limit. On the command line, a time without steps lifts the limit of steps.
        size: Short side at which the network sees frames, pixels; smaller frames stay as they are.
            0 takes `PLAIN_SIZE` without fine-tuning and `tuned_size` with.
        tuned_size: Short side with fine-tuning, where `size` is 0.
        views: Augmented views of the first frame that are encoded and cached, for fine-tuning and
            for the target model.
        lucid: Share of views with object and background moved apart.
        distractors: Share of views into which things are pasted that are not the object.
        view_scale: Range of the zoom of views.
        whole: Whether all steps run as one compiled program. None does so on an accelerator; on a
            CPU it gains nothing.
        rate: Learning rate of ASPP and decoder.
        backbone_rate: Learning rate of the encoder with `adapt: full`.
        frozen_stages: Stages of the encoder that `adapt: full` leaves alone.
        dice: Weight of soft Dice in the loss.
        guide_dropout: Share of views that are shown without a guide.
        memory_dropout: Share of views that are not told what a memory says of them.
        anchor: Weight that holds the adapted values to the parent's (L2-SP: Li et al., ICML 2018).
        replay: Rendered pictures, one of which joins every step so that the parent is not
            forgotten; 0 does without.
        keep: Part of the parent's weights mixed back after fine-tuning (WiSE-FT: Wortsman et al.,
            CVPR 2022).
        guide: What guides the fine-tuned network: `none`; `previous`, the previous mask; `blend`,
            the mean of the logits with and without it; or `target`, the mean of the previous mask
            and of what a target model says, which is solved for on the views (FRTM: Robinson et
            al., CVPR 2020). Weights without a guide do without.
        shot_guide: The same for mode `one-shot`, and for the second pass of `zero-shot`, where
            `target` is `blend`.
        recall: Whether the fine-tuned network is told what its memory says; mode `one-shot` always
            is.
        memory: Frames remembered beside the annotated one.
        memory_every: Frames between those that are remembered.
        trust: Confidence below which a frame is neither remembered nor learned from.
        online_steps: Steps of fine-tuning on a later frame (OnAVOS); 0 does without.
        online_every: Frames between those that are learned from.
        online_rate: Factor of the rates in these steps.
        online_weight: Further factor of the rates in steps on the later frame itself.
        refine: Whether the logits are refined at stride 2.
        flip: Whether the mirrored frame is segmented too, and both are averaged. None does so in
            mode `zero-shot`, where it pays most.
        second: Size of a second look at every frame, as a part of the first; both are averaged. 0
            does without; None takes `PLAIN_SECOND` in mode `zero-shot`, where it pays.
        agree: Mode `zero-shot` only: frames of the clip, those it is surest of, from which the
            others are segmented in a second pass; 0 segments every frame by itself.
        passage: Frames that such a pass looks over at once; bounds the memory of long clips.
        lost: Below this part of its usual area an object counts as lost: the guide is then
            unknown, so that the object can be found again anywhere.
        filter_components: Drop parts that do not touch the previous mask; of an object that is
            half hidden, what is missing may be a little further away.
        track_distractors: Follow what was dropped so, and keep it apart from the object when they
            touch.
        common_fate: With `track_distractors`, tell by motion too: what comes out from behind the
            object and stays with the background is no part of it, what reappears apart and comes
            along is. It takes optical flow between all frames; not in mode `zero-shot`.
        recognize: Likeness to the memory, -1..1, that a part must have to be believed where there
            is no last mask to go by: the object was lost, or has jumped. -1 believes all. The
            memory is coarse: small objects stay below 0, so only large ones can be asked for it.
        window: Frames encoded at once.
        threshold: Probability above which a pixel is object.
    """

    mode: Mode = "fine-tune"
    adapt: Adapt = "decoder"
    steps: int = 80
    seconds: float = 0.0
    size: int = 0
    tuned_size: int = TUNED_SIZE
    views: int = 12
    lucid: float = 0.5
    distractors: float = 0.0
    view_scale: tuple[float, float] = (0.8, 1.3)
    whole: bool | None = None
    rate: float = 2e-3
    backbone_rate: float = 3e-5
    frozen_stages: int = 3
    dice: float = 1.0
    guide_dropout: float = 0.5
    memory_dropout: float = 0.4
    anchor: float = 0.01
    replay: int = 0
    keep: float = 0.0
    guide: GuideUse = "target"
    shot_guide: GuideUse = "target"
    recall: bool = True
    memory: int = 3
    memory_every: int = 5
    trust: float = 0.8
    online_steps: int = 0
    online_every: int = 5
    online_rate: float = 0.3
    online_weight: float = 0.1
    refine: bool = True
    flip: bool | None = None
    second: float | None = None
    agree: int = 5
    passage: int = 100
    lost: float = 0.25
    filter_components: bool = True
    track_distractors: bool = True
    common_fate: bool = True
    recognize: float = -1.0
    window: int = 4
    threshold: float = 0.5

    @property
    def short_side(self) -> int:
        """Short side in force, pixels."""
        return self.size or (self.tuned_size if self.mode == "fine-tune" else PLAIN_SIZE)

    @property
    def second_look(self) -> float:
        """Size of the second look in force, as a part of the first; 0 for none."""
        if self.second is not None:
            return self.second
        return PLAIN_SECOND if self.mode == "zero-shot" else 0.0

    @property
    def mirrors(self) -> bool:
        """Whether the mirrored frame is segmented too."""
        return self.mode == "zero-shot" if self.flip is None else self.flip


def from_dict(kind: type, values: dict[str, Any], where: str | Path) -> Any:
    """Builds a config dataclass from plain values, refusing unknown keys and wrong kinds.

    Args:
        kind: Dataclass.
        values: Plain values, as YAML or JSON has them.
        where: File or option, for the message.

    Returns:
        An instance of `kind`.

    Raises:
        UsageError: A key is unknown or a value of the wrong kind.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"value": values or {}})).value
    except (ArgumentError, TypeError, ValueError) as error:
        raise UsageError(
            f"A configuration has the keys and the kinds of values of {kind.__name__}",
            met=" ".join(str(error).replace("value.", "").split()),
            where=where,
            remedy="Correct the key or value named",
        ) from error


def load_yaml(kind: type, path: str | Path) -> Any:
    """Reads a config dataclass from a YAML file.

    Args:
        kind: Dataclass.
        path: YAML file.

    Returns:
        An instance of `kind`.

    Raises:
        UsageError: The file is missing, no YAML, or has a wrong key or value.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError("A configuration is an existing YAML file", met="no such file", where=path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UsageError("A configuration is YAML", met=error, where=path) from error
    if not isinstance(values, dict):
        raise UsageError("A configuration is a mapping of keys", met=type(values), where=path)
    return from_dict(kind, values, path)


def to_plain(config: Any) -> dict[str, Any]:
    """Returns a config dataclass as plain values for YAML or JSON."""
    return _plain(asdict(config))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
