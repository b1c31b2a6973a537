"""A modulated deformable 3x3 convolution in LLVM's language: channels-last features in float32.

A task takes blocks of pixels until none is left. Of each pixel, the values that it samples become a row of a matrix,
one for each deformable group, tap and channel of the group; the product with the weights gives the block's results. So
samples, which are nine times as many numbers as features, never leave the cache.
"""

import itertools

from llvmlite import ir

from vsr_plugin.acceleration.cpu.kernels.codegen.products import rows_at_once, sum_products
from vsr_plugin.acceleration.cpu.kernels.codegen.vector_code import (
    FLOAT,
    FLOATS,
    INT,
    INTS,
    VectorCode,
    integer,
)
from vsr_plugin.acceleration.cpu.kernels.kernel_args import BLOCK, DeformArgs

_TAPS = 9
_INDEX = ir.IntType(32)
_INDICES = ir.PointerType(_INDEX)


def emit(groups: int, group_channels: int, lanes: int, matrix_lanes: int, registers: int) -> ir.Module:
    """A module with the function ``run(DeformArgs *)``, one task.

    Args:
        groups: deformable groups.
        group_channels: input channels of each.
        lanes: floats in a vector while sampling; a divisor of ``group_channels`` and of ``9 groups``.
        matrix_lanes: floats in a vector of output channels, whose number is a multiple of two vectors.
        registers: how many vectors the processor holds, 16 or 32.
    """
    module = ir.Module("deform")
    locate = _emit_places(module, groups, lanes)
    sample = _emit_samples(module, groups, group_channels, lanes)
    _emit_task(module, groups, group_channels, matrix_lanes, rows_at_once(registers), locate, sample)
    return module


def _emit_places(module: ir.Module, groups: int, lanes: int) -> ir.Function:
    """Of all positions of a pixel, the index of the pixel to the upper left and the shares of the four around it.

    The upper left pixel is always one that has a neighbour below and beside it, even where the position is farther out:
    shares fall off with the distance in both directions, so what would lie outside the image, where zeros are, gets
    none.
    """
    count = _TAPS * groups
    arguments = [FLOATS, FLOATS, FLOATS, FLOAT, FLOAT, INT, INT, _INDICES, FLOATS]
    code = VectorCode(module, "places", arguments, lanes)
    build = code.build
    displacements, factors, positions, y, x, rows, columns, places, shares = code.function.args
    indices = ir.VectorType(_INDEX, lanes)
    sides = [(code.spread(value), side) for value, side in ((y, rows), (x, columns))]
    width = build.trunc(columns, _INDEX)
    width = build.shuffle_vector(
        build.insert_element(ir.Constant(indices, ir.Undefined), width, ir.Constant(_INDEX, 0)),
        ir.Constant(indices, ir.Undefined),
        ir.Constant(indices, [0] * lanes),
    )
    one, zero = code.constant(1), code.constant(0)

    def share(distance: ir.Value) -> ir.Value:
        positive = build.select(build.fcmp_ordered("<", distance, zero), build.fneg(distance), distance)
        left = build.fsub(one, positive)
        return build.select(build.fcmp_ordered(">", left, zero), left, zero)

    with code.loop(integer(0), integer(count), lanes) as (i, _):
        pairs = code.at(displacements, i, i)
        both = code.load(pairs), code.load(code.at(pairs, lanes))
        found, both_shares = [], []
        for axis, (start, side) in enumerate(sides):
            every_second = ir.Constant(indices, list(range(axis, 2 * lanes, 2)))
            position = build.fadd(build.shuffle_vector(*both, every_second), start)
            position = build.fadd(position, code.load(code.at(positions, i, axis * count)))
            # What is not a number would index outside the image.
            position = build.select(build.fcmp_ordered("ord", position, position), position, code.constant(-2))
            last = code.spread(build.sitofp(code.larger(build.sub(side, integer(2)), integer(0)), FLOAT))
            first = code.floor(position)
            first = build.select(build.fcmp_ordered(">", first, zero), first, zero)
            first = build.select(build.fcmp_ordered("<", first, last), first, last)
            distance = build.fsub(position, first)
            beyond = build.select(build.icmp_signed(">", side, integer(1)), one, zero)
            found.append(build.fptosi(first, indices))
            both_shares.append((share(distance), build.fmul(share(build.fsub(distance, one)), beyond)))
        place = build.add(build.mul(found[0], width), found[1])
        build.store(place, build.bitcast(code.at(places, i), ir.PointerType(indices))).align = 4
        factor = code.load(code.at(factors, i))
        for corner, (vertical, horizontal) in enumerate(itertools.product(*both_shares)):
            total = build.fmul(build.fmul(vertical, factor), horizontal)
            code.store(total, code.at(shares, i, corner * count))
    build.ret_void()
    return code.function


