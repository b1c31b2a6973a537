"""Gradient checkpointing: the same gradients, less kept."""

import pytest
import torch

from vsr_plugin.models import BasicVSRNet, IconVSRNet


def gradients(net: torch.nn.Module, with_cp: bool, lrs: torch.Tensor) -> tuple[dict[str, torch.Tensor], int]:
    """Gradients of a loss, and the bytes that the graph holds on to."""
    net.with_cp = with_cp
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    net.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = net(lrs).square().mean()
    loss.backward()
    return {name: parameter.grad.clone() for name, parameter in net.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize(
    "net",
    [
        BasicVSRNet(mid_channels=8, num_blocks=3, spynet_width=4),
        IconVSRNet(mid_channels=8, num_blocks=3, spynet_width=4, keyframe_stride=2),
    ],
    ids=["basicvsr", "iconvsr"],
)
def test_the_same_gradients_from_less_memory(net: torch.nn.Module) -> None:
    torch.manual_seed(0)
    lrs = torch.rand(1, 4, 3, 24, 24)
    plain, plain_bytes = gradients(net, False, lrs)
    checkpointed, checkpointed_bytes = gradients(net, True, lrs)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-8, msg=name)
    # What is left is the flow network's, which is a small part at the published width.
    assert checkpointed_bytes < 0.75 * plain_bytes


def test_without_gradients_it_changes_nothing() -> None:
    net = BasicVSRNet(mid_channels=8, num_blocks=1, spynet_width=4, with_cp=True).eval()
    lrs = torch.rand(1, 3, 3, 8, 8)
    with torch.no_grad():
        restored = net(lrs)
        net.with_cp = False
        assert torch.equal(restored, net(lrs))
