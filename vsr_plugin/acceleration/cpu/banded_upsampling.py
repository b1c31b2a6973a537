"""The upsampling component in bands of rows whose intermediates stay in the cache."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.cpu.block_conv import BlockConv
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.models.upsampling import PixelShufflePack, PixelShuffleUpsampling, enlarged

#: Bytes that the largest intermediate of a band has, and may have where rows are long. More than about 32 MB is mapped
#: afresh by glibc at every call and pays a page fault for each 4 KB, which costs as much as the convolution; and a
#: third-level cache holds it.
_BAND_BYTES, _MAX_BYTES = 12 * 2**20, 28 * 2**20


class _ShuffleConv(nn.Module):
    """A :class:`PixelShufflePack` followed by leaky ReLU, with its output channels in the order of the result.

    In channels-last layout the shuffle then moves runs of ``2 c`` values instead of single ones. The activation
    commutes with it, so the convolution takes it along.
    """

    def __init__(self, plain: PixelShufflePack, dtype: torch.dtype):
        super().__init__()
        s = self.scale_factor = plain.scale_factor
        conv = plain.upsample_conv

        def reorder(values: Tensor) -> Tensor:
            return values.detach().unflatten(0, (-1, s, s)).permute(1, 2, 0, *range(3, values.dim() + 2)).flatten(0, 2)

        self.conv = FusedConv(reorder(conv.weight), reorder(conv.bias), dtype, tuple(conv.padding), slope=0.1)

    def forward(self, x: Tensor, padding: tuple[int, int], into: Tensor | None = None) -> Tensor:
        s = self.scale_factor
        if (winograd := self.conv.by_winograd(x)) and winograd.shuffles(s):
            return winograd(self.conv.prepare(x), padding, into=into, shuffle=s)
        out = self.conv(x, padding).permute(0, 2, 3, 1)
        n, h, w, c = out.shape
        out = out.reshape(n, h, w, s, c // s).transpose(2, 3).reshape(n, s * h, s * w, c // s**2)
        return out.permute(0, 3, 1, 2)


def _grow(rows: tuple[int, int], height: int) -> tuple[int, int]:
    """Rows that a 3x3 convolution reads to output ``rows`` of an image of ``height`` rows."""
    return max(rows[0] - 1, 0), min(rows[1] + 1, height)


def _zeros(have: tuple[int, int], want: tuple[int, int]) -> tuple[int, int]:
    """Rows of zeros above and below rows ``have`` of an input, for rows ``want`` of the output.

    The input holds one row more on each side where there is one.
    """
    return 1 - (want[0] - have[0]), 1 - (have[1] - want[1])


class BandedUpsampling(nn.Module):
    """:class:`PixelShuffleUpsampling` by bands, on which the result depends by rounding alone.

    Args:
        plain: the network that holds the layers.
        dtype: precision of the features; the result is float32.
    """

    def __init__(self, plain: PixelShuffleUpsampling, dtype: torch.dtype):
        super().__init__()
        self.scale, self.enlargement = plain.scale, plain.enlargement
        self.shuffles = nn.ModuleList(_ShuffleConv(getattr(plain, name), dtype) for name in plain.shuffle_names())
        self.conv_hr = FusedConv.of(plain.conv_hr, dtype, slope=0.1)
        self.conv_last = BlockConv(plain.conv_last, dtype, block=(2, 2))

    def band_rows(self, width: int) -> int:
        """Rows of features per band, for features of ``width`` columns."""
        # HR features, 64 channels, are the largest of the intermediates.
        row_bytes = self.enlargement**2 * 64 * width * self.conv_hr.weight.element_size()
        # Of few rows much is computed twice: each layer needs a row more above and below.
        return max(4, _BAND_BYTES // row_bytes, min(8, _MAX_BYTES // row_bytes))

    def forward(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`."""
        hr = enlarged(lr.float(), self.scale)
        if self.scale == 1:
            hr = hr.clone()  # what is added below must not reach the caller's frame
        feat = self.conv_hr.prepare(feat)
        h, w = feat.shape[-2:]
        rows = self.band_rows(w)
        earlier: dict[nn.Module, Tensor] = {}
        for i in range(feat.size(0)):  # a band of several samples would not be contiguous
            for top in range(0, h, rows):
                bottom = min(top + rows, h)
                band = self._band(feat[i : i + 1], top, bottom, earlier)
                hr[i : i + 1, :, self.enlargement * top : self.enlargement * bottom] += band
        return hr

    def _band(self, feat: Tensor, top: int, bottom: int, earlier: dict[nn.Module, Tensor]) -> Tensor:
        """The residue of rows ``top`` to ``bottom`` of features, ``(1, 3, s * (bottom - top), s * w)``.

        What layers give is kept in ``earlier`` for the next band, which may be written over it.
        """
        height = self.enlargement * feat.size(2)
        last = self.enlargement * top, self.enlargement * bottom
        # From the last layer back to the first, each needs one row more on both sides, as far as there are rows.
        hr = _grow(last, height)
        read = _grow(hr, height)
        steps = []
        for layer in reversed(self.shuffles):
            factor = layer.scale_factor
            # Whole blocks of ``factor`` rows are made, of which the next layer may not need all.
            rows = read[0] // factor, -(-read[1] // factor)
            steps.append((layer, rows, read))
            height //= factor
            read = _grow(rows, height)
        x = feat[:, :, slice(*read)]
        for layer, rows, needed in reversed(steps):
            x = earlier[layer] = layer(x, _zeros(read, rows), earlier.get(layer))
            first, read = layer.scale_factor * rows[0], needed
            x = x[:, :, needed[0] - first : needed[1] - first]
        x = earlier[self.conv_hr] = self.conv_hr(x, _zeros(read, hr), earlier.get(self.conv_hr))
        return self.conv_last(x, _zeros(hr, last))
