"""Which network a checkpoint holds: layouts of keys, what sizes tensors show, and what its training's config adds."""

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

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
    """Extract a network's tensors from a loaded checkpoint of any known layout, under this package's keys, MMagic's.

    MMagic and this package keep a network's tensors under ``state_dict`` with the prefix ``generator.``, beside
    counters and buffers of the training model; BasicSR under ``params`` or ``params_ema`` with names of its own; plain
    state dicts, those under ``model``, and those of ``DistributedDataParallel`` (``module.``) and of ``torch.compile``
    (``_orig_mod.``) occur too.

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


#: Factors of the pixel shuffles, one after the other, of each scale that a network can have; 4 is the paper's.
SHUFFLES = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}

#: Where networks hold another one that can be filled by itself.
PARTS = {
    "SPyNet": ("spynet.", "basicvsr.spynet."),
    "EDVRFeatureExtractor": ("edvr.",),
    "FootageCleaning": ("cleaning.",),
    "ImageCleaning": ("cleaning.", "image_cleaning."),
}
#: Where RealBasicVSR, which cleans frames first, holds its BasicVSR.
BASICVSR = "basicvsr."

#: Classes of cleanings by the name that a network's ``cleaning`` takes.
_CLEANINGS = {"footage": "FootageCleaning", "image": "ImageCleaning"}

#: Blocks of the last of four sweeps, where a BasicVSR or IconVSR has them.
_LAST_OF_GRID = "forward_2_resblocks"
_LAST_BRANCHES = ("forward_resblocks", _LAST_OF_GRID)
#: Propagations whose steps take two states, by those whose steps take one.
_SECOND_ORDER = {"bidirectional": "second_order", "grid": "second_order_grid"}

#: The first tensor of a BasicVSR++ that restores frames at their size.
_REDUCING = "feat_extract.0.weight"
_BASICVSR_PP = "backbone.forward_2.main.0.weight"

#: The first tensor of what tells quantisers.
_ESTIMATOR = "convs.0.weight"
#: The first tensor of a flow network.
_FLOW = "basic_module.0.basic_module.0.conv.weight"
#: Its channels in the published flow network.
_PUBLISHED_WIDTH = 32

#: Parts of a whole EDVR that its feature extractor does not have.
_EDVR_TAIL = ("reconstruction.", "upsample1.", "upsample2.", "conv_hr.", "conv_last.")


@dataclass(frozen=True)
class Architecture:
    """A network by its name in the registry, the arguments to build it with, and the tensors that belong to it."""

    net: str
    arguments: dict
    tensors: dict[str, Tensor]
    #: A component that its author added and the tensors do not tell: the network can be filled, but not built.
    own_component: str | None = None

    @property
    def scale(self) -> int:
        """HR pixels per LR pixel and side of a network that enlarges; 1 of one that cleans, or restores at the size."""
        at_the_size = self.net in _CLEANINGS.values() or not self.arguments.get("is_low_res_input", True)
        return self.arguments.get("scale", 1 if at_the_size else 4)


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


def _components(tensors: dict[str, Tensor]) -> tuple[str, str | None]:
    """Propagation and alignment of a network; ``None`` for an alignment of somebody's own."""

    def has(part: str) -> bool:
        return any(key.startswith(f"{part}.") for key in tensors)

    grid = has(_LAST_OF_GRID)
    last = f"{_LAST_OF_GRID if grid else 'forward_resblocks'}.main.0.weight"
    c, inputs = tensors[last].shape[:2]
    # Local propagation has the tensors of bidirectional, and is read as that.
    propagation = "unidirectional" if not has("backward_resblocks") else "bidirectional" if has("fusion") else "coupled"
    propagation = "grid" if grid else propagation
    aligned = inputs - 3 - c * dict(coupled=1, grid=3).get(propagation, 0)
    if aligned < c:
        raise ValueError(f"{inputs} channels are too few for frame and features")
    own = f"alignment.{'forward_2' if grid else 'forward_1'}"
    deformable = f"{own}.conv_offset.6.weight" in tensors
    states = tensors[f"{own}.weight"].size(1) if deformable else aligned
    # One state or two, and for image alignment three channels behind the features of each.
    known = {order * (c + more): (order, more) for order in (2, 1) for more in (3, 0)}
    order, carried = known.get(states, (1, None))
    if order == 2:
        propagation = _SECOND_ORDER.get(propagation, propagation)
    if deformable:
        return propagation, "deformable"
    if has("alignment") or carried is None or (carried and not has("spynet")):
        return propagation, None
    return propagation, "image" if carried else "feature" if has("spynet") else "none"


