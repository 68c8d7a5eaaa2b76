"""The official DAVIS measures, protocols and reports; importable without Keras.

Its names are imported by their first use: inference needs one measure, and not the reports.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab_gygo.evaluation.measures import Statistics, boundary_measure, jaccard, statistics
    from deeplab_gygo.evaluation.protocol import evaluate
    from deeplab_gygo.evaluation.report import markdown_table, text_table, write_report
    from deeplab_gygo.evaluation.scores import (
        FRAME_POLICIES,
        DatasetScore,
        FramePolicy,
        ObjectScore,
        SequenceScore,
    )
    from deeplab_gygo.evaluation.streaming import evaluate_sequence

__all__ = [
    "FRAME_POLICIES",
    "DatasetScore",
    "FramePolicy",
    "ObjectScore",
    "SequenceScore",
    "Statistics",
    "boundary_measure",
    "evaluate",
    "evaluate_sequence",
    "jaccard",
    "markdown_table",
    "statistics",
    "text_table",
    "write_report",
]

_MODULES = {
    "measures": ("Statistics", "boundary_measure", "jaccard", "statistics"),
    "protocol": ("evaluate",),
    "report": ("markdown_table", "text_table", "write_report"),
    "scores": ("FRAME_POLICIES", "DatasetScore", "FramePolicy", "ObjectScore", "SequenceScore"),
    "streaming": ("evaluate_sequence",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"deeplab_gygo.evaluation.{module}"), name)
    raise AttributeError(f"module 'deeplab_gygo.evaluation' has no attribute {name!r}")
