"""Which clips there are under a folder, and which of them an annotation file names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from vsr_plugin.data.clips.clip import Clip, ImageClip, VideoClip, is_image
from vsr_plugin.data.clips.packed import PackedClip
from vsr_plugin.errors import DataError
from vsr_plugin.media import VIDEO_SUFFIXES, natural_key

_PACKED_SUFFIX = ".npy"
# Read, though not written, by this package.
_VIDEO_SUFFIXES = (*VIDEO_SUFFIXES, ".ts", ".m2ts", ".mpg", ".mpeg", ".wmv", ".flv", ".y4m")
_ANNOTATION = re.compile(r"(?P<name>.+?)(?:\s+\d+)?(?:\s+\([\d\s,]*\))?")


#: A path, or several of which the first that exists is meant.
Places = str | os.PathLike | Sequence[str | os.PathLike]


def first_there(places: Places | None) -> Path | None:
    """Of several places the first that exists, or else the first; a single one as it is."""
    if places is None or isinstance(places, str | os.PathLike):
        return None if places is None else Path(places)
    paths = [Path(place) for place in places]
    return next((path for path in paths if path.exists()), paths[0])


def find_clips(root: str | os.PathLike, names: Iterable[str] | None = None) -> dict[str, Clip]:
    """Find clips: folders that directly hold images, video files, and packed ``.npy`` files.

    Hidden files and folders are passed over. A root that is itself a clip is found under its own name.

    Args:
        root: A folder, searched at any depth, or one video or packed file.
        names: The clips to take, in this order, and nothing else is looked at but the folders they lie in; None for
            all in natural order.

    Returns:
        Clips by name, none of them opened yet.

    Raises:
        DataError: The root or a named clip does not exist, two clips have one name, or there are none.
    """
    root = Path(root)
    if root.is_file():
        clip = file_clip(root.stem, root)
        if clip is None:
            raise DataError(f"{root}: is neither a video nor a packed clip; give a folder of clips")
        clips = {clip.name: clip}
    elif not root.is_dir():
        raise DataError(f"{root}: no such folder; check the path")
    elif names is not None:
        return _named(root, list(names))
    else:
        clips = _unique(_walk(root))
        clips = {name: clips[name] for name in sorted(clips, key=_by_parts)}
    if not clips:
        raise DataError(f"{root}: holds no clips (folders of images, videos, or packed .npy files)")
    return clips if names is None else _chosen(root, clips, list(names))


def read_clip_names(path: str | os.PathLike) -> list[str]:
    """Read an annotation file: one clip per line, ``NAME [number of frames] [(h,w,c)]``.

    Blank lines, Windows line ends and a byte order mark are fine. Lines that name frames (``000/00000000.png``, as
    MMagic writes them for REDS) stand for their clip, which is listed once.

    Raises:
        DataError: The file cannot be read or names nothing.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text file"
        raise DataError(f"{path}: the annotation file cannot be read ({why})") from error
    names: dict[str, None] = {}
    for line in filter(None, map(str.strip, lines)):
        name = _ANNOTATION.fullmatch(line)["name"].replace("\\", "/").strip("/")
        names[str(PurePosixPath(name).parent) if is_image(PurePosixPath(name).name) else name] = None
    if not names:
        raise DataError(f"{path}: the annotation file names no clips")
    return list(names)


def file_clip(name: str, path: Path) -> Clip | None:
    """The clip of that name which a file is by its own name; ``None`` if it is neither video nor packed clip."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        return None
    if suffix == _PACKED_SUFFIX:
        return PackedClip(name, path)
    return VideoClip(name, path) if suffix in _VIDEO_SUFFIXES else None


def _walk(root: Path) -> Iterator[Clip]:
    for folder, subfolders, files in os.walk(root, followlinks=True, onerror=_unlistable):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        place = Path(folder)
        if any(is_image(name) for name in files):
            yield ImageClip(root.resolve().name if place == root else place.relative_to(root).as_posix(), place)
        for file in files:
            clip = file_clip((place / file).relative_to(root).with_suffix("").as_posix(), place / file)
            if clip is not None:
                yield clip


def _unlistable(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror}); check who may read it") from error


def _unique(clips: Iterable[Clip]) -> dict[str, Clip]:
    found: dict[str, Clip] = {}
    for clip in clips:
        other = found.setdefault(clip.name, clip)
        if other is not clip:
            raise DataError(f"{other.path} and {clip.path} are both clip {clip.name}; keep one of them")
    return found


def _named(root: Path, names: list[str]) -> dict[str, Clip]:
    """Find clips by one listing per folder, not one look per clip: annotation files may name 91701."""
    wanted: dict[PurePosixPath, set[str]] = {}
    for name in names:
        wanted.setdefault(PurePosixPath(name).parent, set()).add(name)
    found: dict[str, Clip] = {}
    for parent, some in wanted.items():
        found.update(_unique(_listed(root, parent, some)))
    own_name = root.resolve().name
    if own_name in names and own_name not in found and any(map(is_image, os.listdir(root))):
        found[own_name] = ImageClip(own_name, root)
    return _chosen(root, found, names)


def _listed(root: Path, parent: PurePosixPath, names: set[str]) -> Iterator[Clip]:
    folder = root / parent
    try:
        entries = list(os.scandir(folder))
    except FileNotFoundError:
        return
    except OSError as error:
        _unlistable(error)
    for entry in entries:
        whole, bare = ((parent / name).as_posix() for name in (entry.name, os.path.splitext(entry.name)[0]))
        if whole in names and entry.is_dir():
            yield ImageClip(whole, folder / entry.name)
        elif bare in names and not entry.is_dir():
            clip = file_clip(bare, folder / entry.name)
            if clip is not None:
                yield clip


def _chosen(root: Path, found: dict[str, Clip], names: Iterable[str]) -> dict[str, Clip]:
    missing = [name for name in names if name not in found]
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise DataError(f"clip {missing[0]}{more} is not under {root}; get it or take it off the list")
    return {name: found[name] for name in names}


def _by_parts(name: str) -> list[tuple]:
    # Folder by folder, so that a clip never lands between those of another folder.
    return [natural_key(part) for part in name.split("/")]
