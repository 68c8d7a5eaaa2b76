"""Times a space-time memory network of random weights in torch on a GPU.

The encoder is ResNet-50 up to stride 16, the read-out attends to five frames (STM: Oh et al., ICCV
2019), and the decoder joins features of strides 8 and 4. Everything is bfloat16, one frame of
480x864 a call. Prints frames per second, called from Python and replayed as a CUDA graph.

It has not run on a GPU yet, only on a CPU without the graph.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

KEY, VALUE, WIDTH = 128, 512, 256
"""Channels of keys, values and the decoder, as in the paper."""


def network() -> Any:
    """Builds a module of image, keys [1, T h w, KEY] and values [1, T h w, VALUE] of the memory."""
    import torch
    from torch import nn
    from torch.nn import functional
    from torchvision.models import resnet50

    class Peer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            net = resnet50(weights=None)
            self.stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)
            self.stages = nn.ModuleList([net.layer1, net.layer2, net.layer3])
            self.key = nn.Conv2d(1024, KEY, 3, padding=1)
            self.value = nn.Conv2d(1024, VALUE, 3, padding=1)
            self.join = nn.Conv2d(2 * VALUE, WIDTH, 3, padding=1)
            self.skips = nn.ModuleList([nn.Conv2d(c, WIDTH, 3, padding=1) for c in (512, 256)])
            self.end = nn.Conv2d(WIDTH, 2, 3, padding=1)

        def forward(self, image: Any, keys: Any, values: Any) -> Any:
            features, finer = self.stem(image), []
            for stage in self.stages:
                features = stage(features)
                finer.append(features)
            query = self.key(features).flatten(2).transpose(1, 2)
            affinity = functional.softmax(query @ keys.transpose(1, 2) / KEY**0.5, -1)
            read = (affinity @ values).transpose(1, 2).unflatten(2, features.shape[-2:])
            features = self.join(torch.cat([read, self.value(features)], 1))
            for skip, kept in zip(self.skips, finer[1::-1], strict=True):
                larger = functional.interpolate(features, size=kept.shape[-2:], mode="bilinear")
                features = functional.relu(larger + skip(kept))
            return self.end(features)

    return Peer().eval()


def frames_per_second(
    call: Callable[[], Any], seconds: float, synchronize: Callable[[], None]
) -> float:
    """Counts calls for some seconds, after a warm-up."""
    for _ in range(5):
        call()
    synchronize()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(5):
            call()
        synchronize()
        count += 5
    return count / (time.perf_counter() - start)


def measure(tiny: bool) -> None:
    """Measures and prints what is known after each part as a line of JSON."""
    import torch

    device, size, seconds = ("cpu", (64, 96), 0.1) if tiny else ("cuda", (480, 864), 2.0)
    torch.backends.cudnn.benchmark = True
    kind: dict[str, Any] = {"device": device, "dtype": torch.bfloat16}
    model = network().to(**kind, memory_format=torch.channels_last)
    image = torch.randn(1, 3, *size, **kind).to(memory_format=torch.channels_last)
    places = 5 * (size[0] // 16) * (size[1] // 16)
    memory = torch.randn(1, places, KEY, **kind), torch.randn(1, places, VALUE, **kind)
    synchronize = (lambda: None) if tiny else torch.cuda.synchronize

    def call() -> Any:
        return model(image, *memory)

    found = {"called from Python": frames_per_second(call, seconds, synchronize)}
    print(json.dumps(found), flush=True)
    if not tiny:
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()
        synchronize()
        with torch.cuda.graph(graph):
            call()
        found["as a CUDA graph"] = frames_per_second(graph.replay, seconds, synchronize)
        print(json.dumps(found), flush=True)


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true", help="rehearse on a CPU")
    options = parser.parse_args()
    import torch

    with torch.inference_mode():
        measure(options.tiny)


if __name__ == "__main__":
    main()
