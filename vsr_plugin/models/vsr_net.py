"""The steps of a video super-resolution network, from exchangeable components (section 3 of the paper)."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from vsr_plugin.defaults import ENSEMBLES
from vsr_plugin.errors import ComponentError, VSRError
from vsr_plugin.models.alignment import ALIGNMENTS, Alignment, FeatureAlignment
from vsr_plugin.models.cleaning import CLEANINGS, Cleaning
from vsr_plugin.models.component import VSRModule, pretrained
from vsr_plugin.models.driver import Group, SequenceNet, StepInputs, Store
from vsr_plugin.models.layers import ResidualBlocksWithInputConv
from vsr_plugin.models.propagation import PROPAGATIONS, Propagation, Sweep, check_forgetting, forget
from vsr_plugin.models.spynet import PUBLISHED_WIDTH, SPyNet
from vsr_plugin.models.upsampling import PixelShuffleUpsampling
from vsr_plugin.weights import load_net


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
        propagation: ``'local'``, ``'unidirectional'``, ``'bidirectional'``, ``'coupled'``, ``'second_order'``,
            ``'grid'`` or ``'second_order_grid'``, or another that was registered.
        segments: for local propagation, the number of segments that a sequence is cut into.
        alignment: ``'none'``, ``'image'``, ``'feature'``, ``'deformable'``, or another that was registered; with
            arguments of its own as ``dict(type=..., ...)``.
        forgetting: share of its propagated features that a still pixel loses per frame; 0 in the paper.
        cleaning: ``'footage'``, ``'image'``, or another that was registered, as ``alignment``; ``None`` in the paper.
        with_cp: gradient checkpointing.
        init_cfg: see :class:`VSRModule`.

    Raises:
        ComponentError: components do not exist or do not go together, or ``forgetting`` is not in [0, 1).
    """

    alignment: Alignment
    #: Of the published network of the class.
    published_propagation: type[Propagation]
    published_alignment: type[Alignment] = FeatureAlignment
    published_cleaning: type = type(None)
    published_scale = 4
    #: The attribute that the alignment's layers are under.
    alignment_name = "alignment"
    #: Channels of what steps see of a frame; here the frame itself.
    frame_channels = 3

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
        # Without layers in BasicVSR and IconVSR as published, whose state dicts know nothing of it.
        self.add_module(self.alignment_name, ALIGNMENTS.build(alignment, mid_channels=mid_channels))
        self.alignment.serve(self.propagation, self.frame_channels)
        self.forgetting = check_forgetting(forgetting, has_flow=self.alignment.needs_flow)
        self.cleaning: Cleaning | None = None if cleaning is None else CLEANINGS.build(cleaning)

    @property
    def state_channels(self) -> int:
        """Channels of a state: the features, and what the alignment carries behind them."""
        return self.mid_channels + self.alignment.carried_channels

    @property
    def has_published_components(self) -> bool:
        """Whether the components are those of the published network."""
        chosen = type(self.propagation), type(self.alignment), type(self.cleaning)
        return chosen == (self.published_propagation, self.published_alignment, self.published_cleaning)

    @property
    def is_published(self) -> bool:
        """Whether it is the published network, which other implementations have too."""
        as_published = self.scale == self.published_scale and self.has_published_components
        return as_published and self.spynet.width == PUBLISHED_WIDTH

    @property
    def components(self) -> str:
        """The choices in a few words, such as ``'propagation: coupled, alignment: FeatureAlignment()'``."""
        scale = "" if self.scale == self.published_scale else f", scale: {self.scale}"
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
        """Add the residual blocks R of each branch, and what fuses the branches that are restored from."""
        c = self.mid_channels
        for sweep in self.propagation.sweeps:
            inputs = self.frame_channels + len(sweep.sees) * c + sum(self.alignment.aligned_channels(sweep.order))
            self.add_module(f"{sweep.name}_resblocks", ResidualBlocksWithInputConv(inputs, c, num_blocks))
        if (outputs := len(self.propagation.restored_from)) > 1:
            self.fusion = nn.Conv2d(outputs * c, c, 1)

    def branches(self) -> dict[str, nn.Module]:
        """The residual blocks R by the name of the sweep."""
        return {sweep.name: getattr(self, f"{sweep.name}_resblocks") for sweep in self.propagation.sweeps}

    def flow_frames(self, lrs: Tensor) -> Tensor:
        """Frames ``(n, t, 3, h, w)`` as the flow network sees them, at the resolution of the features."""
        return lrs

    def estimate_flows(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        """Flows between neighbouring frames, both directions: S in the paper.

        Autocast does not reach the flow network: in bfloat16 an error of whole pixels would cost 20 dB.

        Args:
            lrs: RGB in [0, 1], ``(n, t, 3, h, w)``.

        Returns:
            ``(flows_forward, flows_backward)``, each ``(n, t - 1, 2, h, w)`` in pixels of the features; see
            :meth:`SPyNet.neighbour_flows`. Without channels if the alignment needs no flow.
        """
        if not self.alignment.needs_flow:
            n, t, _, h, w = lrs.shape
            none = lrs.new_zeros(n, t - 1, 0, h, w)
            return none, none
        with torch.autocast(lrs.device.type, enabled=False):
            return self.spynet.neighbour_flows(self.flow_frames(lrs))

    def align(
        self, sweep: Sweep, frame: Tensor, flows: Sequence[Tensor | None], states: Sequence[Tensor | None]
    ) -> tuple[Tensor, ...]:
        """Bring the states of neighbouring frames onto the current one: W in the paper, and then some forgetting.

        Args:
            sweep: whose step it is.
            frame: what steps see of the current frame ``(n, frame_channels, h, w)``; gives size, device and dtype at
                the start.
            flows, states: see :class:`StepInputs`.

        Returns:
            What the alignment gives, ``(n, mid_channels + carried_channels, h, w)`` for every neighbour or for all
            together; zeros at the start.
        """
        if states[0] is None:
            n, _, h, w = frame.shape
            return tuple(frame.new_zeros(n, c, h, w) for c in self.alignment.aligned_channels(sweep.order))
        flows = self.flows_across(flows)
        aligned = self.alignment.align(sweep, states, flows, frame)
        return tuple(self._forget(x, flow) for x, flow in zip(aligned, flows, strict=False))

    def flows_across(self, flows: Sequence[Tensor | None]) -> list[Tensor | None]:
        """Flows from the current frame to each neighbour, given those from one frame to the next.

        ``s_{i→i-2} = s_{i→i-1} + W(s_{i-1→i-2}, s_{i→i-1})`` (BasicVSR++, section 3.2).
        """
        if not self.alignment.needs_flow:
            return [*flows]
        across: list[Tensor | None] = [flows[0]]
        for flow in flows[1:]:
            across.append(None if flow is None else across[-1] + self.alignment.warp(flow, across[-1]))
        return across

    def _forget(self, aligned: Tensor, flow: Tensor | None) -> Tensor:
        if not self.forgetting or flow is None:
            return aligned
        feat = forget(self.features(aligned), flow, self.forgetting)
        return torch.cat((feat, aligned[:, self.mid_channels :]), dim=1) if self.alignment.carried_channels else feat

    def features(self, state: Tensor | None) -> Tensor | None:
        """The features ``(n, mid_channels, h, w)`` in a state, without what the alignment carries behind them."""
        return state[:, : self.mid_channels] if state is not None and self.alignment.carried_channels else state

    def steps(self, group: Group, inputs: Sequence[StepInputs]) -> tuple[Tensor, ...]:
        """See :meth:`SequenceNet.steps`; a network that can compute several at once does so here."""
        return tuple(self.step(sweep, of) for sweep, of in zip(group, inputs, strict=True))

    def schedule(self, lrs: Tensor) -> list[Group]:
        """See :meth:`SequenceNet.schedule`."""
        return [self.propagation.sweeps] if self.branches_at_once(lrs) else super().schedule(lrs)

    def branches_at_once(self, lrs: Tensor) -> bool:
        """Whether all branches go at once for frames ``(n, ..., 3, h, w)``, which takes a state more for each frame.

        Only ever true where the propagation has independent branches.
        """
        return False

    def step(self, sweep: Sweep, inputs: StepInputs) -> Tensor:
        """State of one branch at one frame: ``R(x_i, h_i of sweeps that it sees, C(e_i, W(h_{i±1}, s_i)))``.

        Without ``C`` where the frame is no keyframe.

        Args:
            sweep: the branch.
            inputs: what it takes; sides of the frame are multiples of ``size_multiple``.

        Returns:
            ``(n, state_channels, h, w)``.
        """
        aligned = self.align(sweep, inputs.lr, inputs.flows, inputs.states)
        if inputs.feature is not None:
            fusion = getattr(self, f"{sweep.name}_fusion")
            aligned = (self.refill(aligned[0], inputs.feature, fusion), *aligned[1:])
        seen = map(self.features, inputs.seen)
        feat = self.run_branch(self.branches()[sweep.name], inputs.lr, *seen, *aligned)
        return self.alignment.carry(feat, inputs.lr)

    def begin_frame(self, store: Store, i: int, states: Mapping[Sweep, Tensor]) -> Callable[[], Tensor]:
        """See :meth:`SequenceNet.begin_frame`."""
        return self.begin_reconstruct(store.lr(i), *states.values())

    def begin_reconstruct(self, lr: Tensor, *states: Tensor) -> Callable[[], Tensor]:
        """Begin ``reconstruct``; a network that can do so beside the steps that follow begins it here.

        Returns:
            What gives the HR frame. Nothing that was passed may be written to before.
        """
        hr = self.checkpointed(self.reconstruct)(lr, *states)
        return lambda: hr

    def reconstruct(self, lr: Tensor, *states: Tensor) -> Tensor:
        """HR frame ``(n, 3, scale * h, scale * w)`` from the states that it is restored from: U in the paper."""
        feats = map(self.features, states)
        return self.upsample(self.fuse_branches(*feats), lr)

    # Apart from the steps that call them, so that accelerated networks can put their own in their place.

    def run_branch(self, resblocks: nn.Module, lr: Tensor, *seen: Tensor) -> Tensor:
        """Features ``(n, mid_channels, h, w)`` by residual blocks R from a frame ``(n, 3, h, w)`` and feature maps."""
        return resblocks(torch.cat((lr, *seen), dim=1))

    def fuse_branches(self, *feats: Tensor) -> Tensor:
        """One feature map ``(n, mid_channels, h, w)`` from those of all branches; that of a single one as it is."""
        if len(feats) == 1:
            return feats[0]
        return F.leaky_relu(self.fusion(torch.cat(feats, dim=1)), 0.1)


def with_ensemble(net: VSRNet, turns: int) -> VSRNet:
    """The same network as restoring runs it so many times; it shares its parameters with ``net``, which stays as it is.

    Args:
        net: the network.
        turns: one of :data:`vsr_plugin.defaults.ENSEMBLES`; 1 for no ensemble.

    Raises:
        VSRError: it is another number.
    """
    if turns not in ENSEMBLES:
        raise VSRError(f"an ensemble of {turns}: choose one of {', '.join(map(str, ENSEMBLES))}")
    other = copy.copy(net)
    other.ensemble = turns
    return other


def load_restorer(weights: str, **options: Any) -> VSRNet:
    """Load a network that restores; see :func:`vsr_plugin.weights.load_net`, which loads parts of networks, too.

    Raises:
        VSRError: the weights cannot be loaded, or are those of a part.
    """
    net = load_net(weights, **options)
    if not isinstance(net, VSRNet):
        raise VSRError(f"{weights}: weights of {type(net).__name__}, which is a part and cannot restore a video")
    return net
