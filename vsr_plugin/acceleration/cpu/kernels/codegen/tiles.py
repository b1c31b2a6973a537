"""Reading the tiles of images for Winograd's method, with zeros beyond the borders."""

from llvmlite import ir

from vsr_plugin.acceleration.cpu.kernels.codegen.vector_code import VectorCode, integer


class TileReader:
    """Transforms squares of pixels, one of each tile.

    Args:
        code: the task that it is written into.
        given: what the task is called with.
        image: ``'source'`` or ``'target'``, by which its strides and sides are called in ``given``.
        base: where that lies.
        tile: side of a tile, by which squares are apart.
        side: of a square.
        offset: rows and columns by which a square begins before its tile.
        transform: the function that is given a square, its strides, where the first of the transformed elements goes,
            the elements' distance, the number of channels, and whatever else :meth:`read` is given.
        step: that distance.
        border: memory for one square.
        channels: of the image.
    """

    def __init__(
        self,
        code: VectorCode,
        given: dict[str, ir.Value],
        image: str,
        base: ir.Value,
        tile: int,
        side: int,
        offset: tuple[ir.Value, ir.Value],
        transform: ir.Function,
        step: ir.Value,
        border: ir.Value,
        channels: ir.Value,
    ):
        self.code, self.given, self.base, self.tile, self.side, self.offset = code, given, base, tile, side, offset
        self.transform, self.step, self.border, self.channels = transform, step, border, channels
        self.image, self.row, self.column, self.rows, self.columns = (
            given[f"{image}_{what}"] for what in ("image", "row", "column", "rows", "columns")
        )

    def square(self, tile: ir.Value) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Where a tile's square lies, and its first row and column, which may be before the image."""
        code, build = self.code, self.code.build
        image, y, x = locate(code, self.given, tile, self.tile)
        y, x = build.sub(y, self.offset[0]), build.sub(x, self.offset[1])
        begin = code.at(self.base, code.times(image, self.image), code.times(y, self.row), code.times(x, self.column))
        return begin, y, x

    def read(self, tile: ir.Value, to: ir.Value, *more: ir.Value) -> None:
        """Transform a tile's square."""
        code, build, n = self.code, self.code.build, self.side
        begin, y, x = self.square(tile)
        with build.if_else(self._inside(y, x, n)) as (whole, cut):
            with whole:
                build.call(self.transform, [begin, self.row, self.column, to, self.step, self.channels, *more])
            with cut:
                with code.loop(integer(0), integer(n)) as (dy, _), code.loop(integer(0), integer(n)) as (dx, _):
                    pixel = code.at(self.border, code.times(build.add(code.times(dy, n), dx), self.channels))
                    with build.if_else(self._inside(build.add(y, dy), build.add(x, dx), 1)) as (there, beyond):
                        with there:
                            source = code.at(begin, code.times(dy, self.row), code.times(dx, self.column))
                            code.copy(source, pixel, self.channels)
                        with beyond:
                            code.copy(None, pixel, self.channels)
                row = code.times(self.channels, n)
                build.call(self.transform, [self.border, row, self.channels, to, self.step, self.channels, *more])

    def _inside(self, y: ir.Value, x: ir.Value, side: int) -> ir.Value:
        build = self.code.build
        return self.code.all(
            build.icmp_signed(">=", y, integer(0)),
            build.icmp_signed(">=", x, integer(0)),
            build.icmp_signed("<=", build.add(y, integer(side)), self.rows),
            build.icmp_signed("<=", build.add(x, integer(side)), self.columns),
        )


def locate(
    code: VectorCode, given: dict[str, ir.Value], tile: ir.Value, side: int
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Image, and row and column of the pixel where a tile begins."""
    build, columns = code.build, given["tile_columns"]
    of_image = code.times(given["tile_rows"], columns)
    image, rest = build.sdiv(tile, of_image), build.srem(tile, of_image)
    return image, code.times(build.sdiv(rest, columns), side), code.times(build.srem(rest, columns), side)