def _cleaning(tensors: dict[str, Tensor], prefix: str = "") -> dict | None:
    """A cleaning as a network's argument; ``None`` for none, or for one of somebody's own."""
    if (first := tensors.get(f"{prefix}0.main.0.weight")) is not None:
        blocks = _count(tensors, f"{prefix}0.main.2.")
        return dict(type="image", mid_channels=first.size(0), num_blocks=blocks)
    if (first := tensors.get(f"{prefix}resblocks.main.0.weight")) is not None:
        # Of every frame of the window three colours, of squares of 2x2 pixels.
        radius = (first.size(1) // (3 * 4) - 1) // 2
        blocks = _count(tensors, f"{prefix}resblocks.main.2.")
        return dict(type="footage", mid_channels=first.size(0), num_blocks=blocks, radius=radius)
    return None


def scale_of(tensors: dict[str, Tensor]) -> int | None:
    """Scale of a network by its last pixel shuffle, whose features are 64 wide whatever the width of the others.

    ``None`` for tensors that fit no scale, or have no shuffle; 1 where features are of a quarter of the size.
    """
    shuffles = {
        key.removeprefix(BASICVSR): tensor for key, tensor in tensors.items() if key.endswith(".upsample_conv.weight")
    }
    for scale, factors in SHUFFLES.items():
        names = [f"upsample{number}.upsample_conv.weight" for number, _ in enumerate(factors, start=1)]
        if shuffles.keys() == {*names} and shuffles[names[-1]].size(0) == 64 * factors[-1] ** 2:
            return 1 if _REDUCING in tensors else scale
    return None


def _flow_width(tensors: dict[str, Tensor], prefix: str, argument: str) -> dict[str, int]:
    """The argument for the width of a flow network, where it is not the published one."""
    width = tensors[prefix + _FLOW].size(0) if prefix + _FLOW in tensors else _PUBLISHED_WIDTH
    return {} if width == _PUBLISHED_WIDTH else {argument: width}


def _network(tensors: dict[str, Tensor]) -> Architecture:
    last = next(name for name in _LAST_BRANCHES if f"{name}.main.0.weight" in tensors)
    sizes = dict(mid_channels=tensors[f"{last}.main.0.weight"].size(0), num_blocks=_count(tensors, f"{last}.main.2."))
    propagation, alignment = _components(tensors)
    net, published = "BasicVSRNet", "bidirectional"
    if any(key.startswith("edvr.") for key in tensors):
        net, published = "IconVSRNet", "coupled"
        sizes["padding"] = _extractor_arguments(tensors, "edvr.")["num_frames"] // 2
    if propagation != published:
        sizes["propagation"] = propagation
    # What fits no scale is told later, tensor by tensor.
    if (scale := scale_of(tensors)) not in (4, None):
        sizes["scale"] = scale
    sizes |= _flow_width(tensors, "spynet.", "spynet_width")
    if alignment not in ("feature", None):
        sizes["alignment"] = alignment
    return _behind_cleaning(Architecture(net, sizes, tensors, own_component=None if alignment else "alignment"))


def _behind_cleaning(found: Architecture) -> Architecture:
    """The network with the cleaning before it, if it has one."""
    if not any(key.startswith("cleaning.") for key in found.tensors):
        return found
    if cleaning := _cleaning(found.tensors, "cleaning."):
        return replace(found, arguments={**found.arguments, "cleaning": cleaning})
    return replace(found, own_component="cleaning")


def _basicvsr_pp(tensors: dict[str, Tensor]) -> Architecture:
    sizes = dict(mid_channels=tensors[_BASICVSR_PP].size(0), num_blocks=_count(tensors, "backbone.forward_2.main.2."))
    # What is missing is reported.
    tensors["deform_align.forward_2.weight"], tensors["reconstruction.main.0.weight"]
    scale = scale_of(tensors)
    if scale == 1:
        sizes["is_low_res_input"] = False
    elif scale not in (4, None):
        sizes["scale"] = scale
    sizes |= _flow_width(tensors, "spynet.", "spynet_width")
    return _behind_cleaning(Architecture("BasicVSRPlusPlusNet", sizes, tensors))


def with_residue_magnitude(found: Architecture, magnitude: float) -> Architecture:
    """The network with the bound of what its deformable alignment adds to flow, in pixels; without one, as it is."""
    if found.net == "BasicVSRPlusPlusNet":
        return replace(found, arguments={**found.arguments, "max_residue_magnitude": magnitude})
    if found.arguments.get("alignment") != "deformable":
        return found
    alignment = dict(type="deformable", max_residue_magnitude=magnitude)
    return replace(found, arguments={**found.arguments, "alignment": alignment})


def _cleaned_network(tensors: dict[str, Tensor]) -> Architecture:
    """RealBasicVSR: a BasicVSR and the cleaning before it, side by side."""
    inner = _network({key.removeprefix(BASICVSR): tensors[key] for key in tensors if key.startswith(BASICVSR)})
    if inner.net != "BasicVSRNet":
        raise ValueError(f"{inner.net} inside RealBasicVSR")
    tensors["image_cleaning.0.main.0.weight"]  # reported if missing
    sizes = dict(inner.arguments)
    sizes["num_propagation_blocks"] = sizes.pop("num_blocks")
    sizes["num_cleaning_blocks"] = _count(tensors, "image_cleaning.0.main.2.")
    return Architecture("RealBasicVSRNet", sizes, tensors, inner.own_component)


def recognise(tensors: dict[str, Tensor], source: str) -> Architecture:
    """Read the network and its sizes from the names and shapes of its tensors.

    Args:
        tensors: under this package's keys, see :mod:`vsr_plugin.weights.recognition`.
        source: name of the file, for the error.

    Raises:
        WeightsError: they belong to no network of this package, or parts of it are missing.
    """
    try:
        if any(f"{name}.main.0.weight" in tensors for name in _LAST_BRANCHES):
            return _network(tensors)
        if any(f"{BASICVSR}{name}.main.0.weight" in tensors for name in _LAST_BRANCHES):
            return _cleaned_network(tensors)
        if _BASICVSR_PP in tensors:
            return _basicvsr_pp(tensors)
        if "pcd_alignment.cas_dcnpack.weight" in tensors:
            tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(_EDVR_TAIL)}
            return Architecture("EDVRFeatureExtractor", _extractor_arguments(tensors), tensors)
        if cleaning := _cleaning(tensors):
            return Architecture(_CLEANINGS[cleaning.pop("type")], cleaning, tensors)
        if _ESTIMATOR in tensors:
            return Architecture("QuantiserEstimator", dict(mid_channels=tensors[_ESTIMATOR].size(0)), tensors)
        if _FLOW in tensors:
            return Architecture("SPyNet", _flow_width(tensors, "", "width"), tensors)
    except KeyError as error:
        raise WeightsError(f"{source}: the tensor {error} is missing; the file is incomplete") from None
    except (IndexError, ValueError, ZeroDivisionError):
        raise WeightsError(f"{source}: tensors have impossible sizes; the file is damaged") from None
    raise WeightsError(
        f"{source}: weights of another model ({len(tensors)} tensors, the first named {next(iter(tensors), None)!r}); "
        "this package loads BasicVSR, IconVSR, BasicVSR++, RealBasicVSR, SPyNet and EDVR-M"
    )


