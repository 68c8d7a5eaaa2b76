r"""Times every stage of segmenting a clip apart, warm, as medians: where the seconds go.

    python tools/measure_speed.py --frames DAVIS/JPEGImages/480p/dog \
        --mask DAVIS/Annotations/480p/dog/00000.png --preset fast --engines keras openvino \
        --out experiments/results/speed_fast.json

Stages run one after the other here, and overlap in the program: decoding and writing have threads
of their own there. `clips` are whole runs of `--lengths` frames in this process, warm, files read
and written. `start` is a new process of the command, as tools/measure_startup.py takes it.
Fractions of the machine's limit are by tools/roofline.py, for the stages that are a network's, in
the precision that each computes in.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from deeplab_gygo.cli.startup import import_keras

import_keras()  # as the command line does

import numpy as np
from measure_clip import make_clip

from deeplab_gygo.inference.config import preset
from deeplab_gygo.io.writers import write_png
from deeplab_gygo.runs.clip import open_clip
from deeplab_gygo.runs.environment import hardware, peak_memory_mb, versions
from deeplab_gygo.runs.settings import RunSettings

STARTS = 3
"""Processes that are started for the time to the first step."""


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Returns the median time of a call, after one that is not counted."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Stages:
    """Times the stages of one object's segmentation at a preset.

    Args:
        settings: Preset, weights, precision and engine.
        clip: Folder of frames.
        mask: Mask of the first frame.
        repeats: Calls of every stage.
    """

    def __init__(self, settings: RunSettings, clip: Path, mask: Path, repeats: int):
        from deeplab_gygo.runs.runner import SequenceRunner

        self.settings, self.repeats = settings, repeats
        self.runner = SequenceRunner(settings)
        self.segmenter = self.runner._segmenter
        self.clip = open_clip(clip, mask)

    def measure(self) -> dict[str, dict[str, float]]:
        """Returns seconds by stage, and for stages of a network what they must do."""
        from deeplab_gygo import backend

        steps, views = self._adaptation()
        network, propagation = self.segmenter._network, self.segmenter._propagation
        target = self.segmenter._targets[0]
        window = [self.clip.sequence.frame(i) for i in range(1, 1 + self.settings.online.window)]
        images = propagation.images([frame.image for frame in window])
        features = [backend.wait(network.encode(batch)) for batch in images]
        one = [{n: v[:1] for n, v in each.items()} for each in features]
        readout = propagation.readout(one[0], target)
        told = partial(propagation.guides, propagation.looks[0], one[0], target, lost=False)
        guides = told()
        path = self.clip.sequence.frame(1)
        timed = lambda call: median_seconds(call, self.repeats)  # noqa: E731
        network_seconds = {
            "encode": timed(lambda: [backend.to_numpy(network.encode(b)) for b in images])
            / len(window),
            "readout": timed(lambda: backend.wait(propagation.readout(one[0], target))),
            "guide": timed(lambda: backend.wait(told())),
            "decode_head": timed(lambda: network.logits(one[0], guides, readout)),
        }
        whole = timed(lambda: propagation.probability(one, target))
        plane = (target.previous > 0.5).astype(np.uint8) * 255
        with tempfile.TemporaryDirectory() as folder:
            writing = timed(lambda: write_png(Path(folder) / "mask.png", plane))
        stages = {
            "read": {"seconds": timed(lambda: _decoded(self.clip, path.index))},
            "prepare": {"seconds": timed(lambda: propagation.images([window[0].image]))},
            **{name: {"seconds": value} for name, value in network_seconds.items()},
            "frame_after_encoding": {"seconds": whole},
            "write": {"seconds": writing},
            "views": {"seconds": views},
            "step": {"seconds": steps},
        }
        works = self._work([batch[:1] for batch in images], one[0], guides, readout)
        if self.encoder_precision != "float32" and self.runner.precision == "float32":
            # Counted on the network as Keras has it; the engine moves half of its bytes.
            works["encode"] = works["encode"]._replace(bytes=works["encode"].bytes / 2)
        for name, work in works.items():
            stages[name] |= {"operations": work.operations, "bytes": work.bytes}
        return stages

    @property
    def encoder_precision(self) -> str:
        """Precision that the encoder computes in, which an engine chooses itself."""
        return getattr(self.segmenter._network._encode, "precision", self.runner.precision)

    def _adaptation(self) -> tuple[float, float]:
        """Returns the median seconds of a step, and those before the first one."""
        frame, ends = self.clip.sequence.frame(self.clip.start), []
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
        told = {
            name: keras.ops.convert_to_tensor(value)
            for name, value in parent.head_inputs(
                features, None if guides[0] is None else guides[0][None], readout
            ).items()
        }
        head = lambda inputs: parent.head(inputs, training=False)  # noqa: E731
        encode = lambda x: parent.encoder(x, training=False)  # noqa: E731
        return {
            "encode": Work.total(work_of(encode, image.astype(np.float32)) for image in images),
            "decode_head": work_of(head, told).times(len(guides)),
            "step": work_of(_gradient(parent.head), told),
        }

    def clips(self, lengths: list[int], frames: Path, mask: Path) -> list[dict[str, float]]:
        """Segments whole clips, files read and written; the network is warm."""
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


def _decoded(clip: Any, index: int) -> np.ndarray:
    return clip.sequence.frame(index).image


def _gradient(head: Any) -> Callable[[Any], Any]:
    """Makes the function from inputs to the gradient of the head's weights."""
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
    """Measures how long the command takes to its first step; nothing where none is taken."""
    from measure_startup import measure, median_of

    if options.mode and options.mode != "fine-tune":
        return {}
    passed = ["--preset", options.preset, "--precision", options.precision]
    passed += ["--engine", options.engines[0]]
    passed += ["--weights", str(options.weights)] if options.weights else []
    return median_of([measure(options.frames, options.mask, passed) for _ in range(STARTS)])


