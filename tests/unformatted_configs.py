"""Runs that do not format their configs: a run of seconds writes its config eight times, and yapf takes half of it."""

from collections.abc import Callable

from mmengine.config import config


def leave_configs_unformatted(setattr: Callable[[object, str, object], None] = setattr) -> None:
    """Let mmengine dump configs as they come, which says the same.

    Args:
        setattr: what replaces the function, such as ``monkeypatch.setattr``.
    """
    setattr(config, "FormatCode", lambda text, **style: (text, True))
