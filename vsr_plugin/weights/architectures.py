"""Which network a set of tensors belongs to, and with which sizes."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import WeightsError
from vsr_plugin.models import BasicVSRNet, EDVRFeatureExtractor, IconVSRNet, SPyNet

#: Where a network holds another one that is published by itself.
PARTS = {SPyNet: "spynet.", EDVRFeatureExtractor: "edvr."}

#: Parts of a whole EDVR that its feature extractor does not have.
_EDVR_TAIL = ("reconstruction.", "upsample1.", "upsample2.", "conv_hr.", "conv_last.")


@dataclass(frozen=True)
class Architecture:
    """A network class, the arguments to build it with, and the tensors that belong to it."""

    net_class: type[nn.Module]
    arguments: dict
    tensors: dict[str, Tensor]


def _count(keys: Iterable[str], prefix: str) -> int:
    """Number of numbered children under ``prefix``."""
    return len({key[len(prefix) :].split(".")[0] for key in keys if key.startswith(prefix)})


def _extractor_arguments(tensors: dict[str, Tensor], prefix: str = "") -> dict:
    mid_channels = tensors[f"{prefix}conv_first.weight"].size(0)
    with_tsa = f"{prefix}fusion.feat_fusion.conv.weight" in tensors
    fusion = tensors[f"{prefix}fusion.feat_fusion.conv.weight" if with_tsa else f"{prefix}fusion.weight"]
    deform_groups = tensors[f"{prefix}pcd_alignment.cas_dcnpack.conv_offset.weight"].size(0) // 27
    if mid_channels % deform_groups:
        raise ValueError(f"{deform_groups} groups do not divide {mid_channels} channels")
    return dict(
        in_channels=tensors[f"{prefix}conv_first.weight"].size(1),
        mid_channels=mid_channels,
        num_frames=fusion.size(1) // mid_channels,
        deform_groups=deform_groups,
        num_blocks_extraction=_count(tensors, f"{prefix}feature_extraction."),
        with_tsa=with_tsa,
    )


def recognise(tensors: dict[str, Tensor], source: str) -> Architecture:
    """Read the network and its sizes from the names and shapes of its tensors.

    Args:
        tensors: under this package's keys, see :mod:`vsr_plugin.weights.layouts`.
        source: name of the file, for the error.

    Raises:
        WeightsError: they belong to no network of this package, or parts of it are missing.
    """
    try:
        if "forward_resblocks.main.0.weight" in tensors:
            sizes = dict(
                mid_channels=tensors["forward_resblocks.main.0.weight"].size(0),
                num_blocks=_count(tensors, "forward_resblocks.main.2."),
            )
            if not any(key.startswith("edvr.") for key in tensors):
                return Architecture(BasicVSRNet, sizes, tensors)
            num_frames = _extractor_arguments(tensors, "edvr.")["num_frames"]
            return Architecture(IconVSRNet, dict(**sizes, padding=num_frames // 2), tensors)
        if "pcd_alignment.cas_dcnpack.weight" in tensors:
            tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(_EDVR_TAIL)}
            return Architecture(EDVRFeatureExtractor, _extractor_arguments(tensors), tensors)
        if "basic_module.0.basic_module.0.conv.weight" in tensors:
            return Architecture(SPyNet, {}, tensors)
    except KeyError as error:
        raise WeightsError(f"{source}: the tensor {error} is missing; the file is incomplete") from None
    except (IndexError, ValueError, ZeroDivisionError):
        raise WeightsError(f"{source}: tensors have impossible sizes; the file is damaged") from None
    raise WeightsError(
        f"{source}: weights of another model ({len(tensors)} tensors, the first named {next(iter(tensors), None)!r}); "
        "this package loads BasicVSR, IconVSR, SPyNet and EDVR-M"
    )
