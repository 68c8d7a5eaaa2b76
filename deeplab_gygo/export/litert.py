"""Export for LiteRT (TensorFlow Lite): one file with the endpoints as its signatures.

Only LiteRT's own operators are used, so that the small runtime `ai-edge-litert` is all it needs.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from deeplab_gygo.backend.extras import import_extra, save_signatures, versions_of
from deeplab_gygo.export.endpoints import Endpoints, Format
from deeplab_gygo.export.parity import EndpointFn


class LiteRt(Format):
    """`model.tflite`; its signatures share the weights."""

    name = "litert"
    marker = "model.tflite"
    use = (
        'ai_edge_litert.interpreter.Interpreter("FOLDER/model.tflite").get_signature_runner'
        "(SIGNATURE)(frames=...)"
    )

    def require(self) -> dict[str, str]:
        """Returns the version of the runtime; the converter is TensorFlow's."""
        import_extra("ai_edge_litert.interpreter", "litert", "ai-edge-litert")
        return versions_of("ai-edge-litert")

    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Converts all endpoints from one SavedModel."""
        import tensorflow as tf

        with TemporaryDirectory(dir=folder) as beside:
            save_signatures(endpoints.module, Path(beside), endpoints.signatures)
            converter = tf.lite.TFLiteConverter.from_saved_model(
                beside, signature_keys=list(endpoints.signatures)
            )
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            model = converter.convert()
        (folder / self.marker).write_bytes(model)

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, EndpointFn]:
        """Opens the file with the runtime, once for every endpoint."""
        runtime = import_extra("ai_edge_litert.interpreter", "litert", "ai-edge-litert")

        def open_endpoint(name: str) -> EndpointFn:
            interpreter = runtime.Interpreter(str(folder / self.marker), num_threads=1)
            call = interpreter.get_signature_runner(name)
            return lambda inputs: call(**inputs)

        return {name: open_endpoint(name) for name in names}
