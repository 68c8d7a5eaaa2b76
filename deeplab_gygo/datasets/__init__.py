"""What is written: folders that appear whole, masks, overlays, cut-outs, sheets, records."""

from .cutouts import CutoutWriter, SoftMaskWriter
from .directory import OutputDirectory
from .overlay import OverlayWriter, overlay
from .record import RECORD_NAME, RunRecord
from .sheet import contact_sheet
from .writers import MaskWriter

__all__ = [
    "RECORD_NAME",
    "CutoutWriter",
    "MaskWriter",
    "OutputDirectory",
    "OverlayWriter",
    "RunRecord",
    "SoftMaskWriter",
    "contact_sheet",
    "overlay",
]
