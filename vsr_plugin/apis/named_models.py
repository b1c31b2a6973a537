"""Our models under names of their own, beside those that MMagic knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vsr_plugin.errors import VSRError
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
