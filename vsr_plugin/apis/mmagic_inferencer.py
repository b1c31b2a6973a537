"""MMagic's ``MMagicInferencer``, with our models under names of their own and the inferencer of this package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from vsr_plugin.apis.vsr_inferencer import VSRInferencer, is_ours, read_model
from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.shipped import shipped

#: What MMagic calls the task, and decides the inferencer by.
TASK = "Video Super-Resolution"


@dataclass(frozen=True)
class NamedModel:
    """A trained network: the experiment that describes it, and its published weights.

    Attributes:
        name: of the experiment, MMagic's ``config_name``.
        weights: published name.
    """

    name: str
    weights: str

    @property
    def config(self) -> Path:
        """Path of the experiment."""
        return shipped("configs") / f"{self.name}.py"


#: Models by the ``model_name`` of MMagic's API, each with its settings, the default first.
NAMED_MODELS: dict[str, tuple[NamedModel, ...]] = {
    f"vsr_{net}": tuple(
        NamedModel(f"{net}_{experiment}", f"{net}_{trained_on}")
        for experiment, trained_on in (
            ("reds", "reds4"),
            ("vimeo90k_bi", "vimeo90k_bi"),
            ("vimeo90k_bd", "vimeo90k_bd"),
        )
    )
    for net in ("basicvsr", "iconvsr", "basicvsr_pp")
}


def choose_setting(model_name: str, model_setting: int | None, config_name: str | None) -> NamedModel:
    """The setting of one of :data:`NAMED_MODELS` that is asked for by number, or else by name.

    Raises:
        VSRError: there is no such setting.
    """
    settings = NAMED_MODELS[model_name]
    if config_name is not None:
        for setting in settings:
            if setting.name == config_name:
                return setting
        raise VSRError(f"{model_name}: no setting {config_name!r}; there are {', '.join(s.name for s in settings)}")
    number = model_setting or 0
    if not 0 <= number < len(settings):
        raise VSRError(f"{model_name}: no setting {number}; there are 0 to {len(settings) - 1}")
    return settings[number]


def tell_mmagic(inferencer: type, mmagic_configs: Path) -> None:
    """Enter our models into the tables by which MMagic's inferencer finds models; what stands there stays.

    Args:
        inferencer: MMagic's ``MMagicInferencer``.
        mmagic_configs: its folder of configs, to which it takes all paths to be relative.
    """
    # Reads MMagic's own models; it looks for a file of MMagic's for every name that is in the list by then.
    inferencer.init_inference_supported_models_cfg()
    for name, settings in NAMED_MODELS.items():
        inferencer.inference_supported_models_cfg[name] = dict(
            task=TASK,
            settings=[
                dict(
                    Name=setting.name,
                    Config=os.path.join("configs", os.path.relpath(setting.config, mmagic_configs)),
                    Weights=setting.weights,
                )
                for setting in settings
            ],
        )
        if name not in inferencer.inference_supported_models:
            inferencer.inference_supported_models.append(name)


_mmagic = import_quietly("mmagic.apis")
tell_mmagic(_mmagic.MMagicInferencer, Path(import_quietly("mmagic").__file__).resolve().parent / ".mim" / "configs")


class MMagicInferencer(_mmagic.MMagicInferencer):
    """MMagic's, except that our models are restored by :class:`VSRInferencer`.

    MMagic ties every task to one class of its own, with no way to register another; this is the way. Models of MMagic
    go to MMagic's inferencers.

    Args:
        model_name: one of :data:`NAMED_MODELS`, or any of MMagic's; may be absent with ``model_config`` and
            ``model_ckpt`` of ours.
        model_setting: number of the setting of the named model.
        config_name: the name of its config, in place of the number.
        model_config: experiment in place of the named one.
        model_ckpt: weights in place of the named ones: for our models a published name or a path, in any layout.
        device: where to compute; by default a GPU if there is one.
        extra_parameters: see :class:`VSRInferencer`, or MMagic's inferencer of the task.
        seed: of MMagic's models; ours draw no random numbers.

    Raises:
        VSRError: see :class:`VSRInferencer`.
    """

    def __init__(
        self,
        model_name: str | None = None,
        model_setting: int | None = None,
        config_name: str | None = None,
        model_config: str | os.PathLike | Config | None = None,
        model_ckpt: str | os.PathLike | None = None,
        device: str | torch.device | None = None,
        extra_parameters: Mapping[str, Any] | None = None,
        seed: int = 2022,
    ) -> None:
        named = choose_setting(model_name, model_setting, config_name) if model_name in NAMED_MODELS else None
        config = named.config if named is not None and model_config is None else model_config
        if config is not None and is_ours(read_model(config)):
            weights = named.weights if named is not None and model_ckpt is None else model_ckpt
            self.inferencer = VSRInferencer(config, weights, device, extra_parameters)
        else:
            super().__init__(
                model_name, model_setting, config_name, model_config, model_ckpt, device, extra_parameters, seed
            )

    def infer(
        self,
        img: Any = None,
        video: Any = None,
        label: Any = None,
        trimap: Any = None,
        mask: Any = None,
        result_out_dir: str | os.PathLike = "",
        **others: Any,
    ) -> Any:
        """Run the model; for one of ours see :meth:`VSRInferencer.__call__`, which takes the same.

        Raises:
            VSRError: for one of our models, ``label``, ``trimap`` or ``mask`` is given.
        """
        if not isinstance(self.inferencer, VSRInferencer):
            return super().infer(img, video, label, trimap, mask, result_out_dir, **others)
        for name, value in dict(label=label, trimap=trimap, mask=mask).items():
            if value is not None:
                raise VSRError(f"`{name}` is for other tasks; video restoration takes `video` or `img`")
        return self.inferencer(img=img, video=video, result_out_dir=result_out_dir, **others)
