"""DeepLabV3+ video object segmentation with online fine-tuning: one clip, one mask, every frame."""

from deeplab_gygo._version import __version__

__all__ = ["__version__"]
