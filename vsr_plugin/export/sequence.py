"""The driver of the steps over a whole sequence, cut into modules that the loops of an ONNX graph are made of."""

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.export.onnx_layers import has_keyframes
from vsr_plugin.export.steps import backward_step, forward_step, reconstruct
from vsr_plugin.export.tracing import TRACE_SIZE, Part


def keyframe_plan(t: int | Tensor, keyframe_stride: int, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    """Keyframes of a sequence whose length is open in the graph.

    The same as ``keyframe_indices`` and ``neighbourhood_indices`` in arithmetic of whole tensors, which can be
    traced; a test compares them.

    Returns:
        ``(windows, number, is_keyframe)``: the frames around each of ``k`` keyframes ``(k, 2 * padding + 1)``; for
        each frame the number of the last keyframe up to it ``(t,)``; and whether it is one ``(t,)``.
    """
    t = torch.as_tensor(t)
    frame = torch.arange(t)
    is_keyframe = (frame % keyframe_stride == 0) | (frame == t - 1)
    number = is_keyframe.long().cumsum(0) - 1
    j = is_keyframe.nonzero() + torch.arange(-padding, padding + 1)
    beyond = torch.maximum(-j, j - (t - 1))
    near = torch.where(j < 0, beyond + padding, t - 1 - beyond - padding)
    period = (2 * (t - 1)).clamp(min=1)
    reflected = torch.minimum(j % period, period - j % period)
    windows = torch.where(beyond <= 0, j, torch.where(beyond + padding <= t - 1, near, reflected))
    return windows, number, is_keyframe


def mirror_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """``pad_to_multiple`` for sizes that are open in the graph: ``mirrored_indices`` in arithmetic of whole tensors."""
    for axis in (-2, -1):
        length = images.shape[axis]
        index = torch.arange(length + -length % multiple, device=images.device)
        reflected = (2 * (length - 1) - index).clamp(min=0)
        images = images.index_select(axis, torch.where(index < length, index, reflected))
    return images


class Neighbours(nn.Module):
    """Frames in time-major order, and for each the numbers of those that its cleaning looks at."""

    def __init__(self, radius: int):
        super().__init__()
        self.radius = radius

    def forward(self, lrs: Tensor) -> tuple[Tensor, Tensor]:
        t = torch.as_tensor(lrs.shape[1])
        around = torch.arange(t)[:, None] + torch.arange(-self.radius, self.radius + 1)
        return lrs.transpose(0, 1), torch.minimum(around.clamp(min=0), t - 1)


class CleanLoop(nn.Module):
    """One frame, cleaned, and its mean absolute residue."""

    def __init__(self, cleaning: nn.Module):
        super().__init__()
        self.cleaning = cleaning

    def forward(self, neighbours: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        window = frames.index_select(0, neighbours).transpose(0, 1)
        residue = self.cleaning.residue(window)
        return window[:, self.cleaning.radius] + self.cleaning.strength * residue, residue.abs().mean()


class Begin(nn.Module):
    """Frames in time-major order, extended as the network needs, and what the loops begin with."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, lrs: Tensor) -> tuple[Tensor, ...]:
        frames = mirror_to_multiple(lrs, self.net.size_multiple).transpose(0, 1)
        n, _, h, w = frames[0].shape
        begin = (frames, frames[0], frames[-1], frames.new_zeros(n, self.net.mid_channels, h, w))
        if not has_keyframes(self.net):
            return begin
        return (*begin, *keyframe_plan(lrs.shape[1], self.net.keyframe_stride, self.net.padding))


class RefillLoop(nn.Module):
    """Features of one keyframe."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, window: Tensor, frames: Tensor) -> Tensor:
        return self.net.frame_feature(frames.index_select(0, window).transpose(0, 1))


class BackwardLoop(nn.Module):
    """One frame of the backward branch, its flow included.

    At the last frame the state is zero, and warps to zero whatever the flow (that of the frame to itself).
    """

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, state: Tensor, later: Tensor, lr: Tensor, *keyframe: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = backward_step(self.net, lr, self.net.spynet(lr, later), state, select_refill(*keyframe))
        return state, lr.clone(), state.clone()


class ForwardLoop(nn.Module):
    """One frame of the forward branch, restored."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(
        self, state: Tensor, earlier: Tensor, lr: Tensor, backward_feat: Tensor, *keyframe: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        flow = self.net.spynet(lr, earlier)
        state = forward_step(self.net, lr, flow, state, backward_feat, select_refill(*keyframe))
        return state, lr.clone(), reconstruct(self.net, lr, backward_feat, state)


def select_refill(
    number: Tensor | None = None, is_keyframe: Tensor | None = None, features: Tensor | None = None
) -> tuple[Tensor, Tensor] | None:
    """The features of a frame's keyframe out of those of all ``(k, n, c, h, w)``, and whether they count."""
    return None if features is None else (features[number], is_keyframe)


class Finish(nn.Module):
    """HR frames in batch-major order, cut to the size that was asked for."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, lrs: Tensor, hr_frames: Tensor) -> Tensor:
        h, w = lrs.shape[-2:]
        return hr_frames.transpose(0, 1)[..., : self.scale * h, : self.scale * w]


def make_loops(net: nn.Module) -> dict[str, Part]:
    """The modules of a network's whole-sequence graph.

    Args:
        net: a copy by :func:`vsr_plugin.export.onnx_layers.exportable_copy`.
    """
    h, w = TRACE_SIZE
    lrs = torch.rand(2, 4, 3, h, w)
    frames = lrs.transpose(0, 1)
    image, feature = frames[0], 0.1 * torch.randn(2, net.mid_channels, h, w)
    image_axes, many_axes = {0: "n", 2: "h", 3: "w"}, {0: "t", 1: "n", 3: "h", 4: "w"}
    lrs_axes = {0: "n", 1: "t", 3: "h", 4: "w"}
    begin_names: tuple[str, ...] = ("frames", "first", "last", "no_state")
    begin_axes = dict(lrs=lrs_axes, frames=many_axes, first=image_axes, last=image_axes, no_state=image_axes)
    keyframe: dict[str, Tensor] = {}
    keyframe_axes = {}
    loops = {}
    if net.cleaning is not None:
        radius = net.cleaning.radius
        neighbours = torch.arange(2 * radius + 1) % 4
        loops["neighbours"] = Part(
            Neighbours(radius), dict(lrs=lrs), ("frames", "neighbours"),
            dict(lrs=lrs_axes, frames=many_axes, neighbours={0: "t"}),
        )  # fmt: skip
        loops["clean"] = Part(
            CleanLoop(net.cleaning), dict(neighbours=neighbours, frames=frames), ("cleaned", "residue"),
            dict(frames=many_axes, cleaned=image_axes),
        )  # fmt: skip
    if has_keyframes(net):
        begin_names += ("windows", "numbers", "are_keyframes")
        begin_axes.update(windows={0: "k"}, numbers={0: "t"}, are_keyframes={0: "t"})
        window = torch.arange(2 * net.padding + 1) % 4
        features = torch.stack((feature, feature))
        keyframe = dict(number=torch.tensor(1), is_keyframe=torch.tensor(True), features=features)
        keyframe_axes = dict(features={0: "k", 1: "n", 3: "h", 4: "w"})
        loops["refill"] = Part(
            RefillLoop(net), dict(window=window, frames=frames), ("refill",),
            dict(frames=many_axes, refill=image_axes), batches=True,
        )  # fmt: skip

    def loop(module: nn.Module, inputs: dict[str, Tensor], outputs: tuple[str, ...]) -> Part:
        axes = dict.fromkeys((*inputs, *outputs), image_axes)
        if "hr" in axes:
            axes["hr"] = {0: "n", 2: "hr_h", 3: "hr_w"}
        return Part(module, {**inputs, **keyframe}, outputs, {**axes, **keyframe_axes})

    begin = Part(Begin(net), dict(lrs=lrs), begin_names, begin_axes)
    backward_inputs = dict(state=feature, later=image, lr=image)
    backward = loop(BackwardLoop(net), backward_inputs, ("next_state", "next_later", "feat"))
    forward_inputs = dict(state=feature, earlier=image, lr=image, backward_feat=feature)
    forward = loop(ForwardLoop(net), forward_inputs, ("next_state", "next_earlier", "hr"))
    scale = net.scale
    hr_axes = {0: "t", 1: "n", 3: "hr_h", 4: "hr_w"}
    finish = Part(
        Finish(scale), dict(lrs=lrs, hr_frames=torch.rand(4, 2, 3, scale * h, scale * w)), ("hrs",),
        dict(lrs=lrs_axes, hr_frames=hr_axes, hrs={0: "n", 1: "t", 3: "hr_h", 4: "hr_w"}),
    )  # fmt: skip
    return dict(begin=begin, **loops, backward=backward, forward=forward, finish=finish)
