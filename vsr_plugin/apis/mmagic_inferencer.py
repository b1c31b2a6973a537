"""MMagic's ``MMagicInferencer``, with the inferencer of this package for the models of this package."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config

from vsr_plugin.apis.named_models import NAMED_MODELS, choose_setting, tell_mmagic
from vsr_plugin.apis.vsr_inferencer import VSRInferencer, is_ours, read_model
from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host import import_quietly

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
