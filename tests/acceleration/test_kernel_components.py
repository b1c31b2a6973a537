"""Networks made of our CUDA kernels: everything but the kernels themselves, which are emulated here."""

import copy
import types

import kernels_on_cpu
import pytest
import torch
import torch.nn.functional as F

from vsr_plugin.acceleration.cuda import components as cuda
from vsr_plugin.acceleration.cuda import kernels
from vsr_plugin.acceleration.cuda.flow_by_kernels import FlowByKernels, flow_kernels_work
from vsr_plugin.acceleration.cuda.graphs import steps_unrecorded
from vsr_plugin.acceleration.cuda.kernel_components import FirstConvByParts
from vsr_plugin.acceleration.fused_conv import FusedConv
from vsr_plugin.benchmarks.inputs import load_sequence
from vsr_plugin.inference.tiling import tile_net
from vsr_plugin.models import BasicVSRNet, BasicVSRPlusPlusNet, IconVSRNet
from vsr_plugin.models.aggregation import PCDAlignment
from vsr_plugin.models.alignment import ALIGNMENTS, FeatureAlignment
from vsr_plugin.models.spynet import PUBLISHED_WIDTH
from vsr_plugin.weights import load_net


@pytest.fixture
def by_kernels(monkeypatch):
    """Return a function that converts a network as for CUDA, with emulated kernels."""
    for name, function in kernels_on_cpu.FUNCTIONS.items():
        monkeypatch.setattr(kernels, name, function)
    monkeypatch.setattr(cuda, "kernels_work", lambda device, dtype: dtype in (torch.float16, torch.bfloat16))
    monkeypatch.setattr(cuda, "flow_kernels_work", lambda device: True)
    monkeypatch.setattr(ALIGNMENTS, "_classes", {**ALIGNMENTS._classes, "carrying and deformable": Carrying})

    def convert(net, dtype=torch.float16):
        return cuda.convert(copy.deepcopy(net).requires_grad_(False).eval(), dtype)

    return convert


def _net(net_class, **arguments):
    torch.manual_seed(0)
    net = net_class(num_blocks=1, **arguments).eval()
    for name, parameter in net.named_parameters():
        # Of EDVR, and of deformable alignment the last of four.
        if "conv_offset" in name and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02 if parameter.dim() > 1 else 0.5)
    return net


def _db(a, b):
    return float(-10 * torch.log10((a.double() - b.double()).square().mean()))


class Carrying(FeatureAlignment):
    """Carries as many channels as there are features, and holds layers that stay in float32."""

    carried_channels = 64

    def __init__(self, mid_channels):
        super().__init__(mid_channels)
        self.pcd = PCDAlignment(mid_channels, 8)

    def carry(self, feat, lr):
        return torch.cat((feat, 0.5 * feat), dim=1)

    def forward(self, state, flow, lr):
        aligned = super().forward(state, flow, lr)
        levels = [F.avg_pool2d(aligned[:, :64], size) for size in (1, 2, 4)]
        return aligned + 0.1 * self.pcd(levels, levels).repeat(1, 2, 1, 1)


NETS = {
    "basicvsr": (BasicVSRNet, {}),
    "own alignment": (BasicVSRNet, dict(alignment="carrying and deformable")),
    "coupled": (BasicVSRNet, dict(propagation="coupled")),
    "unidirectional": (BasicVSRNet, dict(propagation="unidirectional")),
    "image alignment": (BasicVSRNet, dict(alignment="image")),
    "no alignment": (BasicVSRNet, dict(alignment="none")),
    "x2": (BasicVSRNet, dict(scale=2)),
    "x3, forgetting": (BasicVSRNet, dict(scale=3, forgetting=0.1)),
    "x8": (BasicVSRNet, dict(scale=8)),
    "iconvsr": (IconVSRNet, dict(keyframe_stride=2)),
    "deformable alignment": (BasicVSRNet, dict(alignment="deformable")),
    "basicvsr++": (BasicVSRPlusPlusNet, {}),
    "basicvsr++, x1": (BasicVSRPlusPlusNet, dict(is_low_res_input=False)),
}


@pytest.mark.parametrize(("dtype", "least"), [(torch.float16, 70), (torch.bfloat16, 52)])
@pytest.mark.parametrize("name", NETS)
@torch.no_grad()
def test_the_picture_is_that_of_the_plain_network(by_kernels, name, dtype, least):
    net_class, arguments = NETS[name]
    net = _net(net_class, **arguments)
    lrs = torch.rand(2, 3, 3, 20, 28, generator=torch.Generator().manual_seed(1))
    fast = by_kernels(net, dtype)
    with steps_unrecorded(fast):
        got = fast(lrs)
    assert got.dtype == torch.float32
    assert _db(got, net(lrs)) > least


