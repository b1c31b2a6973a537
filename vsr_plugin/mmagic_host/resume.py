"""mmengine's own checkpoints under PyTorch 2.6 and later, which load with ``weights_only`` by default."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any


@functools.cache
def allow_resume() -> None:
    """Allow ``torch.load`` what mmengine itself puts beside the weights: its log history.

    That is ``HistoryBuffer``, the numpy arrays and numbers in it (whichever of numpy 1 and 2 wrote
    them), and its four statistics. Nothing else becomes loadable. Does nothing where PyTorch still
    loads everything by default.
    """
    import torch

    if torch.__version__ < (2, 6):
        return
    import numpy as np
    from mmengine.logging import HistoryBuffer

    allowed: list[Any] = [HistoryBuffer, np.ndarray, np.dtype, (_history_statistic, "builtins.getattr")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed.append((np.empty(0).__reduce__()[0], f"{module}._reconstruct"))
        allowed.append((np.float64(0).__reduce__()[0], f"{module}.scalar"))
    # PyTorch knows a dtype by its class. The history holds what loss values and counts become.
    allowed += [type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32")]
    torch.serialization.add_safe_globals(allowed)


def _history_statistic(owner: Any, name: str) -> Callable:
    """Stand where a checkpoint says ``getattr``, which a pickle must not get in full.

    mmengine stores the statistics of a history as ``getattr(HistoryBuffer, 'mean')`` and the like.
    """
    from mmengine.logging import HistoryBuffer

    if owner is not HistoryBuffer or name not in ("min", "max", "current", "mean"):
        raise pickle.UnpicklingError(
            f"the checkpoint asks for attribute {name!r} of {owner!r}; only the statistics of mmengine's "
            "HistoryBuffer (min, max, current, mean) are loaded"
        )
    return getattr(owner, name)
