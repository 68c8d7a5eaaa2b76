"""Export as ONNX, for onnxruntime and everything else that reads it: a file for every endpoint.

The conversion is tf2onnx's. Frames may have any number and size, and the geometry is inside, as in
the other formats.
"""

from __future__ import annotations

from pathlib import Path

from deeplab_gygo.backend.extras import import_extra, unwritable, versions_of
from deeplab_gygo.export.endpoints import OUTPUTS, Ask, Endpoints, Format, inputs_of
from deeplab_gygo.export.parity import Answer, Pictures

OPSET = 18
"""Newest version of the operators that tf2onnx 1.17 writes."""


class Onnx(Format):
    """`serving_default.onnx` and, for an architecture with a guide, `guided.onnx`."""

    name = "onnx"
    marker = "serving_default.onnx"
    use = 'onnxruntime.InferenceSession("FOLDER/SIGNATURE.onnx").run(OUTPUTS, {"frames": ...})'

    def require(self) -> dict[str, str]:
        """Returns the versions of tf2onnx, onnx and onnxruntime."""
        for package in ("onnx", "tf2onnx", "onnxruntime"):
            import_extra(package, "onnx")
        return versions_of("onnx", "tf2onnx", "onnxruntime")

    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Converts every endpoint; weights become constants of each."""
        tf2onnx = import_extra("tf2onnx", "onnx")
        for name, concrete in endpoints.signatures.items():
            specs = concrete.structured_input_signature
            model, _ = tf2onnx.convert.from_function(
                getattr(endpoints.module, name),
                input_signature=[*specs[0], *specs[1].values()],
                opset=OPSET,
            )
            place = folder / f"{name}.onnx"
            try:
                place.write_bytes(model.SerializeToString())
            except OSError as error:
                raise unwritable(error.strerror or error, place) from error

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, Ask]:
        """Opens a session of onnxruntime on the CPU for every endpoint."""
        runtime = import_extra("onnxruntime", "onnx")

        def asking(name: str) -> Ask:
            session = runtime.InferenceSession(
                str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
            )

            def ask(pictures: Pictures) -> Answer:
                answers = session.run(list(OUTPUTS), inputs_of(name, pictures))
                return dict(zip(OUTPUTS, answers, strict=True))

            return ask

        return {name: asking(name) for name in names}
