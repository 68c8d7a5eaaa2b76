r"""Measures the time of every stage of segmenting a clip: warm medians.

    python tools/measure_speed.py --frames DAVIS/JPEGImages/480p/dog \
        --mask DAVIS/Annotations/480p/dog/00000.png --preset fast --engines keras openvino \
        --out experiments/results/speed_fast.json

Stages run one after the other here; in the program decoding and writing overlap with the network.
`clips` are whole runs of `--lengths` frames in this process, warm, files read and written. `start`
is a new process of the command, see tools/measure_startup.py. Fractions of the roofline are by
tools/roofline.py, for the stages of the network, in the precision of each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deeplab_gygo.cli.options import import_keras

import_keras()  # as the command line does

import numpy as np
from measure_clip import make_clip
from tabulate import tabulate

from deeplab_gygo.cli import demo
from deeplab_gygo.inference.config import preset
from deeplab_gygo.inference.network import one_of
from deeplab_gygo.io.writers import write_png
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.environment import hardware, peak_memory_mb, versions
from deeplab_gygo.runs.settings import RunSettings

STARTS = 3
"""Number of processes started for the time to the first step."""


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Returns the median time of a call after a warm-up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Stages:
    """Measures the stages of segmenting one object.

    Args:
        settings: Preset, weights, precision and engine.
        clip: Folder of frames.
        mask: Mask of the first frame.
        repeats: Number of calls per stage.
    """

    def __init__(self, settings: RunSettings, clip: Path, mask: Path, repeats: int):
        from deeplab_gygo.runs.runner import SequenceRunner

        self.settings, self.repeats = settings, repeats
        self.runner = SequenceRunner(settings)
        self.segmenter = self.runner._segmenter
        self.clip = open_clip(clip, mask)

    def measure(self) -> dict[str, dict[str, float]]:
        """Returns seconds by stage, and the work of the stages of the network."""
        from deeplab_gygo import backend

        step, preparation = self._adaptation()
        network, propagation = self.segmenter._network, self.segmenter._propagation
        tracked, view = self.segmenter._objects[0], propagation.views[0]
        size = self.segmenter.batch_size
        window = [self.clip.sequence.frame(index).image for index in range(1, 1 + size)]
        images = propagation.inputs(window)
        features = [backend.wait(network.encode(batch)) for batch in images]
        one = [one_of(each, 0) for each in features]
        readout = network.read(one[0], *tracked.memory.contents())
        guides = propagation._guides(view, one[0], tracked, lost=False)
        calls = {
            "read": lambda: self.clip.sequence.frame(1).image,
            "prepare": lambda: propagation.inputs(window[:1]),
            "encode": lambda: [backend.to_numpy(network.encode(batch)) for batch in images],
            "readout": lambda: backend.wait(network.read(one[0], *tracked.memory.contents())),
            "guide": lambda: backend.wait(propagation._guides(view, one[0], tracked, lost=False)),
            "decode_head": lambda: network.logits(one[0], guides, readout),
            "frame_after_encoding": lambda: propagation.probability(one, tracked),
        }
        stages = {
            name: {"seconds": median_seconds(call, self.repeats)} for name, call in calls.items()
        }
        stages["encode"]["seconds"] /= size
        plane = (tracked.probability > 0.5).astype(np.uint8) * 255
        with tempfile.TemporaryDirectory() as folder:
            write = partial(write_png, Path(folder) / "mask.png", plane)
            stages["write"] = {"seconds": median_seconds(write, self.repeats)}
        stages |= {"views": {"seconds": preparation}, "step": {"seconds": step}}
        works = self._work([batch[:1] for batch in images], one[0], guides, readout)
        if self.encoder_precision != "float32" and self.runner.precision == "float32":
            # Counted on the Keras network; the engine moves half of its bytes.
            works["encode"] = works["encode"]._replace(bytes=works["encode"].bytes / 2)
        for name, work in works.items():
            stages[name] |= {"operations": work.operations, "bytes": work.bytes}
        return stages

    @property
    def encoder_precision(self) -> str:
        """Precision of the encoder, which an engine chooses itself."""
        return getattr(self.segmenter._network._encode, "precision", self.runner.precision)

    def _adaptation(self) -> tuple[float, float]:
        """Returns the median seconds of a step, and of the preparation before the first one."""
        frame, ends = self.clip.sequence.frame(self.clip.first_annotated), []
        for _ in range(2):  # the first one compiles
            ends = [time.perf_counter()]
            self.segmenter.begin(frame, self.clip.mask, partial(_note, ends))
        if len(ends) < 3:
            return float("nan"), float("nan")
        steps = np.diff(ends)
        step = float(np.median(steps[1:]))
        return step, float(steps[0]) - step

    def _work(
        self, images: list[np.ndarray], features: Any, guides: list[Any], readout: Any
    ) -> dict:
        import keras
        from roofline import Work, work_of

        parent = self.runner.parent
        guide = None if guides[0] is None else guides[0][None]
        inputs = {
            name: keras.ops.convert_to_tensor(value)
            for name, value in parent.head_inputs(features, guide, readout).items()
        }
        encoder = parent.build_encoder()
        encode = partial(encoder, training=False)
        return {
            "encode": Work.total(work_of(encode, image.astype(np.float32)) for image in images),
            "decode_head": work_of(partial(parent.head, training=False), inputs).times(len(guides)),
            "step": work_of(_gradient(parent.head), inputs),
        }

    def clips(self, lengths: list[int], frames: Path, mask: Path) -> list[dict[str, float]]:
        """Measures whole clips, files read and written, with a warm network."""
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for length in lengths:
                clip = open_clip(make_clip(frames, length, Path(folder) / f"clip{length}"), mask)
                record = self.runner.run(clip, Path(folder) / f"out{length}", keep_bars=False)
                rows.append(
                    {
                        "frames": length,
                        "seconds": record.total_seconds,
                        "adaptation_seconds": record.adaptation_seconds,
                        "fps": record.amortized_fps,
                    }
                )
        return rows


def _note(ends: list[float], *_: Any) -> None:
    ends.append(time.perf_counter())


def _gradient(head: Any) -> Callable[[Any], Any]:
    """Returns a function from inputs to the gradient of the weights of the head."""
    from deeplab_gygo import backend

    if backend.name() == "jax":
        import jax

        state = [v.value for v in head.non_trainable_variables]

        def loss(weights, inputs):
            return head.stateless_call(weights, state, inputs, training=False)[0].sum()

        return lambda inputs: jax.grad(loss)([v.value for v in head.trainable_variables], inputs)
    import tensorflow as tf

    def gradient(inputs):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(head(inputs, training=False))
        return tape.gradient(total, [v.value for v in head.trainable_variables])

    return gradient


def start_of_a_process(options: argparse.Namespace) -> dict[str, float]:
    """Measures the command up to its first step; empty for modes without steps."""
    from measure_startup import measure, median_of

    if options.mode and options.mode != "fine-tune":
        return {}
    passed = ["--preset", options.preset, "--precision", options.precision]
    passed += ["--engine", options.engines[0]]
    passed += ["--weights", str(options.weights)] if options.weights else []
    return median_of([measure(options.frames, options.mask, passed) for _ in range(STARTS)])


def settings_of(options: argparse.Namespace, engine: str) -> RunSettings:
    """Returns the settings of a measurement with an engine."""
    return RunSettings(
        preset(options.preset, mode=options.mode), weights=options.weights,
        precision=options.precision, outputs=("masks",), progress=False, engine=engine,
    )  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Formats a report as text."""
    parts = []
    for run in report["runs"]:
        rows = [
            [
                name,
                f"{1000 * stage['seconds']:.1f}",
                *([f"{stage['operations'] / 1e9:.2f}", f"{stage['bytes'] / 1e6:.0f}",
                   f"{100 * stage['fraction']:.0f}"] if "operations" in stage else ["", "", ""]),
            ]
            for name, stage in run["stages"].items()
        ]  # fmt: skip
        header = ["stage", "ms", "Gop", "MB", "% of the roofline"]
        precision = run["encoder_precision"]
        parts.append(f"{run['preset']}, engine {run['engine']}, encoder in {precision}")
        parts.append(tabulate(rows, header, disable_numparse=True))
        parts += [
            f"{clip['frames']} frames: {clip['seconds']:.1f} s, {clip['fps']:.2f} FPS"
            for clip in run["clips"]
        ]
    parts += [
        f"machine, {kind}: {machine['operations'] / 1e9:.0f} Gop/s, "
        f"{machine['bytes'] / 1e9:.1f} GB/s"
        for kind, machine in report["machine"].items()
    ]
    return "\n".join(parts)


