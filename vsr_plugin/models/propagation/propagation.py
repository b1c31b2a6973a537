"""What every propagation says, and the table of those there are."""

from torch import Tensor

from vsr_plugin.models.component_table import ComponentTable

#: Propagations by the name that a network's ``propagation`` takes.
PROPAGATIONS = ComponentTable("propagation")


class Propagation:
    """Which branches a network has, what each sees, and over which frames they run.

    It holds no layers and no state; the network owns ``forward_resblocks``, ``backward_resblocks`` where there is a
    backward branch, and ``fusion`` where an HR frame is restored from two branches.
    """

    #: Whether there is a branch that runs backward in time, before the forward one.
    has_backward = True
    #: Whether the forward branch does not see the backward one, so that both may run at once.
    independent_branches = False
    #: Whether :meth:`segments` gives more than one run, so that what a frame sees depends on the sequence's length.
    cuts_sequences = False
    #: Feature maps that the forward branch takes: its own, and perhaps those of the backward branch.
    forward_inputs = 1
    #: Feature maps that an HR frame is restored from; more than one are fused first.
    outputs = 1

    def segments(self, t: int) -> list[range]:
        """Runs of frames of a ``t``-frame sequence that are propagated apart from each other; here, all in one."""
        return [range(t)]

    def seen_forward(self, backward_feat: Tensor | None, aligned: Tensor) -> tuple[Tensor, ...]:
        """What the forward branch takes beside the frame, ``forward_inputs`` feature maps."""
        return (aligned,)

    def restored_from(self, backward_feat: Tensor | None, forward_feat: Tensor) -> tuple[Tensor, ...]:
        """What an HR frame is restored from, ``outputs`` feature maps."""
        return (forward_feat,)
