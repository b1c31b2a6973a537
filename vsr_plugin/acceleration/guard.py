"""Notice numbers that are not finite without waiting for the device at every frame."""

import torch
from torch import Tensor


class NotFiniteError(Exception):
    """A number overflows the precision, and what it has reached cannot be used."""


class FiniteGuard:
    """Collects whether tensors were finite; asking :meth:`tripped` waits for the device, :meth:`flag` does not.

    Half precision can overflow: float16 beyond 65504. Give it the restored frames; and the recurrent states as
    well, since fused kernels may turn NaN into 0 at a ReLU, and then the frames are finite and wrong.

    Example:
        >>> guard = FiniteGuard()
        >>> guard.watch(torch.ones(3))
        >>> guard.tripped()
        False
        >>> guard.watch(torch.tensor([1.0, float('inf')]))
        >>> guard.tripped()
        True
    """

    def __init__(self) -> None:
        self._bad: Tensor | None = None

    def watch(self, *tensors: Tensor) -> None:
        """Look at tensors, all on one device; queued like any operator, without a synchronisation."""
        for tensor in tensors:
            # A sum is finite only if all its terms are. In float32, so that large finite features do not overflow.
            bad = torch.isfinite(tensor.sum(dtype=torch.float32)).logical_not_()
            self._bad = bad if self._bad is None else self._bad.logical_or_(bad)

    def flag(self) -> Tensor:
        """Whether anything watched was not finite, as a tensor on the device."""
        return torch.zeros((), dtype=torch.bool) if self._bad is None else self._bad

    def tripped(self) -> bool:
        """Whether anything watched was not finite; waits for the device."""
        return bool(self.flag())
