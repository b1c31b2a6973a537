"""Results that appear under their final name only when they are whole and on the disk, and locks of folders."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from vsr_plugin.errors import MediaError

#: The file in a folder by which :func:`locked` keeps others out of it.
LOCK_NAME = ".lock"


@contextmanager
def in_one_line(path: str | os.PathLike, fault: str = "cannot be written") -> Iterator[None]:
    """Say in one line what the system has against a path: no right to look there, a name that is too long.

    Args:
        path: that is asked about.
        fault: what it is for a person.

    Raises:
        MediaError: something.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        why = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: {fault} ({why}); choose another name or place") from error


def _check_parent(target: Path) -> None:
    parent = target.parent
    if not parent.is_dir():
        what = "is not a folder" if parent.exists() else "does not exist"
        raise MediaError(f"{target}: cannot be written, {parent} {what}; create the folder first")


def hidden_place(target: Path) -> Path:
    """Where this process can prepare ``target`` on its disk: hidden in a folder that exists, else beside it."""
    hidden = f".{target.resolve().name}.partial-{os.getpid()}"
    return target / hidden if target.is_dir() else target.with_name(hidden)


def make_working_folder(folder: Path, target: Path) -> None:
    """Make an empty folder to prepare ``target`` in; what a killed process of that number has left there is removed.

    Raises:
        MediaError: the folder of the target does not exist or cannot be written.
    """
    _check_parent(target)
    shutil.rmtree(folder, ignore_errors=True)
    _make_folder(folder, target)


