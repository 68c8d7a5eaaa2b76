"""The official DAVIS measures, protocols and reports; importable without Keras."""

from deeplab_gygo.evaluation.measures import Statistics, boundary_measure, jaccard, statistics
from deeplab_gygo.evaluation.protocol import (
    DatasetScore,
    SequenceScore,
    evaluate_folders,
    evaluate_results,
    evaluate_sequence,
)
from deeplab_gygo.evaluation.report import markdown_table, text_table, write_report
from deeplab_gygo.evaluation.scores import FRAME_POLICIES, FramePolicy, ObjectScore

__all__ = [
    "FRAME_POLICIES",
    "DatasetScore",
    "FramePolicy",
    "ObjectScore",
    "SequenceScore",
    "Statistics",
    "boundary_measure",
    "evaluate_folders",
    "evaluate_results",
    "evaluate_sequence",
    "jaccard",
    "markdown_table",
    "statistics",
    "text_table",
    "write_report",
]
