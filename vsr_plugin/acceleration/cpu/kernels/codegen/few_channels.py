"""A convolution to very few channels in LLVM's language: from channels-last features to planes, in float32.

Vectors hold input channels, so that none of their lanes is idle whatever the number of output channels; each result is
the sum of a vector's lanes in the end. A task takes rows of the output until none is left.
"""

from llvmlite import ir

from vsr_plugin.acceleration.cpu.kernels.codegen.vector_code import FLOATS, INT, INTS, VectorCode, integer
from vsr_plugin.acceleration.cpu.kernels.kernel_args import PIXELS, FewChannelsArgs


def emit(taps: int, outputs: int, lanes: int) -> ir.Module:
    """A module with the function ``run(FewChannelsArgs *)``, one task.

    Args:
        taps: the side of the filter.
        outputs: output channels.
        lanes: floats in a vector; the number of input channels must be a multiple.
    """
    module = ir.Module(f"few_channels_{taps}")
    _emit_task(module, taps, outputs, lanes, _emit_pixels(module, taps, outputs, lanes))
    return module


def _emit_pixels(module: ir.Module, taps: int, outputs: int, lanes: int) -> ir.Function:
    """`PIXELS` results of every output channel, from the filter's rows ``first`` to ``last``.

    Weights are ``(taps, input channels / lanes, taps, outputs, lanes)``: row, channels, column, output.
    """
    arguments = [FLOATS, INT, INT, FLOATS, FLOATS, INT, INT, INT, FLOATS, INT]
    code = VectorCode(module, "pixels", arguments, lanes)
    source, row, column, weights, bias, first, last, channels, target, plane = code.function.args
    zeros = [code.constant(0)] * (PIXELS * outputs)
    with code.loop(first, last, carried=zeros) as (dy, sums):
        row_source = code.at(source, code.times(dy, row))
        row_weights = code.at(weights, code.times(dy, code.times(channels, taps * outputs)))
        with code.loop(integer(0), channels, lanes, carried=sums) as (channel, totals):
            begin = code.at(row_weights, code.times(channel, taps * outputs))
            for x in range(PIXELS + taps - 1):
                value = code.load(code.at(row_source, channel, code.times(column, x)))
                for pixel in range(max(0, x - taps + 1), min(PIXELS, x + 1)):
                    for output in range(outputs):
                        weight = code.load(code.at(begin, ((x - pixel) * outputs + output) * lanes))
                        i = pixel * outputs + output
                        totals[i] = code.fma(value, weight, totals[i])
        sums[:] = totals
    for output in range(outputs):
        shift = code.build.load(code.at(bias, output))
        for pixel in range(PIXELS):
            result = code.build.fadd(code.total(sums[pixel * outputs + output]), shift)
            code.build.store(result, code.at(target, code.times(plane, output), pixel))
    code.build.ret_void()
    return code.function


def _emit_task(module: ir.Module, taps: int, outputs: int, lanes: int, pixels: ir.Function) -> None:
    code = VectorCode(module, "run", [INTS], lanes, public=True)
    build = code.build
    given, place = code.fields(code.function.args[0], FewChannelsArgs)
    source, target, weights, bias, scratch = (
        build.inttoptr(given[name], FLOATS) for name in ("source", "target", "weights", "bias", "scratch")
    )
    task = build.atomic_rmw("add", place["next_task"], integer(1), "monotonic")
    results = code.at(scratch, code.times(given["scratch_floats"], task))
    border = code.at(results, PIXELS * outputs)
    channels, columns, plane = given["channels_in"], given["columns"], given["target_plane"]
    width = PIXELS + taps - 1
    with code.take_turns(place["next_row"], code.times(given["images"], given["target_rows"])) as (index, _):
        image, y = build.sdiv(index, given["target_rows"]), build.srem(index, given["target_rows"])
        to = code.at(target, code.times(image, given["target_image"]), code.times(y, given["target_row"]))
        top = build.sub(y, given["above"])
        line = code.at(source, code.times(image, given["source_image"]), code.times(top, given["source_row"]))
        first = code.larger(integer(0), build.neg(top))
        last = code.smaller(integer(taps), build.sub(given["source_rows"], top))
        with code.loop(integer(0), columns, PIXELS) as (x, _):
            left = build.sub(x, integer(taps // 2))
            begin = code.at(line, code.times(left, given["source_column"]))
            whole = code.all(
                build.icmp_signed(">=", left, integer(0)),
                build.icmp_signed("<=", build.add(left, integer(width)), columns),
            )
            rest = [weights, bias, first, last, channels]
            with build.if_else(whole) as (inside, at_border):
                with inside:
                    strides = [given["source_row"], given["source_column"]]
                    build.call(pixels, [begin, *strides, *rest, code.at(to, x), plane])
                with at_border:
                    with code.loop(first, last) as (dy, _), code.loop(integer(0), integer(width)) as (dx, _):
                        pixel = code.at(border, code.times(build.add(code.times(dy, width), dx), channels))
                        at = build.add(left, dx)
                        there = code.all(build.icmp_signed(">=", at, integer(0)), build.icmp_signed("<", at, columns))
                        from_ = code.at(
                            begin, code.times(dy, given["source_row"]), code.times(dx, given["source_column"])
                        )
                        with build.if_else(there) as (yes, no):
                            with yes:
                                code.copy(from_, pixel, channels)
                            with no:
                                code.copy(None, pixel, channels)
                    strides = [code.times(channels, width), channels]
                    build.call(pixels, [border, *strides, *rest, results, integer(PIXELS)])
                    left_over = code.smaller(integer(PIXELS), build.sub(columns, x))
                    with code.loop(integer(0), left_over) as (i, _):
                        for output in range(outputs):
                            result = build.load(code.at(results, i, output * PIXELS))
                            build.store(result, code.at(to, code.times(plane, output), x, i))
    build.ret_void()
