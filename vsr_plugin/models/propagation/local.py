"""Local propagation: a sequence is cut into segments that know nothing of each other (section 3.1)."""

from itertools import pairwise

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.propagation.bidirectional import Bidirectional
from vsr_plugin.models.propagation.propagation import PROPAGATIONS


@PROPAGATIONS.register("local")
class Local(Bidirectional):
    """Bidirectional within each of K segments of a sequence.

    Args:
        segments: K; sequences of fewer frames are cut into single frames.

    Raises:
        ComponentError: K is less than 1.
    """

    cuts_sequences = True

    def __init__(self, segments: int):
        if segments < 1:
            raise ComponentError(f"`segments` must be at least 1, got {segments}")
        self.number = segments

    def segments(self, t: int) -> list[range]:
        """K runs of frames whose lengths differ by one at most.

        Example:
            >>> Local(3).segments(8)
            [range(0, 2), range(2, 5), range(5, 8)]
        """
        number = min(self.number, t)
        edges = [t * k // number for k in range(number + 1)]
        return [range(start, stop) for start, stop in pairwise(edges)]

    def __repr__(self) -> str:
        return f"local, {self.number} segments"
