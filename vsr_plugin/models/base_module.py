"""Common base of the registered modules: pretrained weights by published name or by path."""

from mmengine.model import BaseModule

from vsr_plugin.weights import load_into, warm_start


class VSRModule(BaseModule):
    """``mmengine``'s ``BaseModule`` whose weights go through this package's loader.

    With ``init_cfg=dict(type='Pretrained', checkpoint=...)`` the checkpoint may be a published name
    (``'spynet'``, ``'edvrm_reds'``, ``'basicvsr_reds4'``, ...), a path or an address, in any published key
    layout, and is read as data only. ``dict(type='WarmStart', checkpoint=...)`` gives an IconVSR the weights of a
    BasicVSR, see :func:`vsr_plugin.weights.warm_start`; its parts are initialised before. Nothing is loaded by the
    constructor: the runner, or the user, calls ``init_weights()``.
    """

    def init_weights(self) -> None:
        """Initialise this module and its children as their ``init_cfg`` say.

        Raises:
            WeightsError: a checkpoint cannot be found, read or matched to the module.
        """
        kind = self.init_cfg.get("type") if self.init_cfg else None
        if kind == "Pretrained":
            load_into(self, self.init_cfg["checkpoint"])
            self._is_init = True
        elif kind == "WarmStart":
            for child in self.children():
                if isinstance(child, BaseModule):
                    child.init_weights()
            warm_start(self, self.init_cfg["checkpoint"])
            self._is_init = True
        else:
            super().init_weights()


def pretrained(checkpoint: str | None) -> dict | None:
    """Return the ``init_cfg`` that loads ``checkpoint``, or ``None`` for a random start."""
    return None if checkpoint is None else dict(type="Pretrained", checkpoint=checkpoint)