def _emit_samples(module: ir.Module, groups: int, group_channels: int, lanes: int) -> ir.Function:
    """A pixel's row of the matrix: group, tap, channel."""
    count = _TAPS * groups
    code = VectorCode(module, "samples", [FLOATS, _INDICES, FLOATS, INT, INT, FLOATS], lanes)
    build = code.build
    source, places, shares, aside, down, row = code.function.args
    steps = [integer(0), aside, down, build.add(aside, down)]
    with code.loop(integer(0), integer(groups)) as (group, _):
        channel = code.times(group, group_channels)
        first = code.times(group, _TAPS)
        for tap in range(_TAPS):
            position = build.add(first, integer(tap))
            pixel = build.sext(build.load(code.at(places, position)), INT)
            begin = code.at(source, code.times(pixel, groups * group_channels), channel)
            corners = [
                (code.at(begin, step), code.spread(build.load(code.at(shares, position, corner * count))))
                for corner, step in enumerate(steps)
            ]
            for offset in range(0, group_channels, lanes):
                total = code.constant(0)
                for corner, share in corners:
                    total = code.fma(code.load(code.at(corner, offset)), share, total)
                code.store(total, code.at(row, code.times(position, group_channels), offset))
    build.ret_void()
    return code.function


def _emit_task(
    module: ir.Module,
    groups: int,
    group_channels: int,
    lanes: int,
    rows: int,
    locate: ir.Function,
    sample: ir.Function,
) -> None:
    positions, channels = _TAPS * groups, groups * group_channels
    samples = positions * group_channels
    code = VectorCode(module, "run", [INTS], lanes, public=True)
    build = code.build
    given, place = code.fields(code.function.args[0], DeformArgs)
    source, target, displacements, factors, table, filters, bias, scratch = (
        build.inttoptr(given[name], FLOATS)
        for name in ("source", "target", "displacements", "factors", "positions", "filters", "bias", "scratch")
    )
    task = build.atomic_rmw("add", place["next_task"], integer(1), "monotonic")
    matrix = code.at(scratch, code.times(given["scratch_floats"], task))
    sums = code.at(matrix, BLOCK * samples)
    shares = code.at(sums, code.times(given["channels_out"], BLOCK))
    places = build.bitcast(code.at(shares, 4 * positions), _INDICES)
    pixels_of_image = code.times(given["rows"], given["columns"])
    pixels = code.times(pixels_of_image, given["images"])
    aside, down = (
        build.select(build.icmp_signed(">", given[side], integer(1)), step, integer(0))
        for side, step in (("columns", integer(channels)), ("rows", code.times(given["columns"], channels)))
    )
    with code.take_turns(place["next_block"], code.parts(pixels, BLOCK)) as (block, _):
        first = code.times(block, BLOCK)
        count = code.smaller(integer(BLOCK), build.sub(pixels, first))
        with code.loop(integer(0), count) as (i, _):
            pixel = build.add(first, i)
            image, rest = build.sdiv(pixel, pixels_of_image), build.srem(pixel, pixels_of_image)
            y, x = (build.sitofp(divide(rest, given["columns"]), FLOAT) for divide in (build.sdiv, build.srem))
            moved = code.at(displacements, code.times(pixel, 2 * positions))
            factor = code.at(factors, code.times(pixel, positions))
            build.call(locate, [moved, factor, table, y, x, given["rows"], given["columns"], places, shares])
            features = code.at(source, code.times(code.times(image, pixels_of_image), channels))
            build.call(sample, [features, places, shares, aside, down, code.at(matrix, code.times(i, samples))])
        with code.loop(integer(0), given["channels_out"], 2 * lanes) as (channel, _):
            shift = code.load(code.at(bias, channel)), code.load(code.at(bias, channel, lanes))
            panel = code.at(filters, code.times(channel, samples))
            with code.loop(integer(0), count, rows) as (i, _):
                left = [code.at(matrix, code.times(build.add(i, integer(r)), samples)) for r in range(rows)]
                for r, pair in enumerate(sum_products(code, left, panel, integer(samples))):
                    to = code.at(sums, code.times(build.add(i, integer(r)), given["channels_out"]), channel)
                    for half in range(2):
                        code.store(build.fadd(pair[half], shift[half]), code.at(to, half * lanes))
        code.copy(
            sums, code.at(target, code.times(first, given["channels_out"])), code.times(count, given["channels_out"])
        )
    build.ret_void()
