"""Annotation files: masks from the formats of annotation tools, and results in these formats."""

from deeplab_gygo.io.annotations.reading import read_annotation
from deeplab_gygo.io.annotations.writer_base import ClipNames
from deeplab_gygo.io.annotations.writers import (
    ANNOTATION_KINDS,
    DATASET_KINDS,
    AnnotationWriter,
    DatasetWriter,
    annotation_files,
)

__all__ = [
    "ANNOTATION_KINDS",
    "DATASET_KINDS",
    "AnnotationWriter",
    "ClipNames",
    "DatasetWriter",
    "annotation_files",
    "read_annotation",
]
