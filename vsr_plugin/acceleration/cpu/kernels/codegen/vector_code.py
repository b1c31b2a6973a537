"""Writing a function for LLVM: loops, vectors of floats, sums of vectors."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from llvmlite import ir

FLOAT = ir.FloatType()
INT = ir.IntType(64)
VOID = ir.VoidType()
FLOATS = ir.PointerType(FLOAT)
INTS = ir.PointerType(INT)
HALVES = ir.PointerType(ir.IntType(16))
_LANE, _HALF = ir.IntType(32), ir.IntType(16)


def integer(value: int) -> ir.Constant:
    """A number of 64 bits."""
    return ir.Constant(INT, value)


class VectorCode:
    """A function under construction, with vectors of ``lanes`` floats.

    Args:
        module: what the function belongs to.
        name: of the function.
        arguments: types of its arguments; it returns nothing.
        lanes: floats in a vector.
        public: whether it is called from outside the module.
    """

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[ir.Type], lanes: int, *, public: bool = False):
        self.function = ir.Function(module, ir.FunctionType(VOID, arguments), name)
        if not public:
            self.function.linkage = "internal"
        self.lanes = lanes
        self.vector, self.integers = ir.VectorType(FLOAT, lanes), ir.VectorType(_LANE, lanes)
        self.build = ir.IRBuilder(self.function.append_basic_block())

    @contextmanager
    def loop(
        self, start: ir.Value, stop: ir.Value, step: int = 1, carried: Sequence[ir.Value] = ()
    ) -> Iterator[tuple[ir.Value, list[ir.Value]]]:
        """``for (i = start; i < stop; i += step)``; inside, what is yielded are ``i`` and the carried values.

        The list is to be changed to what the next round, and in the end the code behind the loop, shall see.
        """
        build, before = self.build, self.build.block
        head, body, behind = (build.append_basic_block(name) for name in ("head", "body", "behind"))
        build.branch(head)
        build.position_at_end(head)
        i = build.phi(INT)
        i.add_incoming(start, before)
        phis = [build.phi(value.type) for value in carried]
        for phi, value in zip(phis, carried, strict=True):
            phi.add_incoming(value, before)
        build.cbranch(build.icmp_signed("<", i, stop), body, behind)
        build.position_at_end(body)
        values = list(phis)
        yield i, values
        i.add_incoming(build.add(i, integer(step)), build.block)
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, build.block)
        build.branch(head)
        build.position_at_end(behind)
        values[:] = phis

    @contextmanager
    def take_turns(self, counter: ir.Value, stop: ir.Value) -> Iterator[tuple[ir.Value, ir.Value]]:
        """``while ((i = counter++) < stop)``, where several threads count together; one that is disturbed takes fewer.

        What is yielded are ``i`` and the next one, which is taken in advance.
        """
        build, before = self.build, self.build.block
        head, body, behind = (build.append_basic_block(name) for name in ("take", "turn", "behind"))
        first = build.atomic_rmw("add", counter, integer(1), "monotonic")
        build.branch(head)
        build.position_at_end(head)
        i = build.phi(INT)
        i.add_incoming(first, before)
        build.cbranch(build.icmp_signed("<", i, stop), body, behind)
        build.position_at_end(body)
        following = build.atomic_rmw("add", counter, integer(1), "monotonic")
        yield i, following
        i.add_incoming(following, build.block)
        build.branch(head)
        build.position_at_end(behind)

    def fields(
        self, address: ir.Value, structure: type[ctypes.Structure]
    ) -> tuple[dict[str, ir.Value], dict[str, ir.Value]]:
        """By name, what a structure of 64-bit integers has at ``address``, and where its counters lie: ``next_...``."""
        values, counters = {}, {}
        for i, (name, _) in enumerate(structure._fields_):
            place = self.at(address, i)
            if name.startswith("next_"):
                counters[name] = place
            else:
                values[name] = self.build.load(place)
        return values, counters

    def at(self, pointer: ir.Value, *offsets: ir.Value | int) -> ir.Value:
        """A pointer moved by the sum of ``offsets``, in elements."""
        for offset in offsets:
            pointer = self.build.gep(pointer, [integer(offset) if isinstance(offset, int) else offset])
        return pointer

    def times(self, value: ir.Value, factor: ir.Value | int) -> ir.Value:
        """A product of integers."""
        return self.build.mul(value, integer(factor) if isinstance(factor, int) else factor)

    def parts(self, value: ir.Value, size: ir.Value | int) -> ir.Value:
        """How many parts of a size, of which the last may be smaller, a number has."""
        size = integer(size) if isinstance(size, int) else size
        return self.build.sdiv(self.build.add(value, self.build.sub(size, integer(1))), size)

    def smaller(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The smaller of two integers."""
        return self.build.select(self.build.icmp_signed("<", a, b), a, b)

    def larger(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of two integers."""
        return self.build.select(self.build.icmp_signed(">", a, b), a, b)

    def all(self, *conditions: ir.Value) -> ir.Value:
        """Whether all of them hold."""
        result = conditions[0]
        for condition in conditions[1:]:
            result = self.build.and_(result, condition)
        return result

    def load(self, pointer: ir.Value) -> ir.Value:
        """A vector, wherever it lies."""
        vector = self.build.load(self.build.bitcast(pointer, ir.PointerType(self.vector)))
        vector.align = 4
        return vector

    def store(self, vector: ir.Value, pointer: ir.Value) -> None:
        """Write a vector, wherever it shall lie."""
        self.build.store(vector, self.build.bitcast(pointer, ir.PointerType(self.vector))).align = 4

    def prefetch(self, pointer: ir.Value, *, writing: bool = False) -> None:
        """Have a line of memory brought into the second-level cache; the address may lie anywhere."""
        name = "llvm.prefetch.p0"
        byte = ir.PointerType(ir.IntType(8))
        module = self.function.module
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(VOID, [byte, *[_LANE] * 3]), name)
        how = (ir.Constant(_LANE, value) for value in (int(writing), 2, 1))  # 2: second level; 1: data
        self.build.call(function, [self.build.bitcast(pointer, byte), *how])

    def copy(self, source: ir.Value | None, target: ir.Value, count: ir.Value) -> None:
        """Copy ``count`` floats, a multiple of the lanes; zeros where there is no ``source``."""
        with self.loop(integer(0), count, self.lanes) as (i, _):
            self.store(self.constant(0) if source is None else self.load(self.at(source, i)), self.at(target, i))

    def constant(self, value: float) -> ir.Constant:
        """A vector of the same number."""
        return ir.Constant(self.vector, [float(value)] * self.lanes)

    def spread(self, scalar: ir.Value) -> ir.Value:
        """A vector of the same number, computed."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.build.insert_element(undefined, scalar, ir.Constant(_LANE, 0))
        lanes = ir.Constant(ir.VectorType(_LANE, self.lanes), [0] * self.lanes)
        return self.build.shuffle_vector(first, undefined, lanes)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """``a * b + c``, rounded once."""
        return self.build.call(self._intrinsic("fma", 3), [a, b, c])

    def fma_pairs(self, a: ir.Value, b: ir.Value, c: ir.Value, *, vnni: bool) -> ir.Value:
        """``a0 * b0 + a1 * b1 + c`` of whole numbers: pairs of 16 bits in a lane of ``a`` and ``b``, 32 bits in ``c``.

        They stand in the lanes of vectors of floats. On x86 only, where ``vnni`` is one instruction instead of two.
        """
        halves = ir.VectorType(_HALF, 2 * self.lanes)
        if vnni:
            a, b, c = (self.bits(vector) for vector in (a, b, c))
            name, kind, given = f"llvm.x86.avx512.vpdpwssd.{32 * self.lanes}", [self.integers] * 3, [c, a, b]
        else:
            name = {4: "llvm.x86.sse2.pmadd.wd", 8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}
            name, kind, given = name[self.lanes], [halves] * 2, [self.build.bitcast(v, halves) for v in (a, b)]
        result = self.build.call(self._declared(name, self.integers, kind), given)
        return self.as_floats(result if vnni else self.build.add(result, self.bits(c)))

    def floor(self, vector: ir.Value) -> ir.Value:
        """The largest whole numbers that are not larger."""
        return self.build.call(self._intrinsic("floor", 1), [vector])

    def _intrinsic(self, name: str, arguments: int) -> ir.Function:
        return self._declared(f"llvm.{name}.v{self.lanes}f32", self.vector, [self.vector] * arguments)

    def _declared(self, name: str, result: ir.Type, arguments: Sequence[ir.Type]) -> ir.Function:
        module = self.function.module
        return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)

    def bits(self, vector: ir.Value) -> ir.Value:
        """A vector's lanes as whole numbers of 32 bits."""
        return self.build.bitcast(vector, self.integers)

    def as_floats(self, vector: ir.Value) -> ir.Value:
        """The opposite of :meth:`bits`."""
        return self.build.bitcast(vector, self.vector)

    def larger_magnitudes(self, a: ir.Value, b: ir.Value) -> ir.Value:
        """The larger of ``a``, which has no signs, and the magnitudes of ``b``; NaN is larger than all."""
        # Bits of floats without their sign are in the order of the numbers.
        magnitude = self.build.and_(self.bits(b), ir.Constant(self.integers, [2**31 - 1] * self.lanes))
        name = f"llvm.umax.v{self.lanes}i32"
        largest = self._declared(name, self.integers, [self.integers] * 2)
        return self.as_floats(self.build.call(largest, [self.bits(a), magnitude]))

    def largest(self, vector: ir.Value) -> ir.Value:
        """The largest float of a vector without signs; NaN is larger than all."""
        reduce = self._declared(f"llvm.vector.reduce.umax.v{self.lanes}i32", _LANE, [self.integers])
        return self.build.bitcast(self.build.call(reduce, [self.bits(vector)]), FLOAT)

    def store_halves(self, vector: ir.Value, pointer: ir.Value) -> None:
        """Write the lower 16 bits of each lane, one behind the other."""
        halves = self.build.trunc(self.bits(vector), ir.VectorType(_HALF, self.lanes))
        self.build.store(halves, self.build.bitcast(pointer, ir.PointerType(halves.type))).align = 2

    def total(self, vector: ir.Value) -> ir.Value:
        """The sum of a vector's floats."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        distance = self.lanes // 2
        while distance:
            # The upper half is added to the lower one; what comes into the upper one is not looked at any more.
            lanes = [i + distance if i < distance else i for i in range(self.lanes)]
            mask = ir.Constant(ir.VectorType(_LANE, self.lanes), lanes)
            vector = self.build.fadd(vector, self.build.shuffle_vector(vector, undefined, mask))
            distance //= 2
        return self.build.extract_element(vector, ir.Constant(_LANE, 0))

    def combine(self, matrix: np.ndarray, vectors: Sequence[ir.Value]) -> list[ir.Value]:
        """``matrix @ vectors``, with few operations.

        Columns, and then rows, that differ in signs alone are taken in pairs: their sums and differences, or the terms
        that they have in common, are computed once. Winograd's points of both signs make such pairs.
        """
        return self._combine_rows(*self._pair_columns(matrix, vectors))

    def _pair_columns(self, matrix: np.ndarray, vectors: Sequence[ir.Value]) -> tuple[np.ndarray, list[ir.Value]]:
        columns, terms = [], []
        left = list(range(matrix.shape[1]))
        while left:
            first = left.pop(0)
            a = matrix[:, first]
            mates = [k for k in left if np.array_equal(abs(matrix[:, k]), abs(a)) and (matrix[:, k] != a).any()]
            if not mates:
                columns.append(a)
                terms.append(vectors[first])
                continue
            mate = mates[0]
            left.remove(mate)
            same = matrix[:, mate] == a
            columns += [np.where(same, a, 0), np.where(same, 0, a)]
            terms += [
                self.build.fadd(vectors[first], vectors[mate]),
                self.build.fsub(vectors[first], vectors[mate]),
            ]
        return np.stack(columns, axis=1), terms

    def _combine_rows(self, matrix: np.ndarray, vectors: Sequence[ir.Value]) -> list[ir.Value]:
        results: dict[int, ir.Value] = {}
        for i, row in enumerate(matrix):
            if i in results:
                continue
            for k in range(i + 1, len(matrix)):
                same = np.where(matrix[k] == row, row, 0)
                opposite = np.where(matrix[k] == -row, row, 0)
                if np.array_equal(same + opposite, row) and same.any() and opposite.any():
                    even, odd = self._sum(same, vectors), self._sum(opposite, vectors)
                    results[i], results[k] = self.build.fadd(even, odd), self.build.fsub(even, odd)
                    break
            else:
                results[i] = self._sum(row, vectors)
        return [results[i] for i in range(len(matrix))]

    def _sum(self, coefficients: np.ndarray, vectors: Sequence[ir.Value]) -> ir.Value:
        # Those with coefficient 1 come first, since a sum begins without a multiplication there.
        order = sorted(np.nonzero(coefficients)[0], key=lambda k: coefficients[k] != 1)
        total = vectors[order[0]]
        if coefficients[order[0]] != 1:
            total = self.build.fmul(total, self.constant(coefficients[order[0]]))
        for k in order[1:]:
            if coefficients[k] == 1:
                total = self.build.fadd(total, vectors[k])
            else:
                total = self.fma(vectors[k], self.constant(coefficients[k]), total)
        return total
