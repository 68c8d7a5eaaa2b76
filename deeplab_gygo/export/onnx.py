"""Export as ONNX, one file per endpoint, converted by tf2onnx."""

from __future__ import annotations

from pathlib import Path

from deeplab_gygo.backend.extras import import_extra, versions_of
from deeplab_gygo.export.endpoints import OUTPUTS, Endpoints, Format
from deeplab_gygo.export.parity import EndpointFn

OPSET = 18
"""Newest operator set that tf2onnx 1.17 writes."""


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
            (folder / f"{name}.onnx").write_bytes(model.SerializeToString())

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, EndpointFn]:
        """Opens a session of onnxruntime on the CPU for every endpoint."""
        runtime = import_extra("onnxruntime", "onnx")

        def open_endpoint(name: str) -> EndpointFn:
            session = runtime.InferenceSession(
                str(folder / f"{name}.onnx"), providers=["CPUExecutionProvider"]
            )
            return lambda inputs: dict(
                zip(OUTPUTS, session.run(list(OUTPUTS), inputs), strict=True)
            )

        return {name: open_endpoint(name) for name in names}