def _make_folder(folder: Path, target: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise MediaError(f"{target}: cannot be written ({error.strerror}); choose another place or free it") from error


def write_whole(target: Path, write: Callable[[Path], object], *, overwrite: bool = True) -> None:
    """Let ``write`` fill a hidden file beside ``target``, which becomes the target when it is whole.

    The hidden name keeps the suffix, by which writers choose the format.

    Raises:
        MediaError: the folder of the target does not exist or cannot be written, or there is a file of that name that
            is not to be overwritten.
    """
    partial = PartialFile(target, overwrite=overwrite)
    try:
        write(partial.path)
        partial.commit()
    except OSError as error:
        raise MediaError(
            f"{target}: cannot be written ({error.strerror}); free space or choose another place"
        ) from error
    finally:
        partial.discard()


def sync(path: Path) -> None:
    """Wait until a file's content is on the disk.

    Raises:
        OSError: the disk is full or fails.
    """
    with open(path, "r+b") as file:  # Windows syncs only what may be written
        os.fsync(file.fileno())


def partial_path(target: Path) -> Path:
    """Where something is written until it is whole: the same place in every run, so that a later one clears it."""
    return target.with_name(f".{target.name}.partial")


def publish(partial: Path, target: Path) -> None:
    """Give a file its final name, replacing one that has it, once its content is on the disk.

    A name that outlives a power cut must not stand for data that did not.

    Raises:
        OSError: the disk is full or fails.
    """
    sync(partial)
    os.replace(partial, target)


class NewFile:
    """A binary file that gets its name when it is whole and on the disk; an earlier one is replaced in one step.

    As a context manager it gives the file to write into, and commits or, after an exception, discards it.

    Args:
        path: The final name.

    Raises:
        OSError: the file cannot be made; in :meth:`commit` and at the end of ``with``, the disk is full or fails.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = partial_path(path)
        self.file = open(self._partial, "wb")  # noqa: SIM115 (open for as long as this object is)

    def commit(self) -> None:
        """Give the file its name."""
        self.file.close()
        publish(self._partial, self.path)

    def discard(self) -> None:
        """Remove the file unless it has its name; may be called at any time."""
        # Closing writes what is buffered, which fails on a full disk.
        with suppress(OSError):
            self.file.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> BinaryIO:
        return self.file

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()


def write_text(path: Path, text: str) -> None:
    """Write a small file, whole in one step and on the disk then; an earlier one is replaced.

    Raises:
        OSError: the disk is full or fails.
    """
    with NewFile(path) as file:
        file.write(text.encode())


def write_files(folder: Path, files: dict[str, bytes]) -> None:
    """Write files by their names below a folder, in their order, each whole in one step and on the disk then.

    Raises:
        OSError: the disk is full or fails, or a folder is not there.
    """
    for name, data in files.items():
        with NewFile(folder / name) as file:
            file.write(data)


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Keep other processes that ask for the same out of a folder; the lock of one that was killed is gone with it.

    Args:
        folder: An existing folder; a hidden file is made in it.
        wait: Until another process lets go of it.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: there are no locks on this disk, or the folder cannot be written.
    """
    # Imported here because media are read and written without it, too.
    from filelock import FileLock, Timeout

    lock = FileLock(folder / LOCK_NAME, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(errno.EWOULDBLOCK, "another process is at work there", str(folder)) from error
    try:
        yield
    finally:
        with suppress(OSError):  # Windows removes no open file
            (folder / LOCK_NAME).unlink()
        lock.release()


class PartialFile:
    """A hidden file beside the target that becomes the target in one step.

    Attributes:
        target: The final name.
        path: Where to write meanwhile; keeps the target's extension.
    """

    def __init__(self, target: Path, *, overwrite: bool, path: Path | None = None) -> None:
        """Reserve the place.

        Args:
            target: The final name.
            overwrite: Replace a file of that name.
            path: Where to write meanwhile, on the same disk; by default beside the target.

        Raises:
            MediaError: the target exists or its folder cannot be written.
        """
        self.target = target
        self._overwrite = overwrite
        with in_one_line(target):
            _check_parent(target)
            self._check_absent()
        self.path = path or target.with_name(f".{target.stem}.partial-{os.getpid()}{target.suffix}")
        try:
            self.path.touch()
        except OSError as error:
            raise MediaError(
                f"{target}: cannot be written ({error.strerror}); choose another place or free it"
            ) from error

    def _check_absent(self) -> None:
        if self.target.is_dir():
            raise MediaError(f"{self.target}: is a folder; choose another name")
        if not self._overwrite and self.target.exists():
            raise MediaError(
                f"{self.target}: exists already; pass --overwrite (in Python `overwrite`) or choose another name"
            )

    def commit(self) -> None:
        """Give the file its final name, once it is on the disk: what it was made of may be deleted then."""
        self._check_absent()
        publish(self.path, self.target)

    def discard(self) -> None:
        """Remove what was written; nothing appears under the final name."""
        self.path.unlink(missing_ok=True)


class PartialFolder:
    """A hidden folder whose files move to the target at the end.

    A new target appears in one step. Into a target that exists already, files move one by one, so
    that the folder keeps its rights and may be a mount point; each replaces its namesake whole.

    Attributes:
        target: The final folder.
        path: Where to write meanwhile.
    """

    def __init__(self, target: Path, *, overwrite: bool, path: Path | None = None) -> None:
        """Reserve the place.

        Args:
            target: The final folder.
            overwrite: Files of the same names may be replaced.
            path: Where to write meanwhile, on the same disk, a folder that may hold files already; by
                default a new one beside or inside the target.

        Raises:
            MediaError: the target holds files already or cannot be written.
        """
        self.target = target
        self._existed = target.is_dir()
        if not self._existed:
            _check_parent(target)
            if target.exists():
                raise MediaError(f"{target}: is a file, not a folder; choose another name")
        elif not overwrite and self._entries():
            raise MediaError(
                f"{target}: exists and is not empty; pass --overwrite (in Python `overwrite`) or choose another name"
            )
        self.path = path or hidden_place(target)
        if path is None:
            shutil.rmtree(self.path, ignore_errors=True)
        _make_folder(self.path, target)

    def _entries(self) -> set[str]:
        # Hidden entries are what file managers and killed runs leave; they are in nobody's way.
        return {p.name for p in self.target.iterdir() if not p.name.startswith(".")}

    def commit(self) -> int:
        """Move everything to the target and return how many other entries it holds."""
        if not self._existed:
            os.rename(self.path, self.target)
            return 0
        written = sorted(p.name for p in self.path.iterdir())
        for name in written:
            os.replace(self.path / name, self.target / name)
        self.path.rmdir()
        return len(self._entries() - set(written))

    def discard(self) -> None:
        """Remove what was written; nothing appears under the final name."""
        shutil.rmtree(self.path, ignore_errors=True)


def check_picture_name(path: str | os.PathLike) -> None:
    """Raise ``MediaError`` unless ``path`` is the name of a PNG file."""
    if Path(path).suffix.lower() != ".png":
        raise MediaError(f"{path}: pictures are PNG files; choose a name that ends so")
