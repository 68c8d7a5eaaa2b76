"""Replacement of strides by dilation, for a finer output with the same weights.

A stride that would exceed the output stride is left out, and every later convolution
with a kernel larger than 1x1 is dilated by it, so that each output sees the same input pixels
through the same weights (DeepLabV3, https://arxiv.org/abs/1706.05587, section 3.1).
"""

from __future__ import annotations

from deeplab_gygo.errors import UsageError

OUTPUT_STRIDES = (8, 16, 32)


class StridePlan:
    """Assigns strides and dilation rates to the layers of a network, in their order.

    Args:
        output_stride: Stride of the last features: 8, 16 or 32.

    Attributes:
        stride: Stride of the features so far.
        rate: Dilation of a convolution applied to the features so far.

    Raises:
        UsageError: Another output stride.
    """

    def __init__(self, output_stride: int):
        if output_stride not in OUTPUT_STRIDES:
            raise UsageError(
                "The output stride of a backbone must be 8, 16 or 32", met=output_stride
            )
        self._output_stride = output_stride
        self.stride = 1
        self.rate = 1

    def advance(self, stride: int) -> int:
        """Passes a layer with a stride in the original network.

        Args:
            stride: Its stride in the original network, 1 or 2.

        Returns:
            Its stride here. Where that is smaller, `rate` is larger for the layers behind it.
        """
        if self.stride * stride > self._output_stride:
            self.rate *= stride
            return 1
        self.stride *= stride
        return stride
