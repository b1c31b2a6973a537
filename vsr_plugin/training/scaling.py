"""An experiment at another scale than its config's: network, data and starting weights, all at once."""

import re
from collections.abc import Iterator

from mmengine.config import Config, ConfigDict

from vsr_plugin.errors import VSRError
from vsr_plugin.models.upsampling import SHUFFLES
from vsr_plugin.registry import MODELS
from vsr_plugin.training.video_restorer import GENERATOR

#: Parts of the networks that belong to one scale.
_UPSAMPLING = ("upsample", "conv_hr", "conv_last")


def scale_of(cfg: Config) -> int:
    """Scale of an experiment's network; 1 where it only cleans."""
    generator = cfg.get("model", {}).get("generator", {})
    return generator.get("scale", getattr(MODELS.get(generator.get("type", "")), "scale", 4))


def set_scale(cfg: Config, scale: int) -> None:
    """Fit an experiment to a scale, in place; nothing happens if it has it.

    The network gets another upsampling. Patches keep their size at LR, so that a training step costs about the same,
    and are larger or smaller in the ground truth. LR frames are looked for in the folder of the scale, such as ``X2``
    beside ``X4`` and ``BIx2`` beside ``BIx4``, and made on the fly where that is absent. What starts from trained
    weights takes what fits, see :func:`vsr_plugin.weights.warm_start`.

    Args:
        cfg: an experiment as :func:`vsr_plugin.training.launching.read_config` returns it.
        scale: HR pixels per LR pixel and side.

    Raises:
        VSRError: there is no such scale.
    """
    if scale not in SHUFFLES:
        raise VSRError(f"scale {scale}: no such scale; choose one of {', '.join(map(str, SHUFFLES))}")
    before = scale_of(cfg)
    if scale == before:
        return
    if before == 1:
        raise VSRError(f"scale {scale}: {cfg.model.generator.type} does not enlarge; leave the scale out")
    generator = cfg.model.generator
    generator.scale = scale
    _start_warm(generator)
    cfg.model.frozen = [name for name in cfg.model.get("frozen", ()) if not _is_upsampling(name)]
    for kind in ("train", "val", "test"):
        for dataset in _clip_datasets(cfg.get(f"{kind}_dataloader")):
            _rescale(dataset, before, scale)


def check_scale(cfg: Config) -> None:
    """Refuse an experiment whose network and data are not of one scale.

    Raises:
        VSRError: they are not.
    """
    scale = scale_of(cfg)
    for kind in ("train", "val", "test"):
        for dataset in _clip_datasets(cfg.get(f"{kind}_dataloader")):
            if dataset.get("scale", 4) != scale:
                raise VSRError(
                    f"{cfg.filename}: the network is of scale {scale}, {kind}_dataloader of scale "
                    f"{dataset.get('scale', 4)}; set neither by hand, --scale of tools/train.py sets all"
                )


def _start_warm(generator: ConfigDict) -> None:
    """Take what fits of the weights that the whole network was to start from."""
    init_cfg = generator.get("init_cfg")
    if init_cfg and init_cfg.get("type") == "Pretrained":
        init_cfg.type = "WarmStart"
        for key in [key for key in generator if key.endswith("_pretrained")]:
            generator[key] = None  # these weights hold the parts, too


def _is_upsampling(name: str) -> bool:
    return name.removeprefix(GENERATOR).startswith(_UPSAMPLING)


def _clip_datasets(loaders: object) -> Iterator[ConfigDict]:
    """All configs of a ``ClipDataset`` in those of loaders, however deep."""
    if isinstance(loaders, list | tuple):
        for part in loaders:
            yield from _clip_datasets(part)
    elif isinstance(loaders, dict):
        if str(loaders.get("type")).rpartition(".")[2] == "ClipDataset":
            yield loaders
        else:
            yield from _clip_datasets(list(loaders.values()))


def _rescale(dataset: ConfigDict, before: int, scale: int) -> None:
    dataset.scale = scale
    for transform in dataset.get("pipeline", ()):
        if "scale" in transform:
            transform.scale = scale
    if dataset.get("gt_size"):
        dataset.gt_size = dataset.gt_size // before * scale
    if dataset.get("lq_root"):
        folder, count = re.subn(rf"(?<=[xX]){before}(?=/?$)", str(scale), dataset.lq_root)
        if not count:
            raise VSRError(
                f"lq_root {dataset.lq_root}: its name does not end with x{before}, so the folder of scale {scale} is "
                "not known; set lq_root and scale of this data set in a config of your own"
            )
        dataset.lq_root = folder
