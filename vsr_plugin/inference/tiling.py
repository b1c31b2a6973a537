"""Large frames piece by piece: heavy parts of a network run on spatial tiles, with the result of the whole frame.

Not the recurrence is cut into tiles but each run of convolutions inside a step. A tile is read with a margin as wide as
the convolutions reach, so its centre has the same values as without tiles: nothing needs blending and there are no
seams, whatever moves across them. The states stay whole; what shrinks are the intermediate features, which need far
more memory, above all those at HR size.
"""

import copy
from collections.abc import Callable
from itertools import pairwise

import torch.nn as nn
from torch import Tensor

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.errors import VSRError

#: Residual blocks that run on a tile before the tiles are put together again; each widens the margin by 2 pixels.
_BLOCKS_AT_ONCE = 6
#: Feature pixels that the upsampling reaches at any scale: convolutions from LR to HR, and the bilinear enlargement.
_UPSAMPLING_REACH = 3
#: The smallest tile, twice the widest margin.
MIN_TILE = 4 * (_BLOCKS_AT_ONCE + 1)


def _tiles(length: int, tile: int) -> list[range]:
    """Cut ``range(length)`` into equal parts of at most ``tile``."""
    count = -(-length // tile)
    edges = [length * k // count for k in range(count + 1)]
    return [range(a, b) for a, b in pairwise(edges)]


def run_in_tiles(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], *, tile: int, reach: int, scale: int = 1
) -> Tensor:
    """Apply a local function to overlapping tiles and assemble the centres of the results.

    Args:
        function: maps tensors ``(n, *, h, w)`` to ``(n, c, scale * h, scale * w)``; an output pixel depends on
            inputs at most ``reach`` pixels away, and zero padding is its only treatment of borders beyond that.
        inputs: tensors ``(n, *, h, w)``; of another size than the first's only if that is a multiple of it.
        tile: side of a tile in input pixels, without its margin.
        reach: see ``function``.
        scale: output pixels per input pixel.

    Returns:
        What ``function(*inputs)`` returns.
    """
    h, w = inputs[0].shape[-2:]
    if h <= tile and w <= tile:
        return function(*inputs)
    out = None
    for rows in _tiles(h, tile):
        top, bottom = max(rows.start - reach, 0), min(rows.stop + reach, h)
        for columns in _tiles(w, tile):
            left, right = max(columns.start - reach, 0), min(columns.stop + reach, w)
            parts = []
            for x in inputs:
                k = x.size(-1) // w
                parts.append(x[..., k * top : k * bottom, k * left : k * right])
            result = function(*parts)
            if out is None:
                out = result.new_empty(*result.shape[:-2], scale * h, scale * w)
            out[..., scale * rows.start : scale * rows.stop, scale * columns.start : scale * columns.stop] = result[
                ...,
                scale * (rows.start - top) : scale * (rows.stop - top),
                scale * (columns.start - left) : scale * (columns.stop - left),
            ]
    return out


class _Tiled(nn.Module):
    """A module whose output is computed tile by tile."""

    def __init__(self, module: nn.Module, tile: int, reach: int):
        super().__init__()
        self.module = module
        self.tile = tile
        self.reach = reach

    def forward(self, x: Tensor) -> Tensor:
        return run_in_tiles(self.module, (x,), tile=self.tile, reach=self.reach)


class _TiledUpsampling:
    """Mixed into a network over its own upsampling."""

    tile: int

    def upsample(self, feat: Tensor, lr: Tensor) -> Tensor:
        """See :meth:`PixelShuffleUpsampling.upsample`."""
        inputs = feat, lr
        return run_in_tiles(super().upsample, inputs, tile=self.tile, reach=_UPSAMPLING_REACH, scale=self.enlargement)


def tile_net(net: nn.Module, tile: int) -> nn.Module:
    """Return a network with the same weights and steps whose convolutions work on tiles.

    Propagation branches, keyframe fusion and upsampling are tiled; warping, flow and the keyframe extractor see whole
    frames, since they reach any distance.

    Args:
        net: a network of this package, accelerated or not.
        tile: side of a tile in LR pixels, without its margin.

    Returns:
        A network that shares its parameters with ``net``; ``net`` is not changed.

    Raises:
        VSRError: the tile is smaller than the overlap that it needs.
    """
    if tile < MIN_TILE:
        raise VSRError(f"tile {tile} is smaller than the overlap that it needs; use {MIN_TILE} or more")
    tiled = mixed(net, _TiledUpsampling, "Tiled")
    tiled.tile = tile
    tiled._modules = _tile_branches(net, tile)
    for fusion in ("backward_fusion", "forward_fusion"):
        if fusion in tiled._modules:
            tiled._modules[fusion] = _Tiled(net._modules[fusion], tile, 1)
    return tiled


def _tile_branches(module: nn.Module, tile: int) -> dict[str, nn.Module]:
    """The children of a module with the residual blocks among them tiled, also those in a table of them."""
    children = dict(module._modules)
    for name, child in children.items():
        if hasattr(child, "split"):
            # In runs of blocks, each tiled by itself, so that margins stay narrow.
            runs = child.split(_BLOCKS_AT_ONCE)
            children[name] = nn.Sequential(*(_Tiled(run, tile, reach) for run, reach in runs))
        elif isinstance(child, nn.ModuleDict):
            children[name] = copy.copy(child)
            children[name]._modules = _tile_branches(child, tile)
    return children
