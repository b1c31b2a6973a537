"""Restored frames that nobody asked to have in files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import numpy as np

from vsr_plugin.media import open_source
from vsr_plugin.media.image_file import read_image


class RestoredFrames(Sequence[np.ndarray]):
    """Frames like a list of RGB arrays ``(H, W, 3)``, on disk instead of in memory, since a minute of 4K is 36 GB.

    They lie in a temporary folder, losslessly, for as long as this object lives; ``close()``, or leaving a ``with``,
    removes them earlier.

    Attributes:
        folder: where they are to be written, as images, before the first is read.
    """

    def __init__(self) -> None:
        # What is beside the frames while they are made, or is left when that fails, goes with them.
        parent = Path(tempfile.mkdtemp(prefix="vsr_plugin-"))
        self._remove = weakref.finalize(self, shutil.rmtree, parent, ignore_errors=True)
        self._files: list[Path] | None = None
        self.folder = parent / "frames"

    @property
    def files(self) -> list[Path]:
        """The images, in order."""
        if self._files is None:
            with open_source(self.folder) as source:
                self._files = source.files
        return self._files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        return read_image(self.files[index]).rgb

    def close(self) -> None:
        """Remove the frames from the disk."""
        self._remove()

    def __enter__(self) -> RestoredFrames:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
