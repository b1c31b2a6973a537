"""The layouts that checkpoints come in, and BasicSR's names, written out independently of the package."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def basicsr_modules() -> dict[str, str]:
    """BasicSR's name of each layer that has another name here, written out from its architectures."""
    names = {"upsample1.upsample_conv": "upconv1", "upsample2.upsample_conv": "upconv2"}
    for direction in ("forward", "backward"):
        names[f"{direction}_resblocks.main.0"] = f"{direction}_trunk.main.0"
        for block in range(30):
            for conv in ("conv1", "conv2"):
                layer = f"main.2.{block}.{conv}"
                names[f"{direction}_resblocks.{layer}"] = f"{direction}_trunk.{layer}"
    for prefix in ("", "spynet."):
        for level in range(6):
            for ours, theirs in enumerate((0, 2, 4, 6, 8)):
                layers = f"{prefix}basic_module.{level}.basic_module"
                names[f"{layers}.{ours}.conv"] = f"{layers}.{theirs}"
    for prefix in ("", "edvr."):
        edvr = {
            "feat_l2_conv1.conv": "conv_l2_1",
            "feat_l2_conv2.conv": "conv_l2_2",
            "feat_l3_conv1.conv": "conv_l3_1",
            "feat_l3_conv2.conv": "conv_l3_2",
            "pcd_alignment.offset_conv1.l3.conv": "pcd_align.offset_conv1.l3",
            "pcd_alignment.offset_conv1.l2.conv": "pcd_align.offset_conv1.l2",
            "pcd_alignment.offset_conv1.l1.conv": "pcd_align.offset_conv1.l1",
            "pcd_alignment.offset_conv2.l3.conv": "pcd_align.offset_conv2.l3",
            "pcd_alignment.offset_conv2.l2.conv": "pcd_align.offset_conv2.l2",
            "pcd_alignment.offset_conv2.l1.conv": "pcd_align.offset_conv2.l1",
            "pcd_alignment.offset_conv3.l2.conv": "pcd_align.offset_conv3.l2",
            "pcd_alignment.offset_conv3.l1.conv": "pcd_align.offset_conv3.l1",
            "pcd_alignment.dcn_pack.l3": "pcd_align.dcn_pack.l3",
            "pcd_alignment.dcn_pack.l2": "pcd_align.dcn_pack.l2",
            "pcd_alignment.dcn_pack.l1": "pcd_align.dcn_pack.l1",
            "pcd_alignment.dcn_pack.l3.conv_offset": "pcd_align.dcn_pack.l3.conv_offset",
            "pcd_alignment.dcn_pack.l2.conv_offset": "pcd_align.dcn_pack.l2.conv_offset",
            "pcd_alignment.dcn_pack.l1.conv_offset": "pcd_align.dcn_pack.l1.conv_offset",
            "pcd_alignment.feat_conv.l2.conv": "pcd_align.feat_conv.l2",
            "pcd_alignment.feat_conv.l1.conv": "pcd_align.feat_conv.l1",
            "pcd_alignment.cas_offset_conv1.conv": "pcd_align.cas_offset_conv1",
            "pcd_alignment.cas_offset_conv2.conv": "pcd_align.cas_offset_conv2",
            "pcd_alignment.cas_dcnpack": "pcd_align.cas_dcnpack",
            "pcd_alignment.cas_dcnpack.conv_offset": "pcd_align.cas_dcnpack.conv_offset",
            "fusion.feat_fusion.conv": "fusion.feat_fusion",
            "fusion.spatial_attn1.conv": "fusion.spatial_attn1",
            "fusion.spatial_attn2.conv": "fusion.spatial_attn2",
            "fusion.spatial_attn3.conv": "fusion.spatial_attn3",
            "fusion.spatial_attn4.conv": "fusion.spatial_attn4",
            "fusion.spatial_attn_l1.conv": "fusion.spatial_attn_l1",
            "fusion.spatial_attn_l2.conv": "fusion.spatial_attn_l2",
            "fusion.spatial_attn_l3.conv": "fusion.spatial_attn_l3",
            "fusion.spatial_attn_add1.conv": "fusion.spatial_attn_add1",
        }
        names.update({prefix + ours: prefix + theirs for ours, theirs in edvr.items()})
    return names


#: Layers whose name is the same in both.
SAME = {"fusion", "conv_hr", "conv_last", "backward_fusion", "forward_fusion", "spynet", ""} | {
    prefix + layer
    for prefix in ("", "edvr.")
    for layer in (
        "conv_first",
        *(f"feature_extraction.{block}.conv{conv}" for block in range(5) for conv in (1, 2)),
        "fusion",
        "fusion.temporal_attn1",
        "fusion.temporal_attn2",
        "fusion.spatial_attn5",
        "fusion.spatial_attn_add2",
    )
}
MODULES = basicsr_modules()


def to_basicsr(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under BasicSR's names."""
    renamed = {}
    for key, tensor in tensors.items():
        module, _, leaf = key.rpartition(".")
        assert module in MODULES or module in SAME, key
        theirs = MODULES.get(module, module)
        renamed[f"{theirs}.{leaf}" if theirs else leaf] = tensor
    return renamed


def prefixed(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + key: tensor for key, tensor in tensors.items()}


def noise(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Other values, of which none must be loaded."""
    return {key: torch.full_like(tensor, 7) for key, tensor in tensors.items()}


#: Every layout as a function from a network's own state dict to a checkpoint.
LAYOUTS: dict[str, Callable[[dict[str, Tensor]], dict]] = {
    "ours": dict,
    "state_dict": lambda t: {"state_dict": t},
    "ddp": lambda t: prefixed(t, "module."),
    "model": lambda t: {"model": t, "epoch": 3},
    "model_state_dict": lambda t: {"model_state_dict": t, "optimizer_state_dict": {}},
    "compiled": lambda t: {"model": prefixed(t, "_orig_mod.")},
    "compiled_ddp": lambda t: prefixed(prefixed(t, "_orig_mod."), "module."),
    "ddp_in_state_dict": lambda t: {"state_dict": prefixed(t, "module."), "epoch": 3},
    "mmagic": lambda t: {
        "meta": {"epoch": 1, "iter": 300000, "mmedit_version": "0.6.0", "CLASSES": None},
        "state_dict": {
            **prefixed(t, "generator."),
            "step_counter": torch.zeros(1),
            "data_preprocessor.mean": torch.zeros(3, 1, 1),
        },
        "optimizer": {"generator": {"state": {0: {"step": 1}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.99)}]}},
    },
    "mmagic_plain": lambda t: {**prefixed(t, "generator."), "step_counter": torch.zeros(1)},
    "mmagic_ddp": lambda t: {"state_dict": prefixed(prefixed(t, "generator."), "module.")},
    "mmagic_ema": lambda t: {
        "state_dict": {
            **prefixed(noise(t), "generator."),
            **prefixed(t, "generator_ema."),
            "step_counter": torch.zeros(1),
        }
    },
    "basicsr": lambda t: {"params": to_basicsr(t)},
    "basicsr_ema": lambda t: {"params": to_basicsr(noise(t)), "params_ema": to_basicsr(t)},
    "basicsr_plain": to_basicsr,
    "basicsr_ddp": lambda t: {"params": prefixed(to_basicsr(t), "module.")},
}
