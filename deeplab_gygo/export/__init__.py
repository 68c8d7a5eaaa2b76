"""Export of a network to formats that run without this package, each with a parity check."""

from deeplab_gygo.export.card import CARD_FORMAT, model_card
from deeplab_gygo.export.saved_model import CARD_FILE, ExportReport, export_saved_model

__all__ = ["CARD_FILE", "CARD_FORMAT", "ExportReport", "export_saved_model", "model_card"]
