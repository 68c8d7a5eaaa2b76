"""Export as OpenVINO's intermediate representation, `.xml` and `.bin` per endpoint.

By default OpenVINO computes in bfloat16 on processors with instructions for it, which is fast and
rounds. The parity check sets float32; a program that needs the same numbers sets it too.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from deeplab_gygo.backend.extras import import_extra, save_signatures, versions_of
from deeplab_gygo.export.endpoints import OUTPUTS, Endpoints, Format
from deeplab_gygo.export.parity import EndpointFn

EXACT_PRECISION = {"INFERENCE_PRECISION_HINT": "f32"}
"""Property of a compiled model that computes in float32 on every processor."""


class OpenVino(Format):
    """`serving_default.xml` and, for an architecture with a guide, `guided.xml`."""

    name = "openvino"
    marker = "serving_default.xml"
    use = (
        'openvino.Core().compile_model("FOLDER/SIGNATURE.xml", "CPU")({"frames": ...}); with the '
        'property {"INFERENCE_PRECISION_HINT": "f32"} for the numbers of the parity check, without '
        "it in bfloat16 on processors that support it"
    )

    def require(self) -> dict[str, str]:
        """Returns the version of OpenVINO."""
        import_extra("openvino", "openvino")
        return versions_of("openvino")

    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Converts every endpoint from a SavedModel of its own: only its default is read."""
        openvino = import_extra("openvino", "openvino")
        for name, concrete in endpoints.signatures.items():
            with TemporaryDirectory(dir=folder) as beside:
                save_signatures(endpoints.module, Path(beside), {"serving_default": concrete})
                model = openvino.convert_model(beside)
                openvino.save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, EndpointFn]:
        """Compiles every endpoint for the CPU, to compute in float32."""
        core = import_extra("openvino", "openvino").Core()

        def open_endpoint(name: str) -> EndpointFn:
            compiled = core.compile_model(str(folder / f"{name}.xml"), "CPU", EXACT_PRECISION)

            def call(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                outputs = compiled(inputs)
                return {key: np.array(outputs[key]) for key in OUTPUTS}

            return call

        return {name: open_endpoint(name) for name in names}
