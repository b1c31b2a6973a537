"""The gradient of a Winograd convolution's filters in LLVM's language: channels-last features in float32.

For a filter ``g`` and the gradient ``e`` of a tile of the convolution's result it is, summed over all tiles,

    ``G^T [(A e A^T) * (B^T d B)] G``

(the transpose of what :mod:`codegen.winograd` computes, see :mod:`kernels.winograd` for the letters). A task has tiles
of its own, so that the same threads always sum up the same, and sums up what is in brackets: for every element of a
patch a product of matrices, input channels by tiles times tiles by output channels. ``G`` comes once, in the end.
"""

import functools
import itertools

from llvmlite import ir

from vsr_plugin.acceleration.cpu.kernels.codegen.products import sum_products
from vsr_plugin.acceleration.cpu.kernels.codegen.tiles import TileReader
from vsr_plugin.acceleration.cpu.kernels.codegen.vector_code import FLOATS, INT, INTS, VectorCode, integer
from vsr_plugin.acceleration.cpu.kernels.codegen.winograd import emit_input_transform
from vsr_plugin.acceleration.cpu.kernels.kernel_args import BLOCK, GAP, WinogradGradientArgs
from vsr_plugin.acceleration.cpu.kernels.winograd import ALGORITHMS, Winograd


def emit(taps: int, lanes: int, rows: int) -> ir.Module:
    """A module with the function ``run(WinogradGradientArgs *)``, one task.

    Args:
        taps: the side of the filter.
        lanes: floats in a vector; both numbers of channels must be multiples.
        rows: input channels of which the sums stay in registers; their number must be a multiple.
    """
    algorithm = ALGORITHMS[taps]
    module = ir.Module(f"winograd_gradient_{taps}")
    transform_input = emit_input_transform(module, algorithm, lanes)
    transform_gradient = _emit_gradient_transform(module, algorithm, lanes)
    multiply = _emit_products(module, algorithm, lanes, rows)
    transform_sums = _emit_sums_transform(module, algorithm, lanes)
    _emit_task(module, algorithm, lanes, transform_input, transform_gradient, multiply, transform_sums)
    return module


def _emit_gradient_transform(module: ir.Module, algorithm: Winograd, lanes: int) -> ir.Function:
    """``A e A^T`` of a tile, for all channels; the tile's pixels are added to ``totals``."""
    n, m = algorithm.patch, algorithm.tile
    code = VectorCode(module, "transform_gradient", [FLOATS, INT, INT, FLOATS, INT, INT, FLOATS], lanes)
    source, row, column, data, element, channels, totals = code.function.args
    with code.loop(integer(0), channels, lanes) as (channel, _):
        pixels = [
            [code.load(code.at(source, channel, code.times(row, y), code.times(column, x))) for y in range(m)]
            for x in range(m)
        ]
        total = functools.reduce(code.build.fadd, itertools.chain(*pixels))
        place = code.at(totals, channel)
        code.store(code.build.fadd(code.load(place), total), place)
        columns = [code.combine(algorithm.output_matrix.T, column) for column in pixels]
        for y in range(n):
            for x, vector in enumerate(code.combine(algorithm.output_matrix.T, [column[y] for column in columns])):
                code.store(vector, code.at(data, channel, code.times(element, y * n + x)))
    code.build.ret_void()
    return code.function


def _emit_products(module: ir.Module, algorithm: Winograd, lanes: int, rows: int) -> ir.Function:
    """Add to the sums, ``(n^2, input channels, output channels)``, of the latter a multiple of ``2 lanes``."""
    arguments = [FLOATS, FLOATS, FLOATS, INT, INT, INT, INT, INT]
    code = VectorCode(module, "multiply", arguments, lanes)
    data, gradients, sums, tiles, channels_in, channels_out, data_step, gradient_step = code.function.args
    build = code.build
    columns = code.times(code.parts(channels_out, 2 * lanes), 2 * lanes)
    with code.loop(integer(0), integer(algorithm.patch**2)) as (k, _):
        data_k, gradients_k = code.at(data, code.times(k, data_step)), code.at(gradients, code.times(k, gradient_step))
        sums_k = code.at(sums, code.times(k, code.times(columns, channels_in)))
        of_columns, of_channels = (integer(0), columns, 2 * lanes), (integer(0), channels_in, rows)
        with code.loop(*of_columns) as (column, _), code.loop(*of_channels) as (channel, _):
            places = [code.at(sums_k, code.times(build.add(channel, integer(r)), columns), column) for r in range(rows)]
            totals = sum_products(
                code,
                [code.at(data_k, channel, r) for r in range(rows)],
                code.at(gradients_k, column),
                tiles,
                row_step=channels_in,
                weight_step=channels_out,
            )
            # A block's products are added up before they come to the others: that rounds small numbers.
            for place, pair in zip(places, totals, strict=True):
                for half in range(2):
                    to = code.at(place, half * lanes)
                    code.store(build.fadd(code.load(to), pair[half]), to)
    build.ret_void()
    return code.function


