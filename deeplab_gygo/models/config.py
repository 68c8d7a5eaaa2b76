"""Architecture of DeepLabV3+ as a config dataclass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from deeplab_gygo.io.config_file import check_choices, check_range

Precision = Literal["auto", "float32", "bfloat16", "float16"]
KEY_LAYER = "memory_key"
"""Layer of the encoder that computes the keys of the memory; not a part of the backbone."""

DECODER_STRIDE = 4
"""Stride of the low-level features, of the guide and of the decoder's logits."""

GUIDE_PLANES = 2
"""Planes of the guide: the previous mask, and the score of a target model."""

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
        dropout: Dropout rate after the ASPP; 0.1 in the official implementation.
        guide: Whether the decoder takes the previous mask and the score of a target model as a
            guide.
        guide_channels: Width of the guide's own embedding at the output stride.
        memory: Whether the decoder takes the read-out of a space-time memory: every position is
            matched to the positions of the first frame and of earlier ones.
        key_channels: Width of the embeddings that are matched.
        refine: Whether the logits are refined to stride 1.
        refine_channels: Width of the refinement.
        refine_guides: Number of projected stride-2 feature maps that guide its filters.
        batch_norm_momentum: Momentum of BatchNorm in ASPP and decoder. The official .9997 needs
            30k steps to settle; shorter trainings need a smaller one.
        batch_norm_epsilon: Epsilon of the same; 1e-5 in the official implementation.

    Raises:
        UsageError: A value is out of range.
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

    # Bounds of what a weight file can ask for: every network has fewer than 100 million weights.
    MAX_CHANNELS: ClassVar[dict[str, int]] = {
        "aspp_channels": 512,
        "low_level_channels": 256,
        "decoder_channels": 512,
        "guide_channels": 256,
        "key_channels": 512,
        "refine_channels": 256,
        "refine_guides": 64,
    }

    def __post_init__(self) -> None:
        check_choices(self)
        for name, high in self.MAX_CHANNELS.items():
            check_range(self, name, 1, high)
        check_range(self, "dropout", 0, 0.99)
        check_range(self, "batch_norm_momentum", 0, 1)
        check_range(self, "batch_norm_epsilon", 1e-12, 1)

    @property
    def block_size(self) -> int:
        """Side of the block of decoder positions that one position at the output stride covers."""
        return self.output_stride // DECODER_STRIDE

    @property
    def trunk_name(self) -> str:
        """Name of the backbone, under the name that all architectures give it."""
        return self.backbone
