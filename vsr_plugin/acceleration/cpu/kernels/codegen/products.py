"""The innermost loop: a product of matrices that stays in the processor's registers."""

from collections.abc import Callable, Sequence

from llvmlite import ir

from vsr_plugin.acceleration.cpu.kernels.codegen.vector_code import VectorCode, integer

#: Rounds of the loop that are written out; what is summed over must be a multiple of them.
_UNROLLED = 4


def rows_at_once(registers: int) -> int:
    """Rows of which the sums for two vectors of columns, and what they are computed from, stay in registers."""
    return 6 if registers == 16 else 12


def sum_products(
    code: VectorCode,
    rows: Sequence[ir.Value],
    weights: ir.Value,
    count: ir.Value,
    fma: Callable[[ir.Value, ir.Value, ir.Value], ir.Value] | None = None,
    *,
    row_step: ir.Value | int = 1,
    weight_step: ir.Value | int | None = None,
) -> list[tuple[ir.Value, ir.Value]]:
    """For each row two vectors of sums over ``count`` numbers.

    Args:
        code: the function that it is written into.
        rows: where each row's numbers lie.
        weights: where the matrix lies, ``(count, 2 lanes)``.
        count: a multiple of 4.
        fma: gives ``a * b + c`` of vectors; in float32 if nothing else is given.
        row_step: floats from one of a row's numbers to the next.
        weight_step: floats from one row of the matrix to the next, by default ``2 lanes``.
    """
    fma = fma or code.fma
    weight_step = 2 * code.lanes if weight_step is None else weight_step
    zeros = [code.constant(0)] * (2 * len(rows))
    with code.loop(integer(0), count, _UNROLLED, carried=zeros) as (first, totals):
        for step in range(_UNROLLED):
            i = code.build.add(first, integer(step))
            left = code.at(weights, code.times(i, weight_step))
            pair = code.load(left), code.load(code.at(left, code.lanes))
            for row, values in enumerate(rows):
                value = code.spread(code.build.load(code.at(values, code.times(i, row_step))))
                for half in range(2):
                    totals[2 * row + half] = fma(value, pair[half], totals[2 * row + half])
    return list(zip(totals[::2], totals[1::2], strict=True))
