"""The official DAVIS measures, protocols and reports; importable without Keras."""

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
