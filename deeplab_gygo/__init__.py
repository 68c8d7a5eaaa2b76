"""DeepLabV3+ video object segmentation with online fine-tuning: one clip, one mask, every frame."""

__version__ = "0.1.0"
