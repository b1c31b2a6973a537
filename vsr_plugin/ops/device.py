"""Which device computes."""

import torch

from vsr_plugin.errors import VSRError


def pick_device(name: str) -> torch.device:
    """The device called ``name``; for ``'auto'`` a GPU if there is one that works.

    Raises:
        VSRError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise VSRError(f"device {name!r} cannot be used here ({reason}); use cpu, cuda, cuda:N or auto") from error
    return device
