"""The folders that the page reads and writes below; everything else does not exist for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, natural_key

#: Beside those that can be written, what people have and FFmpeg reads.
_READ_SUFFIXES = {
    *VIDEO_SUFFIXES,
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".wmv", ".flv", ".3gp", ".ogv", ".dv", ".mxf", ".y4m", ".gif"),
}
#: So many folders are looked through for the list, and so many entries shown; what is beyond is reached by its name.
_FOLDERS, _ENTRIES = 5000, 2000


class Roots:
    """Folders of which the page may use what lies below.

    Args:
        folders: they exist; the first one keeps the queue, uploads and relative names.

    Raises:
        VSRError: one is no folder.
    """

    def __init__(self, folders: Sequence[str | os.PathLike]) -> None:
        self.folders: list[Path] = []
        for folder in folders:
            if not Path(folder).is_dir():
                raise VSRError(f"--root {folder}: is no folder; make it, or name another one")
            self.folders.append(Path(folder).resolve())

    @property
    def first(self) -> Path:
        """The folder that keeps what belongs to the page."""
        return self.folders[0]

    def resolve(self, name: str) -> Path:
        """The file or folder of a name, whether it exists or not, with all links followed.

        Args:
            name: absolute, or below the first folder.

        Raises:
            MediaError: it is outside the folders, or hidden.
        """
        try:
            path = (self.first / name).resolve()
            path.exists()  # what the system has against it is said here
        except (OSError, RuntimeError, ValueError) as error:
            raise MediaError(f"{name}: is no name of a file; choose another one") from error
        for root in self.folders:
            if path.is_relative_to(root):
                if any(part.startswith(".") for part in path.relative_to(root).parts):
                    raise MediaError(f"{name}: is hidden, and not for this page; choose another one")
                return path
        allowed = ", ".join(map(str, self.folders))
        raise MediaError(
            f"{name}: is outside the folders of this page ({allowed}); choose a file below them, or start the page "
            "with another --root"
        )

    def resolve_media(self, name: str) -> Path:
        """The video or image of a name; see :meth:`resolve`.

        Raises:
            MediaError: it is outside the folders, hidden, or by its name neither video nor image.
        """
        path = self.resolve(name)
        if path.suffix.lower() not in (*_READ_SUFFIXES, *IMAGE_SUFFIXES):
            raise MediaError(f"{name}: is neither video nor image; choose another file")
        return path

    def name(self, path: Path) -> str:
        """What the page calls a file: its place below the first folder, or the whole path elsewhere."""
        return str(path.relative_to(self.first)) if path.is_relative_to(self.first) else str(path)

    def inputs(self) -> list[str]:
        """Names of the videos and folders of images that are there, hidden ones and links left out."""
        found = []
        for root in self.folders:
            for count, (folder, names) in enumerate(_walk(root)):
                if count == _FOLDERS or len(found) >= _ENTRIES:
                    break
                found += [folder / name for name in names if Path(name).suffix.lower() in _READ_SUFFIXES]
                if any(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
                    found.append(folder)
        return sorted({self.name(path) for path in found[:_ENTRIES]}, key=natural_key)

    def free_name(self, name: str) -> Path:
        """A place below the first folder that is not taken, for a new file of about this name."""
        stem, suffix = Path(Path(name).name).stem.lstrip(".") or "upload", Path(name).suffix
        for number in range(1, 10_000):
            path = self.first / f"{stem}{f'_{number}' if number > 1 else ''}{suffix}"
            if not path.exists():
                return path
        raise MediaError(f"{name}: there are too many files of this name in {self.first}; rename the file")


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders, those near the root first, with the files in each."""
    level = [root]
    while level:
        below = []
        for folder in level:
            try:
                with os.scandir(folder) as listing:
                    entries = [entry for entry in listing if not entry.name.startswith(".") and not entry.is_symlink()]
            except OSError:  # not ours to read
                continue
            yield folder, [entry.name for entry in entries if entry.is_file()]
            below += sorted(Path(entry.path) for entry in entries if entry.is_dir())
        level = below
