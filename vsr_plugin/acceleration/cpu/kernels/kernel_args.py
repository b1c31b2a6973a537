"""What tasks are called with, and how their scratch memory is laid out.

All fields are numbers of 64 bits: addresses, strides in floats, sides of images in pixels. A task counts the ``next_``
fields up, to find its own scratch memory and its share of the work.
"""

import ctypes
import struct
import threading

import torch
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels.winograd import Winograd

#: Tiles of a block: data and sums of 64 channels are 0.4 MB for 3x3 filters. A multiple of 6 and of 12, see
#: `codegen.winograd`.
BLOCK = 24
#: Scales of a block's tiles, and what fills them up to whole lines.
SCALES = 32
#: Output channels, at most, that are summed up before they are transformed.
CHUNK = 64
#: Floats between the matrices of a patch's elements. Without them all elements of a tile fall into two sets of the
#: first-level cache, and the whole takes a tenth longer.
GAP = 16
#: Pixels of a row of which a convolution to few channels computes the results at once.
PIXELS = 4
#: What multiplies whole numbers of 16 bits: two instructions (AVX2, AVX-512 BW), or one.
MADD, VNNI = 1, 2
#: What the largest possible datum of a patch becomes as a whole number, and the sum of magnitudes of a filter at most:
#: their product is below 2^31, so no sum overflows. Both leave something for rounding.
LARGEST_DATUM, LARGEST_FILTER = 32760, 65000

_own = threading.local()


def _integers(*names: str) -> list[tuple[str, type]]:
    return [(name, ctypes.c_int64) for name in names]


#: Where images lie, and how the target is cut into tiles.
_TILED_IMAGES = (
    "source_image",  # strides
    "source_row",
    "source_column",
    "target_image",
    "target_row",
    "target_column",
    "source_rows",  # sides
    "source_columns",
    "target_rows",
    "target_columns",
    "above",  # rows and columns of zeros before the source
    "left",
    "tile_rows",  # tiles in a column and in a row of an image
    "tile_columns",
    "tiles",  # of all images
)


class WinogradArgs(ctypes.Structure):
    """What `codegen.winograd` is called with."""

    _fields_ = _integers(
        "source",  # address of features, whose channels lie side by side
        "target",
        "residual",  # address of what is added, laid out as the target, or 0
        "gate",  # address of what leaky ReLU gave, laid out as the target: its derivative is multiplied by; or 0
        "filters",  # address of transformed and packed weights
        "units",  # address of what sums of whole numbers are multiplied by, or 0
        "bias",
        "scratch",  # address of `scratch_floats` for each task
        "scratch_floats",
        *_TILED_IMAGES,
        "channels_in",
        "channels_out",
        "chunks",
        "chunk_table",  # address of three numbers a chunk: first channel, channels, where they go in the target's pixel
        "slope",  # of leaky ReLU: the bits of a float
        "next_block",
        "next_task",
    )


class WinogradGradientArgs(ctypes.Structure):
    """What `codegen.winograd_gradient` is called with; the gradient of the convolution's result is the target."""

    _fields_ = _integers(
        "source",  # address of features, whose channels lie side by side
        "target",
        "result",  # address of `result_floats` for each task: its share of the filters, and behind that of the bias
        "result_floats",
        "scratch",  # address of `scratch_floats` for each task
        "scratch_floats",
        *_TILED_IMAGES,
        "tiles_of_task",
        "channels_in",
        "channels_out",
        "next_task",
    )


class FewChannelsArgs(ctypes.Structure):
    """What `codegen.few_channels` is called with."""

    _fields_ = _integers(
        "source",  # address of features, whose channels lie side by side
        "target",  # address of planes, whose columns lie side by side
        "weights",
        "bias",
        "scratch",  # address of `scratch_floats` for each task
        "scratch_floats",
        "source_image",  # strides
        "source_row",
        "source_column",
        "target_image",
        "target_plane",
        "target_row",
        "images",
        "source_rows",  # sides
        "target_rows",
        "columns",  # of source and target
        "above",  # rows of zeros before the source
        "channels_in",
        "next_row",
        "next_task",
    )


class DeformArgs(ctypes.Structure):
    """What `codegen.deform` is called with. Pixels of all images follow one another everywhere."""

    _fields_ = _integers(
        "source",  # address of features, whose channels lie side by side
        "target",
        "displacements",  # address of y and x of every position: group, tap
        "factors",  # address of a factor for every position
        "positions",  # address of y of every position without displacement, and then x
        "filters",  # address of packed weights
        "bias",
        "scratch",  # address of `deform_scratch` floats for each task
        "scratch_floats",
        "images",
        "rows",
        "columns",
        "channels_out",
        "next_block",
        "next_task",
    )


def float_bits(value: float) -> int:
    """The bits of a number in float32."""
    return struct.unpack("i", struct.pack("f", value))[0]


def winograd_scratch(algorithm: Winograd, channels_in: int) -> int:
    """Floats that a task needs for data, sums, and patches at the borders."""
    n = algorithm.patch
    return n * n * (BLOCK * (channels_in + CHUNK) + 2 * GAP + max(channels_in, 2 * CHUNK)) + SCALES


def winograd_gradient_scratch(algorithm: Winograd, channels_in: int, channels_out: int) -> int:
    """Floats that a task needs for data of both images, patches at borders, and sums; ``channels_out`` is padded."""
    n, both = algorithm.patch, channels_in + channels_out
    return n * n * (BLOCK * both + 2 * GAP + max(channels_in, channels_out) + channels_in * channels_out)


def few_channels_scratch(taps: int, outputs: int, channels_in: int) -> int:
    """Floats that a task needs for results and patches at the borders."""
    return PIXELS * outputs + taps * (PIXELS + taps - 1) * channels_in


def deform_scratch(groups: int, group_channels: int, channels_out: int) -> int:
    """Floats that a task needs for sampled values, sums, and the places and weights of what a pixel samples."""
    positions = 9 * groups
    return BLOCK * (positions * group_channels + channels_out) + 8 * positions


def scratch(floats: int) -> Tensor:
    """Memory of this thread, kept from call to call: fresh memory would cost a page fault for each 4 KB."""
    memory = getattr(_own, "memory", None)
    if memory is None or memory.numel() < floats:
        memory = _own.memory = torch.empty(floats, dtype=torch.float32, device="cpu")
    return memory


def parameters(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """A layer's own, as kernels read them."""
    return weight.detach().float().contiguous(), bias.detach().float().contiguous()


def channels_last(x: Tensor, channels: int) -> Tensor:
    """Features whose channels lie side by side; those of a slice of more channels do already.

    Raises:
        ValueError: they are not float32, or not so many, so that a kernel would read what is not theirs.
    """
    if x.dim() != 4 or x.size(1) != channels or x.dtype != torch.float32 or x.device.type != "cpu":
        raise ValueError(
            f"expected float32 features (n, {channels}, h, w) on the CPU, got {tuple(x.shape)}, {x.dtype}, {x.device}"
        )
    return x if x.stride(1) == 1 else x.contiguous(memory_format=torch.channels_last)
