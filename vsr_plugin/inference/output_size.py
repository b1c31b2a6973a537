"""The size of the output: what is asked for, what that is in pixels, and how a restored frame is brought to it."""

import math
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real

from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.media import FrameSource
from vsr_plugin.ops.frames import shrunk_sides
from vsr_plugin.ops.resize import bicubic_resize

#: No video format of today goes beyond this, whatever the memory would hold.
_LONGEST_SIDE = 65535


@dataclass(frozen=True)
class OutputSize:
    """What is asked for; nothing, by default, for the size that the network gives.

    Attributes:
        scale: sides of the output over those of the input, rounded to the nearest pixel.
        height: in place of it, rows of the output as it is shown. The columns follow the shape of the picture, to the
            nearest even number where the rows are even, since most videos keep colour for pairs of pixels.
        shrink: by how much the input is reduced before it is restored. What is asked for is still measured by the
            input as it came.

    Raises:
        VSRError: both are given, or one is no positive number; or frames would be enlarged before.

    Example:
        >>> OutputSize().of(180, 321, 4), OutputSize(scale=1.5).of(180, 321, 4), OutputSize(height=360).of(180, 321, 4)
        ((720, 1284), (270, 482), (360, 642))
    """

    scale: float | None = None
    height: int | None = None
    shrink: float = 1.0

    def __post_init__(self) -> None:
        if self.scale is not None and self.height is not None:
            raise VSRError(
                f"scale {self.scale} and height {self.height} both set the size of the output; give only one"
            )
        if self.scale is not None and not (isinstance(self.scale, Real) and 0 < self.scale < math.inf):
            raise VSRError(f"scale must be a number above 0, such as 2 or 1.5, got {self.scale!r}")
        if self.height is not None and not (isinstance(self.height, Integral) and self.height > 0):
            raise VSRError(f"height must be a whole number of pixels, 1 or more, got {self.height!r}")
        if not (isinstance(self.shrink, Real) and 1 <= self.shrink < math.inf):
            raise VSRError(f"shrink must be a factor of 1 or more, by which frames are reduced, got {self.shrink!r}")

    def of(self, height: int, width: int, net_scale: int) -> tuple[int, int]:
        """Rows and columns of the output.

        Args:
            height, width: of the input, before it is reduced.
            net_scale: HR pixels per LR pixel and side that the network gives.

        Raises:
            VSRError: a side would be longer than any video can have, or frames be enlarged by a network that restores
                them at their size.
        """
        if self.height is not None:
            columns = Fraction(self.height * width, height)
            step = 2 if self.height % 2 == 0 else 1
            asked, size = f"height {self.height}", (self.height, _nearest(columns, step))
        elif self.scale is not None:
            factor = min(float(self.scale), _LONGEST_SIDE + 1)
            asked, size = f"scale {float(self.scale):g}", (_nearest(height * factor), _nearest(width * factor))
        else:
            rows, columns = shrunk_sides(height, width, self.shrink)
            return net_scale * rows, net_scale * columns
        if net_scale == 1 and size[0] > height:
            raise VSRError(
                f"{asked} enlarges frames of {width}x{height}, which these weights restore at their size; leave it "
                "out, or take weights that enlarge, such as basicvsr_pp_reds4"
            )
        if max(size) > _LONGEST_SIDE:
            raise VSRError(
                f"{asked} makes a side of more than {_LONGEST_SIDE} pixels of frames of {width}x{height}; choose less"
            )
        return size

    def of_source(self, source: FrameSource, net_scale: int) -> tuple[int, int]:
        """Rows and columns of the output for a source, as its frames come, which may lie on their side.

        Raises:
            VSRError: see :meth:`of`.
        """
        turn = source.orientation.size
        return turn(*self.of(*turn(source.height, source.width), net_scale))


def _nearest(length: float | Fraction, step: int = 1) -> int:
    """The multiple of ``step`` that is nearest, the larger one of two, but not 0."""
    return max(1, math.floor(length / step + Fraction(1, 2))) * step


def fitted(hr: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring an HR frame ``(3, H, W)`` to ``size``, bicubically and antialiased; one that has it stays as it is.

    The frame should not be clipped or rounded before, so that this happens once.
    """
    return hr if hr.shape[-2:] == size else bicubic_resize(hr, size).contiguous()
