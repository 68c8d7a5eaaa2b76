"""Export for LiteRT (TensorFlow Lite): one file with the endpoints as its signatures.

Only LiteRT's own operators are used, so that the small runtime `ai-edge-litert` is all it needs.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from deeplab_gygo.backend.extras import import_extra, save_signatures, unwritable, versions_of
from deeplab_gygo.export.endpoints import Ask, Endpoints, Format, inputs_of
from deeplab_gygo.export.parity import Answer, Pictures


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
        place = folder / self.marker
        try:
            place.write_bytes(model)
        except OSError as error:
            raise unwritable(error.strerror or error, place) from error

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, Ask]:
        """Opens the file with the runtime."""
        runtime = import_extra("ai_edge_litert.interpreter", "litert", "ai-edge-litert")

        def asking(name: str) -> Ask:
            interpreter = runtime.Interpreter(str(folder / self.marker), num_threads=1)
            call = interpreter.get_signature_runner(name)

            def ask(pictures: Pictures) -> Answer:
                return call(**inputs_of(name, pictures))

            return ask

        return {name: asking(name) for name in names}
