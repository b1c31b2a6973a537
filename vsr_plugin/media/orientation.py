"""The eight ways in which a stored picture is turned or mirrored to stand upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

_UNIT = 1 << 16
_EXIF = {
    # orientation tag: (transpose, flip_lr, flip_ud)
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


@dataclass(frozen=True)
class Orientation:
    """Transpose first, then mirror left-right, then mirror top-bottom."""

    transpose: bool = False
    flip_lr: bool = False
    flip_ud: bool = False

    @classmethod
    def from_exif(cls, tag: int | None) -> Orientation:
        """Return the turn that EXIF tag 274 asks for; unknown values mean upright."""
        return cls(*_EXIF.get(tag or 1, _EXIF[1]))

    @classmethod
    def from_display_matrix(cls, matrix: Sequence[int]) -> Orientation | None:
        """Return the turn described by a display matrix, or ``None`` for any other angle.

        Args:
            matrix: Nine integers ``a b u c d v x y w`` as containers store them: a pixel at
                ``(x, y)``, y downwards, is shown at ``(a*x + c*y, b*x + d*y)`` plus a shift.
        """
        a, b, c, d = (matrix[i] / _UNIT for i in (0, 1, 3, 4))
        tiny = 0.01 * max(abs(a), abs(b), abs(c), abs(d))
        if a and d and abs(b) <= tiny and abs(c) <= tiny:
            return cls(False, a < 0, d < 0)
        if b and c and abs(a) <= tiny and abs(d) <= tiny:
            return cls(True, c < 0, b < 0)
        return None

    @property
    def is_upright(self) -> bool:
        """Whether nothing has to be done."""
        return not (self.transpose or self.flip_lr or self.flip_ud)

    @property
    def mirrors(self) -> bool:
        """Whether the turn is a reflection, which no rotation alone can express."""
        return (self.transpose + self.flip_lr + self.flip_ud) % 2 == 1

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return ``(height, width)`` of the upright picture."""
        return (width, height) if self.transpose else (height, width)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return the upright view of ``(h, w)`` or ``(h, w, c)``; no copy is made."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        if self.flip_lr:
            picture = picture[:, ::-1]
        if self.flip_ud:
            picture = picture[::-1]
        return picture


def scale_display_matrix(matrix: Sequence[int], old: tuple[int, int], new: tuple[int, int]) -> tuple[int, ...]:
    """Return ``matrix`` for a picture that is enlarged: only its shift is in pixels.

    Args:
        matrix: As containers store it.
        old: Height and width of the upright picture, in whose directions the shift is.
        new: Those of the enlarged one.
    """
    scaled = list(matrix)
    for i, side in ((6, 1), (7, 0)):
        scaled[i] = max(-(1 << 31), min((1 << 31) - 1, round(scaled[i] * Fraction(new[side], old[side]))))
    return tuple(scaled)
