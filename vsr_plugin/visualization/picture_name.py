"""What pictures may be called."""

import os
from pathlib import Path

from vsr_plugin.errors import MediaError


def check_picture_name(path: str | os.PathLike) -> None:
    """Raise ``MediaError`` unless ``path`` is the name of a PNG file."""
    if Path(path).suffix.lower() != ".png":
        raise MediaError(f"{path}: pictures are PNG files; choose a name that ends so")