#: The alignments of this package.
_KNOWN = ("none", "image", "feature", "deformable")


def own_alignment(checkpoint: object) -> str | None:
    """Name of the alignment of a trained network, if it is somebody's own; such a one may have no tensors at all.

    Args:
        checkpoint: what a checkpoint file holds.
    """
    alignment = _setting(checkpoint, "alignment")
    name = _setting(checkpoint, "alignment", "type") if alignment is None else alignment
    return name if isinstance(name, str) and name not in _KNOWN else None


def residue_magnitude(checkpoint: object) -> float | None:
    """How far deformable alignment may go from the flow, in pixels, if the training said so.

    Args:
        checkpoint: what a checkpoint file holds.
    """
    found = _setting(checkpoint, "max_residue_magnitude")
    found = _setting(checkpoint, "alignment", "max_residue_magnitude") if found is None else found
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _setting(checkpoint: object, *path: str) -> object | None:
    """A constant of the network's settings, under names within names; ``None`` where there is none.

    mmengine keeps the config of a training beside the weights, as a Python program. It is read here, and not run.
    """
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        settings = {t.id: each.value for each in ast.parse(text).body for t in getattr(each, "targets", ())}
        node = _member(settings["model"], "generator")
        for name in path:
            node = _member(node, name)
        return ast.literal_eval(node) if isinstance(node, ast.Constant) else None
    except (AttributeError, KeyError, RecursionError, SyntaxError, TypeError, ValueError):
        return None


def _member(node: ast.expr, name: str) -> ast.expr:
    """A value of ``dict(name=...)`` or ``{'name': ...}``."""
    if isinstance(node, ast.Dict):
        return {key.value: value for key, value in zip(node.keys, node.values, strict=True)}[name]
    return {keyword.arg: keyword.value for keyword in node.keywords}[name]
