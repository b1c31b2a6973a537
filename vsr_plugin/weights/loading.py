"""Load weights by name or path: find, read as data, recognise, build, fill."""

import errno
import os
import pickle
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn as nn

from vsr_plugin.errors import WeightsError
from vsr_plugin.registry import MODELS
from vsr_plugin.weights.recognition import (
    PARTS,
    Architecture,
    normalise,
    own_alignment,
    recognise,
    residue_magnitude,
    scale_of,
    with_residue_magnitude,
)
from vsr_plugin.weights.zoo import PUBLISHED, SHIPPED, fetch

#: Buffers with fixed values, which some published files leave out.
OPTIONAL = ("spynet.mean", "spynet.std", "mean", "std", "basicvsr.spynet.mean", "basicvsr.spynet.std")
#: The threshold that RealBasicVSR's authors test their GAN weights with, for files that do not say.
_USUAL_REFINEMENT = 5.0


def resolve(name_or_path: str | os.PathLike) -> Path:
    """Path of the weights that a published name, a path or an OpenMMLab address stands for, downloaded if needed.

    Raises:
        WeightsError: there is no such name or file, or the download fails.
    """
    text = os.fspath(name_or_path)
    if text in SHIPPED:
        return SHIPPED[text]
    if text in PUBLISHED:
        return fetch(PUBLISHED[text])
    if text.startswith(("http://", "https://")):
        for weights in PUBLISHED.values():
            if weights.url == text:
                return fetch(weights)
        raise WeightsError(
            f"{text}: only published files, whose hash is known, are downloaded; fetch it yourself and name the file"
        )
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise WeightsError(f"{text}: this is a folder; name the checkpoint file in it")
    networks = [name for name, weights in PUBLISHED.items() if not weights.is_part]
    parts = [*(name for name in PUBLISHED if name not in networks), *SHIPPED]
    raise WeightsError(
        f"{text}: no such weights file, and no published name; the names are {', '.join(networks)}; of parts of "
        f"networks, which restore nothing by themselves, {', '.join(parts)}"
    )


