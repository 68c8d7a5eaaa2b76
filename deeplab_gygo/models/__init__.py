"""Networks: backbones with adjustable output stride, DeepLabV3+, and how their weights are kept."""
