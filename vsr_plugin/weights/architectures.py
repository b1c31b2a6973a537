"""Which network a set of tensors belongs to, and with which sizes."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from vsr_plugin.errors import WeightsError
from vsr_plugin.ops.pixel_shuffle import SHUFFLES

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
        """HR pixels per LR pixel and side of a network that enlarges; 1 of one that cleans."""
        return self.arguments.get("scale", 1 if self.net in _CLEANINGS.values() else 4)


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

    # Local propagation has the tensors of bidirectional, and is read as that.
    propagation = "unidirectional" if not has("backward_resblocks") else "bidirectional" if has("fusion") else "coupled"
    c, inputs = tensors["forward_resblocks.main.0.weight"].shape[:2]
    carried = inputs - 3 - c * (2 if propagation == "coupled" else 1)
    if carried < 0:
        raise ValueError(f"{inputs} channels are too few for frame and features")
    if has("alignment") or carried not in (0, 3) or (carried and not has("spynet")):
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

    ``None`` for tensors that fit no scale, or have no shuffle.
    """
    shuffles = {
        key.removeprefix(BASICVSR): tensor for key, tensor in tensors.items() if key.endswith(".upsample_conv.weight")
    }
    for scale, factors in SHUFFLES.items():
        names = [f"upsample{number}.upsample_conv.weight" for number, _ in enumerate(factors, start=1)]
        if shuffles.keys() == {*names} and shuffles[names[-1]].size(0) == 64 * factors[-1] ** 2:
            return scale
    return None


def _flow_width(tensors: dict[str, Tensor], prefix: str, argument: str) -> dict[str, int]:
    """The argument for the width of a flow network, where it is not the published one."""
    width = tensors[prefix + _FLOW].size(0) if prefix + _FLOW in tensors else _PUBLISHED_WIDTH
    return {} if width == _PUBLISHED_WIDTH else {argument: width}


def _network(tensors: dict[str, Tensor]) -> Architecture:
    sizes = dict(
        mid_channels=tensors["forward_resblocks.main.0.weight"].size(0),
        num_blocks=_count(tensors, "forward_resblocks.main.2."),
    )
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
    own = None if alignment else "alignment"
    if any(key.startswith("cleaning.") for key in tensors):
        if cleaning := _cleaning(tensors, "cleaning."):
            sizes["cleaning"] = cleaning
        else:
            own = "cleaning"
    return Architecture(net, sizes, tensors, own_component=own)


def _cleaned_network(tensors: dict[str, Tensor]) -> Architecture:
    """RealBasicVSR: a BasicVSR and the cleaning before it, side by side."""
    inner = _network({key.removeprefix(BASICVSR): tensors[key] for key in tensors if key.startswith(BASICVSR)})
    if inner.net != "BasicVSRNet":
        raise ValueError(f"{inner.net} inside RealBasicVSR")
    tensors["image_cleaning.0.main.0.weight"]  # told as missing, if it is
    sizes = dict(inner.arguments)
    sizes["num_propagation_blocks"] = sizes.pop("num_blocks")
    sizes["num_cleaning_blocks"] = _count(tensors, "image_cleaning.0.main.2.")
    return Architecture("RealBasicVSRNet", sizes, tensors, inner.own_component)


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
            return _network(tensors)
        if f"{BASICVSR}forward_resblocks.main.0.weight" in tensors:
            return _cleaned_network(tensors)
        if "pcd_alignment.cas_dcnpack.weight" in tensors:
            tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith(_EDVR_TAIL)}
            return Architecture("EDVRFeatureExtractor", _extractor_arguments(tensors), tensors)
        if cleaning := _cleaning(tensors):
            return Architecture(_CLEANINGS[cleaning.pop("type")], cleaning, tensors)
        if _FLOW in tensors:
            return Architecture("SPyNet", _flow_width(tensors, "", "width"), tensors)
    except KeyError as error:
        raise WeightsError(f"{source}: the tensor {error} is missing; the file is incomplete") from None
    except (IndexError, ValueError, ZeroDivisionError):
        raise WeightsError(f"{source}: tensors have impossible sizes; the file is damaged") from None
    raise WeightsError(
        f"{source}: weights of another model ({len(tensors)} tensors, the first named {next(iter(tensors), None)!r}); "
        "this package loads BasicVSR, IconVSR, RealBasicVSR, SPyNet and EDVR-M"
    )
