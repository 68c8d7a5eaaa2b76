"""Stride-to-dilation: how a classification network keeps a finer output without new weights.

A stride that would go beyond the wanted output stride is left out, and every later convolution
with a kernel larger than 1x1 is dilated by it, so that each output sees the same input pixels
through the same weights (DeepLabV3, https://arxiv.org/abs/1706.05587, section 3.1).
"""

from __future__ import annotations

from deeplab_gygo.errors import UsageError

OUTPUT_STRIDES = (8, 16, 32)


class StridePlan:
    """Hands out strides and dilation rates to the layers of a network, in their order.

    Args:
        output_stride: Input pixels for each step of the last features: 8, 16 or 32.

    Attributes:
        stride: Input pixels for each step of the features reached so far.
        rate: Dilation of a convolution applied to the features reached so far.

    Raises:
        UsageError: the output stride is none of those.
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
        """Pass a layer that has a stride in the original network.

        Args:
            stride: Its stride in the original network, 1 or 2.

        Returns:
            The stride it has here. Where that is less than the original one, `rate` has grown for
            the layers behind it.
        """
        if self.stride * stride > self._output_stride:
            self.rate *= stride
            return 1
        self.stride *= stride
        return stride