@torch.no_grad()
def test_every_part_of_a_published_network_is_a_kernel(by_kernels, monkeypatch):
    calls = dict.fromkeys(kernels_on_cpu.FUNCTIONS, 0)

    def counted(name):
        def function(*arguments, **options):
            calls[name] += 1
            return kernels_on_cpu.FUNCTIONS[name](*arguments, **options)

        return function

    fast = by_kernels(_net(IconVSRNet, keyframe_stride=None))
    for name in calls:
        monkeypatch.setattr(kernels, name, counted(name))
    with steps_unrecorded(fast):
        fast(torch.rand(1, 3, 3, 16, 20))
    # Per frame: the first convolutions (one and two parts) and the three layers of upsampling.
    flow = dict(flow_start=6, flow_conv=24, flow_conv_add_=6)
    assert calls == dict(conv3x3=3 * (1 + 2 + 3), warp=4, frame_conv=6, last_conv=3, deform_conv=0, enlarge=0, **flow)
    with steps_unrecorded(fast):
        fast.frame_feature(torch.rand(1, 5, 3, 16, 20))
    assert calls["deform_conv"] == 4
    assert calls["enlarge"] == 6


@torch.no_grad()
def test_tiles_see_the_joined_input(by_kernels):
    net = _net(BasicVSRNet)
    fast = by_kernels(net)
    lrs = torch.rand(1, 2, 3, 40, 44)
    assert _db(tile_net(fast, 32)(lrs), net(lrs)) > 70


def test_networks_of_other_widths_keep_the_usual_operators(by_kernels):
    fast = by_kernels(_net(BasicVSRNet, mid_channels=32))
    assert hasattr(fast, "conv_last")
    assert not any(isinstance(module, FirstConvByParts) for module in fast.modules())


@torch.no_grad()
def test_flow_is_that_of_the_plain_network(by_kernels):
    net = load_net("basicvsr_reds4")
    lrs = load_sequence("bigbuckbunny", 3, (50, 70)).lrs
    for flows, expected in zip(by_kernels(net).estimate_flows(lrs), net.estimate_flows(lrs), strict=True):
        assert flows.dtype == torch.float32
        assert (flows - expected).abs().max() < 0.02  # LR pixels


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 6), torch.float16)])
def test_flow_without_kernels_multiplies_what_tf32_does(by_kernels, monkeypatch, capability, dtype):
    monkeypatch.setattr(cuda, "flow_kernels_work", lambda device: False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    mean = types.SimpleNamespace(device=torch.device("cuda:0"))
    net = types.SimpleNamespace(
        alignment=types.SimpleNamespace(needs_flow=True), spynet=types.SimpleNamespace(mean=mean, width=PUBLISHED_WIDTH)
    )  # fmt: skip
    assert cuda._convert_flow(net, torch.bfloat16) == dtype
    with torch.backends.cudnn.flags(allow_tf32=False):
        assert cuda._convert_flow(net, torch.bfloat16) == torch.float32


@torch.no_grad()
def test_without_tf32_flow_is_computed_in_float32(by_kernels):
    net = _net(BasicVSRNet)
    lrs = torch.rand(1, 2, 3, 32, 32)
    with torch.backends.cudnn.flags(allow_tf32=False):
        fast = by_kernels(net)
    assert not isinstance(fast.spynet, FlowByKernels)
    assert {module.dtype for module in fast.spynet.modules() if isinstance(module, FusedConv)} == {torch.float32}
    torch.testing.assert_close(fast.estimate_flows(lrs), net.estimate_flows(lrs), rtol=0, atol=2e-4)


def test_kernels_are_not_tried_without_a_gpu():
    assert not kernels.kernels_work(torch.device("cpu"), torch.float16)
    assert not flow_kernels_work(torch.device("cpu"))


def test_packing_keeps_every_weight():
    weight = torch.randn(256, 64, 3, 3)
    packed = kernels.pack_conv3x3(weight, shuffle=2)
    # Place 1 of channel 5, tap (0, 2), input channel 19.
    assert packed[1, 2, 19 // 8, 5, 19 % 8] == weight[4 * 5 + 1, 19, 0, 2]
    last = kernels.pack_last_conv(weight[:3])
    assert last[28 // 8, 9 * 2 + 7, 28 % 8] == weight[2, 28, 2, 1]
    assert not last[:, 27:].any()
    frame = kernels.pack_frame_conv(weight[:64, :3])
    assert frame[2, 1, 0, 33] == weight[33, 2, 1, 0]
    flow = kernels.pack_flow_conv(torch.randn(2, 16, 7, 7))
    assert flow.shape == (98, 8, 8)
    flow_weight = torch.randn(32, 8, 7, 7)
    flow = kernels.pack_flow_conv(flow_weight)
    assert flow[7 * 2 + 3, 20, 5] == flow_weight[20, 5, 2, 3].half()
    assert not flow[49].any()
    deform = kernels.pack_deform_conv(weight[:64])
    assert deform[4 * 64 + 11, 7] == weight[7, 11, 1, 1]
