"""Winograd's minimal filtering: a tile of a convolution's output from fewer multiplications.

A patch ``d`` of the input, ``n x n`` with ``n = m + r - 1``, gives a tile of ``m x m`` outputs of an ``r x r`` filter
``g`` (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, equation 8):

    ``A^T [(G g G^T) * (B^T d B)] A``

Every element of the product in brackets is, over all channels, a product of matrices, so ``n^2`` multiplications per
input and output channel give ``m^2`` outputs, instead of ``r^2`` each.
"""

import functools
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Winograd:
    """One algorithm ``F(m x m, r x r)``.

    Args:
        taps: ``r``, the side of the filter.
        tile: ``m``, the side of the output's tile.
        points: ``m + r - 2`` different numbers at which polynomials are evaluated; infinity is one more. They decide
            how much rounding costs: of these, fractions with few bits around 1 in pairs of both signs are best.
    """

    taps: int
    tile: int
    points: tuple[float, ...]

    @property
    def patch(self) -> int:
        """``n``, the side of what a tile is computed from."""
        return self.tile + self.taps - 1

    @functools.cached_property
    def output_matrix(self) -> np.ndarray:
        """``A^T``, ``(m, n)``: the powers of each point."""
        matrix = np.zeros((self.tile, self.patch))
        for column, point in enumerate(self.points):
            matrix[:, column] = point ** np.arange(self.tile)
        matrix[-1, -1] = 1
        return matrix

    @functools.cached_property
    def filter_matrix(self) -> np.ndarray:
        """``G``, ``(n, r)``: the filter's polynomial at each point, divided by what ``B^T`` leaves out."""
        matrix = np.zeros((self.patch, self.taps))
        for row, point in enumerate(self.points):
            others = [point - other for other in self.points if other != point]
            matrix[row] = point ** np.arange(self.taps) / np.prod(others)
        matrix[-1, -1] = 1
        return matrix

    @functools.cached_property
    def input_matrix(self) -> np.ndarray:
        """``B^T``, ``(n, n)``: coefficients of the polynomials that vanish at all points but one."""
        matrix = np.zeros((self.patch, self.patch))
        for row, point in enumerate(self.points):
            matrix[row, :-1] = np.poly([other for other in self.points if other != point])[::-1]
        matrix[-1] = np.poly(self.points)[::-1]
        # The points are fractions with few bits, and so are these sums of products but for what rounding left of zeros.
        return np.where(np.abs(matrix) < 1e-9, 0, matrix)

    @functools.cached_property
    def input_bounds(self) -> np.ndarray:
        """``(n, n)``: how large elements of ``B^T d B`` can be where those of ``d`` are at most 1."""
        rows = np.abs(self.input_matrix).sum(axis=1)
        return np.outer(rows, rows)

    @functools.cached_property
    def bounded_input_matrix(self) -> np.ndarray:
        """``B^T`` with every element of the transformed patch divided by its bound."""
        return self.input_matrix / np.abs(self.input_matrix).sum(axis=1, keepdims=True)

    @functools.cached_property
    def filter_transform(self) -> np.ndarray:
        """``G g G^T`` as one product of matrices, ``(n^2, r^2)``, which is ten times as fast as one for each filter."""
        return np.kron(self.filter_matrix, self.filter_matrix)


#: By the side of the filter. Points were chosen for the smallest error on random numbers: with 64 channels the first
#: has 7.7e-7 where direct convolution has 4.3e-7, and 36 multiplications for 16 outputs instead of 144; with 32
#: channels the second has 3e-6, and 64 for 4 instead of 196. F(6 x 6, 3 x 3) and F(3 x 3, 7 x 7) would have 3.3e-6 and
#: 9.2e-6.
ALGORITHMS = {
    3: Winograd(3, 4, (0, 0.625, -0.625, 1.5, -1.5)),
    7: Winograd(7, 2, (0, 0.5, -0.5, 1, -1, 2, -2)),
}