def _emit_sums_transform(module: ir.Module, algorithm: Winograd, lanes: int) -> ir.Function:
    """``G^T s G`` of sums, laid out as they are, and ``(r^2, ...)``."""
    n, r = algorithm.patch, algorithm.taps
    code = VectorCode(module, "transform_sums", [FLOATS, FLOATS, INT], lanes)
    sums, filters, element = code.function.args
    matrix = algorithm.filter_matrix.T
    with code.loop(integer(0), element, lanes) as (i, _):
        columns = [
            code.combine(matrix, [code.load(code.at(sums, i, code.times(element, y * n + x))) for y in range(n)])
            for x in range(n)
        ]
        for y in range(r):
            for x, vector in enumerate(code.combine(matrix, [column[y] for column in columns])):
                code.store(vector, code.at(filters, i, code.times(element, y * r + x)))
    code.build.ret_void()
    return code.function


def _emit_task(
    module: ir.Module,
    algorithm: Winograd,
    lanes: int,
    transform_input: ir.Function,
    transform_gradient: ir.Function,
    multiply: ir.Function,
    transform_sums: ir.Function,
) -> None:
    n, m = algorithm.patch, algorithm.tile
    code = VectorCode(module, "run", [INTS], lanes, public=True)
    build = code.build
    given, place = code.fields(code.function.args[0], WinogradGradientArgs)
    source, target, result, scratch = (
        build.inttoptr(given[name], FLOATS) for name in ("source", "target", "result", "scratch")
    )
    channels_in, channels_out = given["channels_in"], given["channels_out"]
    task = build.atomic_rmw("add", place["next_task"], integer(1), "monotonic")
    data = code.at(scratch, code.times(given["scratch_floats"], task))
    result = code.at(result, code.times(given["result_floats"], task))
    data_step, gradient_step = (
        build.add(code.times(channels, BLOCK), integer(GAP)) for channels in (channels_in, channels_out)
    )
    gradients = code.at(data, code.times(data_step, n * n))
    # Behind the gradients there is something in any case: the last panel of their channels may be a part of one.
    border = code.at(gradients, code.times(gradient_step, n * n))
    sums = code.at(border, code.times(code.larger(channels_in, channels_out), n * n))
    element = code.times(channels_in, code.times(code.parts(channels_out, 2 * lanes), 2 * lanes))
    code.copy(None, sums, code.times(element, n * n))
    totals = code.at(result, code.times(element, algorithm.taps**2))
    code.copy(None, totals, channels_out)
    zero = integer(0)
    patches = TileReader(
        code, given, "source", source, m, n, (given["above"], given["left"]), transform_input, data_step, border,
        channels_in,
    )  # fmt: skip
    tiles = TileReader(
        code, given, "target", target, m, m, (zero, zero), transform_gradient, gradient_step, border, channels_out
    )
    first = code.times(given["tiles_of_task"], task)
    behind = code.smaller(build.add(first, given["tiles_of_task"]), given["tiles"])
    with code.loop(first, behind, BLOCK) as (begin, _):
        count = code.smaller(integer(BLOCK), build.sub(behind, begin))
        with code.loop(zero, count) as (i, _):
            patches.read(build.add(begin, i), code.at(data, code.times(i, channels_in)))
            tiles.read(build.add(begin, i), code.at(gradients, code.times(i, channels_out)), totals)
        # As many as are multiplied at once; what lies there by chance may be no number.
        whole = code.times(code.parts(count, 4), 4)
        for values, channels, step in ((data, channels_in, data_step), (gradients, channels_out, gradient_step)):
            with code.loop(zero, integer(n * n)) as (k, _), code.loop(count, whole) as (i, _):
                code.copy(None, code.at(values, code.times(k, step), code.times(i, channels)), channels)
        build.call(multiply, [data, gradients, sums, whole, channels_in, channels_out, data_step, gradient_step])
    build.call(transform_sums, [sums, result, element])
    build.ret_void()