def settings_of(options: argparse.Namespace, engine: str) -> RunSettings:
    """Makes the settings that are measured with an engine."""
    online = preset(options.preset)
    if options.mode:
        online = dataclasses.replace(online, mode=options.mode)
    return RunSettings(
        online, weights=options.weights, precision=options.precision, outputs=("masks",),
        progress=False, engine=engine,
    )  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Writes a report as text."""
    lines = []
    for run in report["runs"]:
        lines.append(
            f"{run['preset']}, engine {run['engine']}, encoder in {run['encoder_precision']}"
        )
        for name, stage in run["stages"].items():
            line = f"  {name:<22}{1000 * stage['seconds']:>9.1f} ms"
            if "operations" in stage:
                line += f"{stage['operations'] / 1e9:>9.2f} Gop{stage['bytes'] / 1e6:>8.0f} MB"
                line += f"{100 * stage['fraction']:>7.0f} % of the limit"
            lines.append(line)
        for clip in run["clips"]:
            lines.append(
                f"  {clip['frames']} frames: {clip['seconds']:.1f} s, {clip['fps']:.2f} FPS"
            )
    for kind, machine in report["machine"].items():
        lines.append(
            f"machine, {kind}: {machine['operations'] / 1e9:.0f} Gop/s, "
            f"{machine['bytes'] / 1e9:.1f} GB/s"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and writes the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, help="folder of frames; without, a rendered clip")
    parser.add_argument("--mask", type=Path, help="mask of the first of them")
    parser.add_argument("--preset", default="fast", help="preset of DeepLabV3+")
    parser.add_argument("--mode", default="", help="mode instead of the preset's")
    parser.add_argument("--weights", default=None, help="parent instead of the shipped one")
    parser.add_argument("--precision", default="auto", help="numeric policy")
    parser.add_argument("--engines", nargs="+", default=["keras"], help="runtimes of the encoder")
    parser.add_argument("--lengths", type=int, nargs="*", default=[25, 70], help="frames of clips")
    parser.add_argument("--repeats", type=int, default=15, help="calls of every stage")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args()
    if (options.frames is None) != (options.mask is None):
        parser.error("--frames and --mask are given together, or none of them")
    with tempfile.TemporaryDirectory() as folder:
        if options.frames is None:
            options.frames, options.mask = rendered_clip(Path(folder))
        measure(options)


def rendered_clip(folder: Path) -> tuple[Path, Path]:
    """Renders the clip of `deeplab-gygo demo`, lying; returns its frames and its first mask."""
    from product_renderer.clip import write_product_clip

    write_product_clip(folder / "clip", frames=25, size=(480, 854), seed=0)
    return folder / "clip" / "frames", folder / "clip" / "masks" / "00000.png"


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
