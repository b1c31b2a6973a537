"""A Winograd convolution in LLVM's language: channels-last features in float32.

A task takes blocks of tiles until none is left. Of a block, the patches of the input are transformed to ``n x n``
matrices of tiles by channels (``data``), these are multiplied by the transformed filters, and the products (``sums``)
are transformed to the output's tiles, with what follows the convolution. So all that a block needs stays in the
second-level cache, and the features are read and written once.
"""

import functools
from dataclasses import dataclass
from typing import ClassVar

from llvmlite import ir

from vsr_plugin.acceleration.cpu.kernels.codegen.products import rows_at_once, sum_products
from vsr_plugin.acceleration.cpu.kernels.codegen.tiles import TileReader, locate
from vsr_plugin.acceleration.cpu.kernels.codegen.vector_code import (
    FLOAT,
    FLOATS,
    HALVES,
    INT,
    INTS,
    VectorCode,
    integer,
)
from vsr_plugin.acceleration.cpu.kernels.kernel_args import BLOCK, CHUNK, GAP, LARGEST_DATUM, SCALES, VNNI, WinogradArgs
from vsr_plugin.acceleration.cpu.kernels.winograd import ALGORITHMS, Winograd

#: Lines of 64 bytes that are fetched before each run of the innermost loop, from the next block's input and from where
#: this block's output goes: otherwise the transforms wait for memory, for a fifth of the whole time. Products of whole
#: numbers are done in half the time, in which the processor brings less by itself.
LINES_AHEAD, INTEGER_LINES_AHEAD = 4, 16


#: Added to a float of at most 2^22, it leaves the nearest whole number in the lower bits.
_ROUNDING = 1.5 * 2**23


def emit(taps: int, lanes: int, registers: int, integers: int = 0) -> ir.Module:
    """A module with the function ``run(WinogradArgs *)``, one task.

    Args:
        taps: the side of the filter.
        lanes: floats in a vector; both numbers of channels must be multiples.
        registers: how many vectors the processor holds, 16 or 32.
        integers: what whole numbers are multiplied by, ``MADD`` or ``VNNI``, or 0 for products of floats.
    """
    algorithm = ALGORITHMS[taps]
    rows = rows_at_once(registers)
    module = ir.Module(f"winograd_{taps}")
    transform_input = emit_input_transform(module, algorithm, lanes, bool(integers))
    multiply = _emit_products(module, algorithm, lanes, rows, integers)
    transform_output = {
        (added, gated): _emit_output_transform(module, algorithm, lanes, added, gated, bool(integers))
        for added in (False, True)
        for gated in (False, True)
    }
    _emit_task(module, algorithm, lanes, rows, bool(integers), transform_input, multiply, transform_output)
    return module


def emit_input_transform(module: ir.Module, algorithm: Winograd, lanes: int, integers: bool = False) -> ir.Function:
    """``B^T d B`` of a patch, for all channels; whole numbers in units of ``scale``, which is that of the patch."""
    n = algorithm.patch
    arguments = [FLOATS, INT, INT, FLOATS, INT, INT, *[FLOATS] * integers]
    code = VectorCode(module, "transform_input", arguments, lanes)
    source, row, column, data, element, channels, *scale = code.function.args
    matrix = algorithm.bounded_input_matrix if integers else algorithm.input_matrix

    def pixel(channel: ir.Value, y: int, x: int) -> ir.Value:
        return code.load(code.at(source, channel, code.times(row, y), code.times(column, x)))

    if integers:
        # A row's maximum each, so that they do not wait for one another.
        with code.loop(integer(0), channels, lanes, carried=[code.constant(0)] * n) as (channel, largest):
            for y in range(n):
                for x in range(n):
                    largest[y] = code.larger_magnitudes(largest[y], pixel(channel, y, x))
        most = code.largest(functools.reduce(code.larger_magnitudes, largest))
        code.build.store(code.build.fdiv(most, ir.Constant(FLOAT, LARGEST_DATUM)), *scale)
        factor = code.spread(code.build.fdiv(ir.Constant(FLOAT, LARGEST_DATUM), most))
        halves = code.build.bitcast(data, HALVES)
    with code.loop(integer(0), channels, lanes) as (channel, _):
        columns = [code.combine(matrix, [pixel(channel, y, x) for y in range(n)]) for x in range(n)]
        for y in range(n):
            for x, vector in enumerate(code.combine(matrix, [column[y] for column in columns])):
                distance = code.times(element, y * n + x)
                if integers:
                    rounded = code.fma(vector, factor, code.constant(_ROUNDING))
                    code.store_halves(rounded, code.at(halves, channel, code.times(distance, 2)))
                else:
                    code.store(vector, code.at(data, channel, distance))
    code.build.ret_void()
    return code.function


