"""The steps of a video super-resolution network, from exchangeable components (section 3 of the paper)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.errors import ComponentError
from vsr_plugin.models.alignment import ALIGNMENTS, Alignment, FeatureAlignment, SPyNet
from vsr_plugin.models.alignment.spynet import PUBLISHED_WIDTH
from vsr_plugin.models.base_module import VSRModule, pretrained
from vsr_plugin.models.cleaning import CLEANINGS, Cleaning
from vsr_plugin.models.driver import Group, SequenceNet, StepInputs, Store
from vsr_plugin.models.propagation import PROPAGATIONS, Propagation, ResidualBlocksWithInputConv, Sweep, forget
from vsr_plugin.models.propagation.forgetting import check_forgetting
from vsr_plugin.models.upsampling import PixelShuffleUpsampling

#: What a step of a branch takes, in the order of its arguments.
BranchInputs = tuple[Tensor | None, ...]


def choose_propagation(propagation: str, segments: int | None) -> Propagation:
    """Look a propagation up.

    Raises:
        ComponentError: it does not exist, or lacks the number of segments, or has one that it cannot use.
    """
    if (segments is not None) != (propagation == "local") and propagation in PROPAGATIONS.names():
        if segments is None:
            raise ComponentError("`propagation` 'local' needs `segments`, the number that a sequence is cut into")
        raise ComponentError(f"`segments` belongs to `propagation` 'local', not to {propagation!r}; leave it out")
    return PROPAGATIONS.build(propagation, **({} if segments is None else dict(segments=segments)))


class VSRNet(SequenceNet, PixelShuffleUpsampling, VSRModule):
    """Propagation, alignment, aggregation and upsampling, put together into steps; base of the networks.

    Args:
        mid_channels: channels of the propagated features.
        propagation: ``'local'``, ``'unidirectional'``, ``'bidirectional'`` or ``'coupled'``.
        segments: for local propagation, the number of segments that a sequence is cut into.
        alignment: ``'none'``, ``'image'``, ``'feature'``, or another that was registered; with arguments of its own
            as ``dict(type=..., ...)``.
        forgetting: share of its propagated features that a still pixel loses per frame; 0 in the paper.
        cleaning: ``'footage'``, ``'image'``, or another that was registered, as ``alignment``; ``None`` in the paper.
        with_cp: gradient checkpointing.
        init_cfg: see :class:`VSRModule`.

    Raises:
        ComponentError: components do not exist or do not go together, or ``forgetting`` is not in [0, 1).
    """

    #: Of the published network of the class.
    published_propagation: type[Propagation]

    def __init__(
        self,
        mid_channels: int,
        *,
        propagation: str,
        segments: int | None,
        alignment: str | Mapping[str, Any],
        forgetting: float,
        cleaning: str | Mapping[str, Any] | None,
        with_cp: bool,
        init_cfg: dict | None,
    ):
        super().__init__(init_cfg)
        self.mid_channels = mid_channels
        self.with_cp = with_cp
        self.propagation: Propagation = choose_propagation(propagation, segments)
        # A module without layers, unless it is one's own: published state dicts know nothing of it.
        self.alignment: Alignment = ALIGNMENTS.build(alignment, mid_channels=mid_channels)
        self.forgetting = check_forgetting(forgetting, has_flow=self.alignment.needs_flow)
        self.cleaning: Cleaning | None = None if cleaning is None else CLEANINGS.build(cleaning)

    @property
    def state_channels(self) -> int:
        """Channels of a state: the features, and what the alignment carries behind them."""
        return self.mid_channels + self.alignment.carried_channels

    @property
    def has_published_components(self) -> bool:
        """Whether the components are those of the published network, and no cleaning comes before them."""
        published = type(self.propagation) is self.published_propagation and type(self.alignment) is FeatureAlignment
        return published and self.cleaning is None

    @property
    def is_published(self) -> bool:
        """Whether it is the published network, which other implementations have too."""
        return self.has_published_components and self.scale == 4 and self.spynet.width == PUBLISHED_WIDTH

    @property
    def components(self) -> str:
        """The choices in a few words, such as ``'propagation: coupled, alignment: FeatureAlignment()'``."""
        scale = "" if self.scale == 4 else f", scale: {self.scale}"
        cleaning = "" if self.cleaning is None else f", cleaning: {type(self.cleaning).__name__}"
        return f"propagation: {self.propagation}, alignment: {self.alignment}{scale}{cleaning}"

    def build_flow(self, spynet_pretrained: str | None, width: int) -> None:
        """Add the flow network S, if the alignment needs one; ``spynet_pretrained`` is loaded by ``init_weights()``.

        Raises:
            ComponentError: there are weights for a flow network that there is no use for.
        """
        if self.alignment.needs_flow:
            self.spynet = SPyNet(init_cfg=pretrained(spynet_pretrained), width=width)
        elif spynet_pretrained is not None:
            raise ComponentError(
                f"{type(self.alignment).__name__} uses no optical flow; leave `spynet_pretrained` out, "
                f"got {spynet_pretrained!r}"
            )

    def build_branches(self, num_blocks: int) -> None:
        """Add the residual blocks R of each branch, and what fuses the branches if there are two to restore from."""
        c, aligned = self.mid_channels, self.state_channels
        if self.propagation.has_backward:
            self.backward_resblocks = ResidualBlocksWithInputConv(3 + aligned, c, num_blocks)
        others = len(self.propagation.sweeps[-1].sees)
        self.forward_resblocks = ResidualBlocksWithInputConv(3 + others * c + aligned, c, num_blocks)
        if (outputs := len(self.propagation.restored_from)) > 1:
            self.fusion = nn.Conv2d(outputs * c, c, 1)

    def estimate_flows(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """Flows between neighbouring frames, both directions: S in the paper.

        Autocast does not reach the flow network: in bfloat16 an error of whole pixels would cost 20 dB.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``.

        Returns:
            ``(flows_forward, flows_backward)``, each ``(n, t - 1, 2, h, w)`` in pixels; see
            :meth:`SPyNet.neighbour_flows`. Without channels if the alignment needs no flow.
        """
        if not self.alignment.needs_flow:
            n, t, _, h, w = lrs.shape
            none = lrs.new_zeros(n, t - 1, 0, h, w)
            return none, none
        with torch.autocast(lrs.device.type, enabled=False):
            return self.spynet.neighbour_flows(lrs)

    def align(self, state: Tensor | None, flow: Tensor | None, lr: Tensor) -> Tensor:
        """Bring the state of the neighbouring frame onto the current one: W in the paper, and then some forgetting.

        Args:
            state: of the neighbouring frame ``(n, state_channels, h, w)``, or ``None`` at the start of a sequence.
            flow: from the current frame to that neighbour ``(n, 2, h, w)``; ignored at the start.
            lr: current frame ``(n, 3, h, w)``, which gives size, device and dtype at the start.

        Returns:
            ``(n, state_channels, h, w)``; zeros at the start.
        """
        if state is None:
            n, _, h, w = lr.shape
            return lr.new_zeros(n, self.state_channels, h, w)
        aligned = self.alignment(state, flow, lr)
        if not self.forgetting:
            return aligned
        feat = forget(self.features(aligned), flow, self.forgetting)
        return torch.cat((feat, aligned[:, self.mid_channels :]), dim=1) if self.alignment.carried_channels else feat

    def features(self, state: Tensor | None) -> Tensor | None:
        """The features ``(n, mid_channels, h, w)`` in a state, without what the alignment carries behind them."""
        return state[:, : self.mid_channels] if state is not None and self.alignment.carried_channels else state

    def steps(self, group: Group, inputs: Sequence[StepInputs]) -> tuple[Tensor, ...]:
        """See :meth:`SequenceNet.steps`: a step of one branch, or of both."""
        arguments = [self._arguments(sweep, of) for sweep, of in zip(group, inputs, strict=True)]
        if len(group) > 1:
            return self.both_steps(*arguments)
        return (self.backward_step(*arguments[0]) if group[0].reverse else self.forward_step(*arguments[0]),)

    @staticmethod
    def _arguments(sweep: Sweep, inputs: StepInputs) -> BranchInputs:
        of_both = inputs.lr, inputs.flows[0], inputs.states[0]
        return (*of_both, inputs.feature) if sweep.reverse else (*of_both, *(inputs.seen or (None,)), inputs.feature)

    def schedule(self, lrs: Tensor) -> list[Group]:
        """See :meth:`SequenceNet.schedule`."""
        return [self.propagation.sweeps] if self.branches_at_once(lrs) else super().schedule(lrs)

    def branches_at_once(self, lrs: Tensor) -> bool:
        """Whether :meth:`both_steps` is to be used for frames ``(n, ..., 3, h, w)``, which takes two states a frame.

        Only ever true where the propagation has independent branches.
        """
        return False

    def both_steps(self, backward: BranchInputs, forward: BranchInputs) -> tuple[Tensor, Tensor]:
        """A step of each branch, at different frames; a network that can compute them at once does so here.

        Args:
            backward: all that ``backward_step`` takes: ``(lr, flow, state, refill)``.
            forward: all that ``forward_step`` takes: ``(lr, flow, state, None, refill)``.

        Returns:
            States of the backward and of the forward branch.
        """
        return self.backward_step(*backward), self.forward_step(*forward)

    def backward_step(
        self, lr: Tensor, flow: Tensor | None = None, state: Tensor | None = None, refill: Tensor | None = None
    ) -> Tensor:
        """State of the backward branch at one frame: ``R_b(x_i, C(e_i, W(h_{i+1}, s_i)))``.

        Args:
            lr: frame ``(n, 3, h, w)``, sides multiples of ``size_multiple``.
            flow: from this frame to the next ``(n, 2, h, w)``; ``None`` at the last frame.
            state: of the backward branch at the next frame; ``None`` at the last.
            refill: features of this frame if it is a keyframe, else ``None``: then without C.

        Returns:
            ``(n, state_channels, h, w)``.
        """
        aligned_feat = self.align(state, flow, lr)
        if refill is not None:
            aligned_feat = self.refill(aligned_feat, refill, self.backward_fusion)
        return self.alignment.carry(self.run_branch(self.backward_resblocks, lr, aligned_feat), lr)

    def forward_step(
        self,
        lr: Tensor,
        flow: Tensor | None = None,
        state: Tensor | None = None,
        backward_feat: Tensor | None = None,
        refill: Tensor | None = None,
    ) -> Tensor:
        """State of the forward branch at one frame: ``R_f(x_i, C(e_i, W(h_{i-1}, s_i)))``, coupled with ``h_i^b`` too.

        Args:
            lr: frame ``(n, 3, h, w)``, sides multiples of ``size_multiple``.
            flow: from this frame to the previous ``(n, 2, h, w)``; ``None`` at the first frame.
            state: of the forward branch at the previous frame; ``None`` at the first.
            backward_feat: state of the backward branch at this frame; used by coupled propagation only.
            refill: features of this frame if it is a keyframe, else ``None``: then without C.

        Returns:
            ``(n, state_channels, h, w)``.
        """
        aligned_feat = self.align(state, flow, lr)
        if refill is not None:
            aligned_feat = self.refill(aligned_feat, refill, self.forward_fusion)
        seen = (self.features(backward_feat),) if self.propagation.sweeps[-1].sees else ()
        return self.alignment.carry(self.run_branch(self.forward_resblocks, lr, *seen, aligned_feat), lr)

    def begin_frame(self, store: Store, i: int, states: Mapping[Sweep, Tensor]) -> Callable[[], Tensor]:
        """See :meth:`SequenceNet.begin_frame`."""
        by_name = {sweep.name: state for sweep, state in states.items()}
        return self.begin_reconstruct(store.lr(i), by_name.get("backward"), by_name["forward"])

    def begin_reconstruct(self, lr: Tensor, backward_feat: Tensor | None, forward_feat: Tensor) -> Callable[[], Tensor]:
        """Begin ``reconstruct``; a network that can do so beside the steps that follow begins it here.

        Returns:
            What gives the HR frame. Nothing that was passed may be written to before.
        """
        hr = self.checkpointed(self.reconstruct)(lr, backward_feat, forward_feat)
        return lambda: hr

    def reconstruct(self, lr: Tensor, backward_feat: Tensor | None, forward_feat: Tensor) -> Tensor:
        """HR frame ``(n, 3, scale * h, scale * w)`` from the states of its branches: U in the paper."""
        states = dict(backward=backward_feat, forward=forward_feat)
        feats = [self.features(states[sweep.name]) for sweep in self.propagation.restored_from]
        return self.upsample(feats[0] if len(feats) == 1 else self.fuse_branches(*feats), lr)

    # Apart from the steps that call them, so that accelerated networks can put their own in their place.

    def run_branch(self, resblocks: nn.Module, lr: Tensor, *seen: Tensor) -> Tensor:
        """Features ``(n, mid_channels, h, w)`` by residual blocks R from a frame ``(n, 3, h, w)`` and feature maps."""
        return resblocks(torch.cat((lr, *seen), dim=1))

    def fuse_branches(self, *feats: Tensor) -> Tensor:
        """One feature map ``(n, mid_channels, h, w)`` from those of all branches."""
        return F.leaky_relu(self.fusion(torch.cat(feats, dim=1)), 0.1)
