"""What every propagation declares, and the table of those there are."""

from vsr_plugin.models.component_table import ComponentTable
from vsr_plugin.ops.sweeps import Sweep

#: Propagations by the name that a network's ``propagation`` takes.
PROPAGATIONS = ComponentTable("propagation")


class Propagation:
    """Which sweeps a network makes, what each sees, and over which frames they run.

    It holds no layers and no state; the network owns residual blocks for each sweep, such as ``forward_resblocks``, and
    ``fusion`` where an HR frame is restored from several sweeps.
    """

    #: In the order in which they are made; the last goes forward, so that frames are handed out in order.
    sweeps: tuple[Sweep, ...]
    #: Sweeps whose states an HR frame is restored from; more than one are fused first.
    restored_from: tuple[Sweep, ...]
    #: Whether :meth:`segments` gives more than one run, so that what a frame sees depends on the sequence's length.
    cuts_sequences = False

    @property
    def has_backward(self) -> bool:
        """Whether there is a branch that runs backward in time."""
        return any(sweep.reverse for sweep in self.sweeps)

    def sweep(self, name: str) -> Sweep:
        """The sweep of that name; ``StopIteration`` if there is none."""
        return next(sweep for sweep in self.sweeps if sweep.name == name)

    @property
    def independent_branches(self) -> bool:
        """Whether there are several sweeps, and none sees another, so that they may run at once."""
        return len(self.sweeps) > 1 and not any(sweep.sees for sweep in self.sweeps)

    def segments(self, t: int) -> list[range]:
        """Runs of frames of a ``t``-frame sequence that are propagated apart from each other; here, all in one."""
        return [range(t)]