@dataclass(frozen=True)
class _Ahead:
    """Rows of an image, of which a piece is fetched before each run of the innermost loop.

    Args:
        rows: how many.
        first: the first one's first float.
        row: floats from one to the next.
        piece: floats.
        lines: that are fetched for each run, from the piece's beginning on.
        writing: whether they are going to be overwritten.
    """

    rows: int
    first: ir.Value
    row: ir.Value
    piece: ir.Value
    lines: int
    writing: bool = False

    TYPES: ClassVar = [FLOATS, INT, INT]

    def fetch(self, code: VectorCode, element: ir.Value, elements: int, run: ir.Value, runs: ir.Value) -> None:
        """Fetch the piece of run number ``run`` of ``runs`` for one of all ``elements``."""
        build, elements_of_row = code.build, elements // self.rows
        row, rest = build.sdiv(element, integer(elements_of_row)), build.srem(element, integer(elements_of_row))
        step = build.add(code.times(rest, runs), run)
        begin = code.at(self.first, code.times(row, self.row), code.times(step, self.piece))
        for line in range(self.lines):
            code.prefetch(code.at(begin, 16 * line), writing=self.writing)


def _emit_products(module: ir.Module, algorithm: Winograd, lanes: int, rows: int, integers: int) -> ir.Function:
    """For each of the patch's elements, tiles by input channels times input channels by a chunk's output channels.

    Filters are ``(n^2, output channels / (2 lanes), input channels, 2 lanes)``. Of whole numbers two input channels lie
    where one is of floats, and ``units``, ``(n^2, output channels)``, are what sums are multiplied by.
    """
    elements = algorithm.patch**2
    arguments = [FLOATS, FLOATS, FLOATS, FLOATS, INT, INT, INT, INT, *_Ahead.TYPES, *_Ahead.TYPES]
    code = VectorCode(module, "multiply", arguments, lanes)
    # ``all_channels``: those of all chunks, of which here only some are used; ``words``: of 32 bits in a tile's data.
    data, filters, units, sums, tiles, words, panels, all_channels, *ahead = code.function.args
    fma = functools.partial(code.fma_pairs, vnni=integers == VNNI) if integers else code.fma
    lines = INTEGER_LINES_AHEAD if integers else LINES_AHEAD
    source, target = _Ahead(algorithm.patch, *ahead[:3], lines), _Ahead(algorithm.tile, *ahead[3:], lines, writing=True)
    build = code.build
    runs = code.times(panels, BLOCK // rows)
    with code.loop(integer(0), integer(elements)) as (k, _):
        data_k = code.at(data, code.times(k, build.add(code.times(words, BLOCK), integer(GAP))))
        filters_k = code.at(filters, code.times(k, code.times(all_channels, words)))
        units_k = code.at(units, code.times(k, all_channels))
        sums_k = code.at(sums, code.times(k, BLOCK * CHUNK + GAP))
        with code.loop(integer(0), panels) as (panel, _):
            panel_filters = code.at(filters_k, code.times(panel, code.times(words, 2 * lanes)))
            panel_units = code.at(units_k, code.times(panel, 2 * lanes))
            with code.loop(integer(0), tiles, rows) as (tile, _):
                run = build.add(code.times(panel, BLOCK // rows), build.sdiv(tile, integer(rows)))
                for image in (source, target):
                    image.fetch(code, k, elements, run, runs)
                pixels = [code.at(data_k, code.times(build.add(tile, integer(r)), words)) for r in range(rows)]
                for r, pair in enumerate(sum_products(code, pixels, panel_filters, words, fma)):
                    place = code.at(sums_k, code.times(build.add(tile, integer(r)), CHUNK))
                    place = code.at(place, code.times(panel, 2 * lanes))
                    for half, total in enumerate(pair):
                        if integers:
                            unit = code.load(code.at(panel_units, half * lanes))
                            total = build.fmul(build.sitofp(code.bits(total), code.vector), unit)
                        code.store(total, code.at(place, half * lanes))
    build.ret_void()
    return code.function


def _emit_output_transform(
    module: ir.Module, algorithm: Winograd, lanes: int, added: bool, gated: bool, integers: bool
) -> ir.Function:
    """``A^T m A`` of a tile, perhaps in units of ``scale``, plus bias and perhaps the residual.

    Then leaky ReLU, or with a gate its derivative there.
    """
    n = algorithm.patch
    arguments = [FLOATS, FLOATS, FLOATS, INT, INT, FLOATS, FLOAT, FLOATS, FLOATS, INT]
    code = VectorCode(module, f"transform_output{'_add' * added}{'_gate' * gated}", arguments, lanes)
    sums, scale, target, row, column, bias, slope, residual, gate, channels = code.function.args
    slopes = code.spread(slope)
    scales = code.spread(code.build.load(scale)) if integers else None
    with code.loop(integer(0), channels, lanes) as (channel, _):
        shift = code.load(code.at(bias, channel))
        rows = [
            code.combine(
                algorithm.output_matrix,
                [code.load(code.at(sums, channel, (y * n + x) * (BLOCK * CHUNK + GAP))) for x in range(n)],
            )
            for y in range(n)
        ]
        for x in range(algorithm.tile):
            for y, value in enumerate(code.combine(algorithm.output_matrix, [row[x] for row in rows])):
                offset = code.build.add(code.times(row, y), code.times(column, x))
                value = code.fma(value, scales, shift) if integers else code.build.fadd(value, shift)
                if added:
                    value = code.build.fadd(value, code.load(code.at(residual, channel, offset)))
                if gated:
                    value = code.build.fmul(value, _derivative(code, code.load(code.at(gate, channel, offset)), slopes))
                else:
                    value = _leaky_relu(code, value, slopes)
                code.store(value, code.at(target, channel, offset))
    code.build.ret_void()
    return code.function


def _leaky_relu(code: VectorCode, value: ir.Value, slopes: ir.Value) -> ir.Value:
    # NaN is in both parts, so it stays NaN, and infinity is not multiplied by a slope of 0; minus infinity is, and
    # becomes NaN, which shows as well that a number has overflowed.
    zero = code.constant(0)
    positive = code.build.select(code.build.fcmp_ordered("<", value, zero), zero, value)
    negative = code.build.select(code.build.fcmp_ordered(">", value, zero), zero, value)
    return code.fma(negative, slopes, positive)


def _derivative(code: VectorCode, activated: ir.Value, slopes: ir.Value) -> ir.Value:
    """Of leaky ReLU, where it gave ``activated``."""
    positive = code.build.fcmp_ordered(">", activated, code.constant(0))
    return code.build.select(positive, code.constant(1), slopes)


def _emit_task(
    module: ir.Module,
    algorithm: Winograd,
    lanes: int,
    rows_at_once: int,
    integers: bool,
    transform_input: ir.Function,
    multiply: ir.Function,
    transform_output: dict[tuple[bool, bool], ir.Function],
) -> None:
    n, m = algorithm.patch, algorithm.tile
    code = VectorCode(module, "run", [INTS], lanes, public=True)
    build = code.build
    given, place = code.fields(code.function.args[0], WinogradArgs)
    pointers = ("source", "target", "residual", "gate", "filters", "units", "bias", "scratch")
    source, target, residual, gate, filters, units, bias, scratch = (
        build.inttoptr(given[name], FLOATS) for name in pointers
    )
    chunk_table = build.inttoptr(given["chunk_table"], INTS)
    slope = build.bitcast(build.trunc(given["slope"], ir.IntType(32)), FLOAT)
    channels_in, channels_out = given["channels_in"], given["channels_out"]
    has_residual, has_gate = (build.icmp_signed("!=", given[name], integer(0)) for name in ("residual", "gate"))
    task = build.atomic_rmw("add", place["next_task"], integer(1), "monotonic")
    data = code.at(scratch, code.times(given["scratch_floats"], task))
    words = build.sdiv(channels_in, integer(2)) if integers else channels_in
    step = build.add(code.times(words, BLOCK), integer(GAP))
    sums = code.at(data, code.times(step, n * n))
    scales = code.at(sums, n * n * (BLOCK * CHUNK + GAP))
    border = code.at(scales, SCALES)
    all_channels = code.times(code.parts(channels_out, 2 * lanes), 2 * lanes)
    blocks = code.parts(given["tiles"], BLOCK)

    offset = given["above"], given["left"]
    patches = TileReader(code, given, "source", source, m, n, offset, transform_input, step, border, channels_in)

    def piece(row: ir.Value, rows: int, panels: ir.Value) -> ir.Value:
        """Floats that each run of the innermost loop has to fetch, in whole lines."""
        return code.times(code.parts(row, code.times(panels, n * n // rows * (BLOCK // rows_at_once) * 16)), 16)

    def result(base: ir.Value, image: ir.Value, y: ir.Value, x: ir.Value) -> ir.Value:
        """Where a pixel of the target lies."""
        image = code.times(image, given["target_image"])
        return code.at(base, image, code.times(y, given["target_row"]), code.times(x, given["target_column"]))

    def write(
        tile: ir.Value, sums: ir.Value, scale: ir.Value, offset: ir.Value, bias: ir.Value, channels: ir.Value
    ) -> None:
        row, column = given["target_row"], given["target_column"]
        image, y, x = locate(code, given, tile, m)
        to, added, by = (result(code.at(base, offset), image, y, x) for base in (target, residual, gate))
        rows = code.smaller(integer(m), build.sub(given["target_rows"], y))
        columns = code.smaller(integer(m), build.sub(given["target_columns"], x))
        whole = code.all(build.icmp_signed("==", rows, integer(m)), build.icmp_signed("==", columns, integer(m)))

        def transform(to: ir.Value, row: ir.Value, column: ir.Value, added: ir.Value, by: ir.Value) -> None:
            for (with_residual, with_gate), function in transform_output.items():
                chosen = (
                    build.icmp_signed("==", has, ir.Constant(has.type, wanted))
                    for has, wanted in ((has_residual, with_residual), (has_gate, with_gate))
                )
                with build.if_then(code.all(*chosen)):
                    build.call(function, [sums, scale, to, row, column, bias, slope, added, by, channels])

        def each_pixel(border: ir.Value, outside: ir.Value, into_border: bool) -> None:
            with code.loop(integer(0), rows) as (dy, _), code.loop(integer(0), columns) as (dx, _):
                near = code.at(border, code.times(build.add(code.times(dy, m), dx), CHUNK))
                far = code.at(outside, code.times(dy, row), code.times(dx, column))
                code.copy(*((far, near) if into_border else (near, far)), channels)

        with build.if_else(whole) as (all_of_it, part):
            with all_of_it:
                transform(to, row, column, added, by)
            with part:
                near_added, near_by = (code.at(border, i * m * m * CHUNK) for i in (1, 2))
                for has, near, far in ((has_residual, near_added, added), (has_gate, near_by, by)):
                    with build.if_then(has):
                        each_pixel(near, far, into_border=True)
                transform(border, integer(m * CHUNK), integer(CHUNK), near_added, near_by)
                each_pixel(border, to, into_border=False)

    source_row = code.times(given["source_column"], BLOCK * m + n - m)
    target_row = code.times(given["target_column"], BLOCK * m)
    with code.take_turns(place["next_block"], blocks) as (block, following):
        first = code.times(block, BLOCK)
        count = code.smaller(integer(BLOCK), build.sub(given["tiles"], first))
        source_ahead = patches.square(code.times(following, BLOCK))[0]
        with code.loop(integer(0), count) as (i, _):
            of_tile = [code.at(scales, i)] if integers else []
            patches.read(build.add(first, i), code.at(data, code.times(i, words)), *of_tile)
        with code.loop(integer(0), given["chunks"]) as (chunk, _):
            entry = code.at(chunk_table, code.times(chunk, 3))
            begin, channels, offset = (build.load(code.at(entry, i)) for i in range(3))
            panels = code.parts(channels, 2 * lanes)
            ahead = [source_ahead, given["source_row"], piece(source_row, n, panels)]
            ahead += [result(code.at(target, offset), *locate(code, given, first, m)), given["target_row"]]
            ahead += [piece(target_row, m, panels)]
            of_chunk = [code.at(filters, code.times(begin, words)), code.at(units, begin)]
            build.call(multiply, [data, *of_chunk, sums, count, words, panels, all_channels, *ahead])
            with code.loop(integer(0), count) as (i, _):
                tile, tile_sums = build.add(first, i), code.at(sums, code.times(i, CHUNK))
                write(tile, tile_sums, code.at(scales, i), offset, code.at(bias, begin), channels)
    build.ret_void()
