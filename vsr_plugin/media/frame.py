"""One picture on its way from a reader to a writer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Frame:
    """A decoded picture with what a writer needs to put it back in its place.

    Attributes:
        rgb: ``(h, w, 3)``, ``uint8`` in 0..255 or ``uint16`` in 0..65535 (always the full 16-bit
            range, whatever the depth of the source).
        alpha: ``(h, w)`` of the same dtype, or ``None``. Only images carry one.
        grey: The source image has a single colour channel; a folder sink writes it back as grey.
        pts: Presentation timestamp in units of the source's ``time_base`` (video only).
        duration: How long the picture is shown, in the same units (video only).
        name: Stem of the image file (folder only).
    """

    rgb: np.ndarray
    alpha: np.ndarray | None = None
    grey: bool = False
    pts: int | None = None
    duration: int | None = None
    name: str | None = None
