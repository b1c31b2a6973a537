"""Modulated deformable convolutions of channels-last features: packing weights, launching."""

import torch
from torch import Tensor

from vsr_plugin.acceleration.cpu.kernels import jit, parallel
from vsr_plugin.acceleration.cpu.kernels.kernel_args import (
    BLOCK,
    DeformArgs,
    channels_last,
    deform_scratch,
    parameters,
    scratch,
)


class DeformConv:
    """A modulated deformable 3x3 convolution of stride 1 and padding 1, in float32.

    Args:
        weight: ``(c_out, c_in, 3, 3)``; see :meth:`suits`.
        bias: ``(c_out,)``.
        groups: deformable groups.

    Raises:
        RuntimeError: there are no kernels for this processor or for such a convolution.
    """

    def __init__(self, weight: Tensor, bias: Tensor, groups: int):
        lanes = self._both_lanes(weight, groups)
        if lanes is None:
            raise RuntimeError(f"no kernel for weights {tuple(weight.shape)} in {groups} deformable groups")
        self.lanes, self.matrix_lanes = lanes
        self.groups = groups
        self.weight, self.bias = parameters(weight, bias)
        c_in = weight.size(1)
        # (output, group, channel, tap) to (panel of outputs, group, tap, channel, output of the panel)
        packed = self.weight.reshape(-1, 2 * self.matrix_lanes, groups, c_in // groups, 9)
        self.packed = packed.permute(0, 2, 4, 3, 1).contiguous()
        steps = torch.tensor([-1, 0, 1], dtype=torch.float32, device="cpu")
        self.positions = torch.cat([steps.repeat_interleave(3).repeat(groups), steps.repeat(3 * groups)])

    @staticmethod
    def _both_lanes(weight: Tensor, groups: int) -> tuple[int, int] | None:
        """Lanes for sampling, and for the product with the weights."""
        c_out, c_in = weight.shape[:2]
        lanes, matrix_lanes = jit.lanes_for(c_in // groups, 9 * groups), jit.lanes_for(c_out // 2)
        return (lanes, matrix_lanes) if lanes and matrix_lanes and c_in % groups == c_out % 2 == 0 else None

    @classmethod
    def suits(cls, weight: Tensor, groups: int) -> bool:
        """Whether there is a kernel for such a convolution here; whether it works, ``self_test`` tells."""
        return tuple(weight.shape[2:]) == (3, 3) and cls._both_lanes(weight, groups) is not None

    def __call__(self, x: Tensor, displacements: Tensor, factors: Tensor) -> Tensor:
        """Convolve.

        Args:
            x: features ``(n, c_in, h, w)``.
            displacements: in pixels, ``(n, 2 * 9 * groups, h, w)``: for every group and tap y, x. What is not a number
                samples nothing, and outside the image lies zero, as long as the features are finite.
            factors: of the samples, ``(n, 9 * groups, h, w)``.

        Returns:
            ``(n, c_out, h, w)``, channels last.

        Raises:
            ValueError: there are other channels, or other sizes.
        """
        c_in = self.weight.size(1)
        if len({(t.size(0), *t.shape[2:]) for t in (x, displacements, factors)}) > 1:
            raise ValueError(
                f"sizes differ: features {tuple(x.shape)}, displacements {tuple(displacements.shape)}, factors "
                f"{tuple(factors.shape)}"
            )
        counts = c_in, 18 * self.groups, 9 * self.groups
        given = [
            channels_last(t.float(), count).permute(0, 2, 3, 1).contiguous()
            for t, count in zip((x, displacements, factors), counts, strict=True)
        ]
        n, h, w, _ = given[0].shape
        c_out = self.weight.size(0)
        out = torch.empty(n, h, w, c_out, dtype=torch.float32, device="cpu")
        if out.numel():
            threads = min(torch.get_num_threads(), -(-n * h * w // BLOCK))
            floats = deform_scratch(self.groups, c_in // self.groups, c_out)
            call = DeformArgs(
                source=given[0].data_ptr(),
                target=out.data_ptr(),
                displacements=given[1].data_ptr(),
                factors=given[2].data_ptr(),
                positions=self.positions.data_ptr(),
                filters=self.packed.data_ptr(),
                bias=self.bias.data_ptr(),
                scratch=scratch(threads * floats).data_ptr(),
                scratch_floats=floats,
                images=n,
                rows=h,
                columns=w,
                channels_out=c_out,
            )
            parameters = self.groups, c_in // self.groups, self.lanes, self.matrix_lanes, jit.host()[0].registers
            parallel.run(jit.compiled("deform", *parameters), call, threads)
        return out.permute(0, 3, 1, 2)