def main() -> None:
    """Measures and writes the results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, help="folder of frames [the demo clip]")
    parser.add_argument("--mask", type=Path, help="mask of the first of them")
    parser.add_argument("--preset", default="fast", help="preset of DeepLabV3+")
    parser.add_argument("--mode", default="", help="mode [of the preset]")
    parser.add_argument("--weights", default=None, help="parent file [the shipped one]")
    parser.add_argument("--precision", default="auto", help="numeric policy")
    parser.add_argument("--engines", nargs="+", default=["keras"], help="runtimes of the encoder")
    parser.add_argument(
        "--lengths", type=int, nargs="*", default=[25, 70], help="numbers of frames"
    )
    parser.add_argument("--repeats", type=int, default=15, help="calls per stage")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    if (options.frames is None) != (options.mask is None):
        parser.error("--frames and --mask are given together or not at all")
    if options.frames is None:
        clip = Path(demo.__file__).with_name("demo_clip")
        options.frames, options.mask = clip / "frames", clip / "masks" / "00000.png"
    measure(options)


def measure(options: argparse.Namespace) -> None:
    """Measures every engine, writes the report and prints it."""
    report = {"start": start_of_a_process(options), "runs": []}
    from roofline import Machine, Work, measure_machine

    machines: dict[str, Machine] = {}
    for engine in options.engines:
        stages = Stages(settings_of(options, engine), options.frames, options.mask, options.repeats)
        measured = stages.measure()
        for name, stage in measured.items():
            if "operations" not in stage:
                continue
            kind = stages.encoder_precision if name == "encode" else stages.runner.precision
            machines[kind] = machines.get(kind) or measure_machine(kind)
            least = Work(stage["operations"], stage["bytes"]).seconds(machines[kind])
            stage["fraction"] = least / stage["seconds"]
        report["runs"].append(
            {
                "preset": options.preset,
                "engine": engine,
                "precision": stages.runner.precision,
                "encoder_precision": stages.encoder_precision,
                "stages": measured,
                "clips": stages.clips(options.lengths, options.frames, options.mask),
            }
        )
    report |= {
        "machine": {kind: machine._asdict() for kind, machine in machines.items()},
        "peak_memory_mb": peak_memory_mb(),
        "hardware": hardware(),
        "versions": versions(),
        "repeats": options.repeats,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(table(report))


if __name__ == "__main__":
    main()
