"""Settings of a training that are checked before anything is built."""

from vsr_plugin.errors import TrainingError


def check_count(name: str, value: object) -> int:
    """A setting that counts something, as a whole number from 1 on.

    Raises:
        TrainingError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 1 or value % 1:
        raise TrainingError(f"{name} {value!r}: use a whole number from 1 on")
    return int(value)
