"""Key layouts of checkpoints, brought to the one layout of this package, which is MMagic's.

MMagic and this package keep a network's tensors under ``state_dict`` with the prefix ``generator.``, beside
counters and buffers of the training model; BasicSR under ``params`` or ``params_ema`` with names of its own; plain
state dicts, those under ``model``, and those of ``DistributedDataParallel`` (``module.``) and of ``torch.compile``
(``_orig_mod.``) occur too.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from vsr_plugin.errors import WeightsError

#: Containers of the tensors, best first: an exponential moving average is what its author evaluated.
_CONTAINERS = ("state_dict", "params_ema", "params", "model_state_dict", "model")
#: Prefixes of the network inside a training model, best first.
_NETWORK_PREFIXES = ("generator_ema.", "generator.")

#: BasicSR's names (basicvsr_arch.py, edvr_arch.py, spynet_arch.py) and ours, applied in this order.
_BASICSR_NAMES = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"\b(forward|backward)_trunk\.", r"\1_resblocks."),
        (r"\bupconv([123])\.", r"upsample\1.upsample_conv."),
        (r"\bconv_l([23])_([12])\.", r"feat_l\1_conv\2.conv."),
        (r"\bpcd_align\.", "pcd_alignment."),
        # Convolutions that MMagic wraps together with their activation.
        (r"\b((?:offset_conv[123]|feat_conv)\.l[123]|cas_offset_conv[12])\.(weight|bias)$", r"\1.conv.\2"),
        (
            r"\bfusion\.(feat_fusion|spatial_attn[1-4]|spatial_attn_l[123]|spatial_attn_add1)\.(weight|bias)$",
            r"fusion.\1.conv.\2",
        ),
    )
)
#: In BasicSR's SPyNet the convolutions are counted together with the activations between them.
_BASICSR_SPYNET = re.compile(r"\b(basic_module\.\d+\.basic_module)\.([02468])\.(weight|bias)$")


def _from_basicsr(key: str) -> str:
    for pattern, replacement in _BASICSR_NAMES:
        key = pattern.sub(replacement, key)
    return _BASICSR_SPYNET.sub(lambda match: f"{match[1]}.{int(match[2]) // 2}.conv.{match[3]}", key)


def _strip_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}


def normalise(checkpoint: object, source: str) -> dict[str, Tensor]:
    """Extract a network's tensors from a loaded checkpoint of any known layout, under this package's keys.

    Args:
        checkpoint: what ``torch.load`` returned.
        source: name of the file, for the error.

    Raises:
        WeightsError: there are no named tensors in it, or one holds numbers that are not finite.
    """
    tensors = checkpoint
    for container in _CONTAINERS:
        if isinstance(tensors, Mapping) and isinstance(tensors.get(container), Mapping):
            tensors = tensors[container]
            break
    if isinstance(tensors, Mapping):
        tensors = {key: value for key, value in tensors.items() if isinstance(value, Tensor) and isinstance(key, str)}
    if not isinstance(tensors, dict) or not tensors:
        raise WeightsError(f"{source}: no named tensors in this file; it is not a checkpoint of a network")
    # What torch.compile wraps, the whole or a part.
    tensors = {key.replace("_orig_mod.", ""): tensor for key, tensor in tensors.items()}
    if all(key.startswith("module.") for key in tensors):
        tensors = _strip_prefix(tensors, "module.")
    for prefix in _NETWORK_PREFIXES:
        if any(key.startswith(prefix) for key in tensors):
            tensors = _strip_prefix(tensors, prefix)
            break
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsError(
                f"{source}: the tensor {key} holds numbers that are not finite, so every pixel would be black: the "
                "training that it is from has failed; take an earlier checkpoint"
            )
    return {_from_basicsr(key): tensor for key, tensor in tensors.items() if key != "step_counter"}
