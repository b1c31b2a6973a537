"""What a task is called with, and how its scratch memory is laid out."""

import ctypes
import struct

from vsr_plugin.inference.acceleration.cpu.kernels.winograd import Winograd

#: Tiles of a block: data and sums of 64 channels are 0.4 MB for 3x3 filters. A multiple of all `ROWS`.
BLOCK = 24
#: Output channels, at most, that are summed up before they are transformed.
CHUNK = 64
#: Floats between the matrices of a patch's elements. Without them all elements of a tile fall into two sets of the
#: first-level cache, and the transforms take twice as long.
GAP = 16


class Call(ctypes.Structure):
    """What a convolution is called with. Strides count floats; sides of images count pixels."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            "source",  # address of features, whose channels lie side by side
            "target",
            "residual",  # address of what is added, laid out as the target, or 0
            "filters",  # address of packed weights
            "bias",  # address of as many floats as the chunks have together
            "scratch",  # address of `scratch_floats` for each task
            "scratch_floats",
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
            "channels_in",
            "channels_out",
            "chunks",
            "chunk_table",  # address of three numbers a chunk: first channel, channels, where they go in the target
            "slope",  # of leaky ReLU: the bits of a float
            "next_block",  # counted up by the tasks
            "next_task",
        )
    ]


def float_bits(value: float) -> int:
    """The bits of a number in float32."""
    return struct.unpack("i", struct.pack("f", value))[0]


def scratch_floats(algorithm: Winograd, channels_in: int) -> int:
    """Floats that a task needs for data, sums and patches at the borders."""
    n = algorithm.patch
    return n * n * (BLOCK * (channels_in + CHUNK) + 2 * GAP + max(channels_in, 2 * CHUNK))