def read_checkpoint(path: str | os.PathLike) -> object:
    """Read a checkpoint as data, of PyTorch or safetensors whatever its name; nothing in the file is executed.

    Raises:
        WeightsError: the file cannot be read, is cut off or no checkpoint, or holds more than plain data.
    """
    try:
        if _is_safetensors(path):
            return _read_safetensors(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on damaged bytes torch.load raises nearly anything, and OSError(EINVAL) on a cut end
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise WeightsError(f"{path}: cannot be read: {error.strerror}") from error
        if isinstance(error, pickle.UnpicklingError) and _asks_for_code(str(error), path):
            raise WeightsError(
                f"{path}: refused: the file is a pickle with objects other than plain weights, which could run code "
                "when loaded; ask its author for a state dict, or convert it where you trust it"
            ) from error
        kind = "safetensors" if Path(path).suffix == ".safetensors" else "PyTorch checkpoint"
        raise WeightsError(f"{path}: the file is cut off, damaged or no {kind}; fetch it again") from error


def _is_safetensors(path: str | os.PathLike) -> bool:
    """Whether a file is named so, or begins with the length of a JSON object and the object."""
    if Path(path).suffix == ".safetensors":
        return True
    with open(path, "rb") as file:
        length, begin, size = int.from_bytes(file.read(8), "little"), file.read(1), os.fstat(file.fileno()).st_size
    return begin == b"{" and length <= size - 8


def _read_safetensors(path: str | os.PathLike) -> dict[str, torch.Tensor]:
    import safetensors.torch

    # Not mapped into memory, where a file that is replaced would change tensors that are in use, or end the process.
    return safetensors.torch.load(Path(path).read_bytes())


def _asks_for_code(message: str, path: str | os.PathLike) -> bool:
    """Whether PyTorch refused an object, in the words of 2.1 to 2.13, rather than bytes that are no pickle."""
    if "GLOBAL" in message or "Unsupported class" in message:
        return True
    if "Unsupported operand" not in message:
        return False
    # A pickle of a protocol that PyTorch does not write fails before its objects are seen.
    with open(path, "rb") as file:
        return file.read(1) == pickle.PROTO


def load_architecture(name_or_path: str | os.PathLike) -> Architecture:
    """Find and read weights, and recognise the network they belong to.

    Raises:
        WeightsError: see :func:`resolve`, :func:`read_checkpoint` and
            :func:`vsr_plugin.weights.recognition.recognise`.
    """
    path = resolve(name_or_path)
    checkpoint = read_checkpoint(path)
    found = recognise(normalise(checkpoint, str(path)), str(path))
    if own := own_alignment(checkpoint):
        return replace(found, own_component=f"alignment {own!r}")
    magnitude = residue_magnitude(checkpoint)
    return found if magnitude is None else with_residue_magnitude(found, magnitude)


def _check_fit(net: nn.Module, tensors: dict, source: str) -> None:
    own, theirs = getattr(net, "scale", None), scale_of(tensors)
    if None not in (own, theirs) and own != theirs:
        refused = f"{source}: weights of scale {theirs}, the network is of scale {own}"
        if 1 in (own, theirs):
            raise WeightsError(
                f"{refused}, and restores another kind of frames; build it with is_low_res_input={theirs != 1} "
                "(model.generator.is_low_res_input in a config), or take weights of its task"
            )
        raise WeightsError(
            f"{refused}; build it with scale={theirs} (model.generator.scale in a config), or start tools/train.py "
            f"with --scale {theirs}"
        )
    expected = net.state_dict()
    missing = [key for key in expected if key not in tensors and key not in OPTIONAL]
    unexpected = [key for key in tensors if key not in expected]
    misshapen = [key for key in tensors if key in expected and tensors[key].shape != expected[key].shape]
    faults = [
        f"{len(keys)} {what} ({keys[0]}{', ...' if len(keys) > 1 else ''})"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another size", misshapen))
        if keys
    ]
    if faults:
        raise WeightsError(f"{source}: does not fit {type(net).__name__}: tensors {', '.join(faults)}")


def _fill(net: nn.Module, tensors: dict, source: str) -> None:
    _check_fit(net, tensors, source)
    net.load_state_dict(tensors, strict=False)


def fit_to_net(net: nn.Module, checkpoint: object, source: str) -> dict[str, torch.Tensor]:
    """Tensors of a checkpoint of any known layout under the keys of a network that exists.

    Args:
        net: any network of this package.
        checkpoint: what ``torch.load`` returned, or any container in it.
        source: name of the checkpoint, for the error.

    Returns:
        The tensors; the fixed buffers that some published files leave out are the network's own.

    Raises:
        WeightsError: there are no tensors in it, or some are missing, superfluous or of another size.
    """
    tensors = normalise(checkpoint, source)
    _check_fit(net, tensors, source)
    own = net.state_dict()
    return tensors | {key: own[key] for key in OPTIONAL if key in own and key not in tensors}


def load_into(net: nn.Module, name_or_path: str | os.PathLike) -> None:
    """Load weights into a network that exists.

    For a ``SPyNet``, an ``EDVRFeatureExtractor`` or a cleaning the weights of a whole network that has one do as well:
    its own part is taken from them.

    Args:
        net: any network of this package, or of a class that extends one.
        name_or_path: published name, path or OpenMMLab address.

    Raises:
        WeightsError: the weights cannot be had, or belong to another network or other sizes.
    """
    found = load_architecture(name_or_path)
    tensors = found.tensors
    # The class of this package that it is or extends: somebody's own has the tensors of that.
    kinds = (cls.__name__ for cls in type(net).__mro__ if cls.__module__.startswith("vsr_plugin."))
    kind = next(kinds, None)
    if found.net != kind:
        tensors = {
            key.removeprefix(prefix): tensor
            for prefix in PARTS.get(kind, ())
            for key, tensor in tensors.items()
            if key.startswith(prefix)
        }
    if not tensors:
        raise WeightsError(f"{name_or_path}: weights of {found.net}, not of {type(net).__name__}")
    _fill(net, tensors, str(name_or_path))


def load_net(
    name_or_path: str | os.PathLike,
    *,
    device: str | torch.device = "cpu",
    keyframe_stride: int | None = 5,
    dynamic_refine_thres: float | None = None,
) -> nn.Module:
    """Build the network that weights belong to, fill it, and return it in evaluation mode.

    Architecture, components, widths, depths and key layout are read from the file, whatever its name. Local
    propagation leaves no trace in a file, which then gives a bidirectional network; build such a network yourself, and
    fill it by :func:`load_into`. Nor do tensors tell ``max_residue_magnitude`` of deformable alignment: it is taken
    from the config that trainings by mmengine keep in their checkpoints, and is else 10, as where they do not set it.

    Args:
        name_or_path: one of :data:`vsr_plugin.weights.PUBLISHED`, ``'footage_cleaning'``, a path, or an OpenMMLab
            address.
        device: where the network is to be.
        keyframe_stride: for IconVSR, which keyframes to use; files do not say. ``None`` for none.
        dynamic_refine_thres: for RealBasicVSR, when frames are clean, see
            :class:`~vsr_plugin.models.RealBasicVSRNet`; files do not say. ``None`` for what the authors test with: 5,
            and 1.5 for the published weights that were trained without GAN.

    Returns:
        ``BasicVSRNet``, ``IconVSRNet``, ``BasicVSRPlusPlusNet``, ``RealBasicVSRNet``, or a part of one: ``SPyNet``,
        ``EDVRFeatureExtractor``, ``FootageCleaning`` or ``ImageCleaning``.

    Raises:
        WeightsError: the weights cannot be found, fetched or trusted, or belong to no network of this package, to one
            with a component of somebody's own, or to one that refines nothing though ``dynamic_refine_thres`` is given.

    Example:
        >>> net = load_net('basicvsr_reds4')  # doctest: +SKIP
        >>> hr = net(torch.rand(1, 5, 3, 64, 64))  # doctest: +SKIP
    """
    found = load_architecture(name_or_path)
    if found.own_component:
        raise WeightsError(
            f"{name_or_path}: the {found.own_component} in it is none of this package's; build the network with it and "
            "fill it: vsr_plugin.weights.load_into(net, path)"
        )
    arguments = dict(found.arguments)
    if "padding" in arguments:
        arguments["keyframe_stride"] = keyframe_stride
    if found.net == "RealBasicVSRNet":
        arguments["dynamic_refine_thres"] = _refinement(name_or_path, dynamic_refine_thres)
    elif dynamic_refine_thres is not None:
        raise WeightsError(
            f"{name_or_path}: weights of {found.net}, which cannot refine: it has no image cleaning to be repeated; "
            "leave dynamic_refine_thres out, or take RealBasicVSR's"
        )
    net = MODELS.get(found.net)(**arguments)
    _fill(net, found.tensors, str(name_or_path))
    return net.to(device).eval()


def _refinement(name_or_path: str | os.PathLike, wanted: float | None) -> float:
    """The threshold of dynamic refinement that was asked for, or that goes with the weights."""
    if wanted is not None:
        return wanted
    published = PUBLISHED.get(os.fspath(name_or_path))
    return published.dynamic_refine_thres if published else _USUAL_REFINEMENT
