"""Export as a TensorFlow SavedModel.

The folder is a SavedModel: `saved_model.pb`, `variables/` and `assets.extra/model_card.json`.
TensorFlow Serving expects a version number below the name of the model: export to `NAME/1` for it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from deeplab_gygo import backend
from deeplab_gygo.backend.extras import save_signatures
from deeplab_gygo.export.endpoints import Endpoints, Format
from deeplab_gygo.export.parity import EndpointFn


class SavedModel(Format):
    """All endpoints as signatures of one SavedModel; its variables are stored once."""

    name = "saved_model"
    marker = "saved_model.pb"
    card_file = "assets.extra/model_card.json"  # where servers expect additional files
    any_precision = True
    use = "tf.saved_model.load(FOLDER).signatures[SIGNATURE](frames=...)"

    def require(self) -> dict[str, str]:
        """Returns nothing: only TensorFlow is needed, and every card has its version."""
        return {}

    def write(self, endpoints: Endpoints, folder: Path) -> None:
        """Writes the SavedModel."""
        save_signatures(endpoints.module, folder, endpoints.signatures)

    def load(self, folder: Path, names: tuple[str, ...]) -> dict[str, EndpointFn]:
        """Loads the SavedModel as a server would."""
        import tensorflow as tf

        loaded = tf.saved_model.load(str(folder))

        def open_endpoint(name: str) -> EndpointFn:
            signature = loaded.signatures[name]

            def call(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
                tensors = {key: tf.constant(value) for key, value in inputs.items()}
                return backend.to_numpy(signature(**tensors))

            call.keep = loaded  # signatures do not keep the variables of their model alive
            return call

        return {name: open_endpoint(name) for name in names}
