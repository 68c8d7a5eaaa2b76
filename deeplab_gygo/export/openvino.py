"""Export as OpenVINO's intermediate representation: two files, `.xml` and `.bin`, for an endpoint.

OpenVINO computes in bfloat16 by itself where a processor has instructions for it, which is fast and
rounds. The comparison with the Python path asks for float32; a program that wants the same numbers
asks for it too.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from deeplab_gygo.backend.extras import import_extra, save_signatures, versions_of
from deeplab_gygo.export.endpoints import OUTPUTS, Ask, Endpoints, Format, inputs_of
from deeplab_gygo.export.parity import Answer, Pictures

EXACTLY = {"INFERENCE_PRECISION_HINT": "f32"}
"""Property with which a model is compiled to compute in float32 on every processor."""


class OpenVino(Format):
    """`serving_default.xml` and, for an architecture with a guide, `guided.xml`."""

    name = "openvino"
    marker = "serving_default.xml"
    use = (
        'openvino.Core().compile_model("FOLDER/SIGNATURE.xml", "CPU")({"frames": ...}); with the '
        'property {"INFERENCE_PRECISION_HINT": "f32"} for the numbers of the parity check, without '
        "it in bfloat16 on processors that have it"
    )

    def require(self) -> dict[str, str]:
        """Returns the version of OpenVINO."""
        import_extra("openvino", "openvino")
        return versions_of("openvino")

    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Converts every endpoint from a SavedModel of its own: only the default one is read."""
        openvino = import_extra("openvino", "openvino")
        for name, concrete in endpoints.signatures.items():
            with TemporaryDirectory(dir=folder) as beside:
                save_signatures(endpoints.module, Path(beside), {"serving_default": concrete})
                model = openvino.convert_model(beside)
                openvino.save_model(model, str(folder / f"{name}.xml"), compress_to_fp16=False)

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, Ask]:
        """Compiles every endpoint for the CPU, to compute in float32."""
        core = import_extra("openvino", "openvino").Core()

        def asking(name: str) -> Ask:
            compiled = core.compile_model(str(folder / f"{name}.xml"), "CPU", EXACTLY)

            def ask(pictures: Pictures) -> Answer:
                answers = compiled(inputs_of(name, pictures))
                return {key: np.array(answers[key]) for key in OUTPUTS}

            return ask

        return {name: asking(name) for name in names}
