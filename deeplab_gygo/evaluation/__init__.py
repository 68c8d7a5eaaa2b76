"""The official DAVIS measures, protocols and reports; importable without Keras."""

from .measures import Statistics, boundary_measure, jaccard, statistics
from .protocol import (
    DatasetScore,
    SequenceScore,
    evaluate_folders,
    evaluate_results,
    evaluate_sequence,
)
from .report import markdown_table, text_table, write_report
from .scores import FRAME_POLICIES, FramePolicy, ObjectScore

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
