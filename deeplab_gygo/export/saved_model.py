"""Export as a TensorFlow SavedModel.

The folder is a SavedModel itself, so that `tf.saved_model.load(folder)` works as it is:
`saved_model.pb`, `variables/` and `assets.extra/model_card.json`. TensorFlow Serving wants a
version number below the model's name: export to `NAME/1` for it.
"""

from __future__ import annotations

from pathlib import Path

from deeplab_gygo import backend
from deeplab_gygo.backend.extras import save_signatures
from deeplab_gygo.export.endpoints import Ask, Endpoints, Format, inputs_of
from deeplab_gygo.export.parity import Answer, Pictures


class SavedModel(Format):
    """All endpoints as signatures of one SavedModel; its variables are stored once."""

    name = "saved_model"
    marker = "saved_model.pb"
    card_file = "assets.extra/model_card.json"  # where servers expect a user's own files
    any_precision = True
    use = "tf.saved_model.load(FOLDER).signatures[SIGNATURE](frames=...)"

    def require(self) -> dict[str, str]:
        """Returns nothing: TensorFlow, whose version every card has, is all that is needed."""
        return {}

    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Writes the SavedModel."""
        save_signatures(endpoints.module, folder, endpoints.signatures)

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, Ask]:
        """Loads the SavedModel as a server would."""
        import tensorflow as tf

        loaded = tf.saved_model.load(str(folder))

        def asking(name: str) -> Ask:
            call = loaded.signatures[name]

            def ask(pictures: Pictures) -> Answer:
                inputs = inputs_of(name, pictures)
                tensors = {key: tf.constant(value) for key, value in inputs.items()}
                return backend.to_numpy(call(**tensors))

            ask.keep = loaded  # signatures do not keep the variables of their model alive
            return ask

        return {name: asking(name) for name in names}
