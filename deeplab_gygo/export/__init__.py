"""Export of a network to formats that run without this package, each with a parity check."""

from deeplab_gygo.export.card import CARD_FORMAT, model_card
from deeplab_gygo.export.exporter import FORMATS, ExportReport, export_model

__all__ = ["CARD_FORMAT", "FORMATS", "ExportReport", "export_model", "model_card"]
