"""Which clips of a set are there, which split each belongs to, and where its LR versions lie."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vsr_plugin.data.clips import Clip, find_clips, read_clip_names
from vsr_plugin.data.preparation.layouts import LAYOUTS, SPLITS, Layout, Tree
from vsr_plugin.errors import DataError


@dataclass(frozen=True)
class SetClip:
    """A clip of a set.

    Args:
        name: unlike that of any other clip of the set; the clip's name in the packed store.
        split: ``'train'``, ``'val'`` or ``'test'``.
        tree: the folder that it lies in.
        gt: ground truth.
        lr: LR versions that are there, by degradation.
    """

    name: str
    split: str
    tree: Tree
    gt: Clip
    lr: Mapping[str, Clip] = field(default_factory=dict)


def find_layout(set_name: str, root: Path) -> tuple[Layout, list[Tree]]:
    """The description of a set, and those of its trees that are under ``root``.

    Raises:
        DataError: there is no such set or nothing of it.
    """
    if set_name not in LAYOUTS:
        raise DataError(f"no set is called {set_name!r}; there are {', '.join(LAYOUTS)}")
    layout = LAYOUTS[set_name]
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; check the path")
    for variant in layout.variants:
        trees = [tree for tree in variant if (root / tree.gt).is_dir()]
        if trees:
            return layout, trees
    wanted = ", ".join(f"{tree.gt}/" for variant in layout.variants for tree in variant)
    raise DataError(f"{root}: is not laid out as {layout.title}, none of {wanted} is there; see docs/data.md")


def list_clips(
    set_name: str, root: Path, splits: Sequence[str], held_out: Mapping[str, Sequence[str]]
) -> list[SetClip]:
    """All clips of some splits, in the order of their folders or lists, none of them opened.

    Args:
        set_name: one of :data:`LAYOUTS`.
        root: where the set lies.
        splits: the splits to take.
        held_out: names of clips that validate or test, by split, for clips of one's own.

    Raises:
        DataError: the set is not there or is another one, a named clip is missing, or two splits name the same clip.
    """
    layout, trees = find_layout(set_name, root)
    found = list(_listed(layout, root, trees[0]) if layout.lists else _found(layout, root, trees, held_out))
    _check_set(layout, root, found)
    seen: dict[str, SetClip] = {}
    for clip in found:
        other = seen.setdefault(clip.name, clip)
        if other is not clip:
            raise DataError(
                f"clip {clip.name} is both in {other.split} and in {clip.split}"
                if other.split != clip.split
                else f"{other.gt.path} and {clip.gt.path} are both clip {clip.name}; keep one of them"
            )
    chosen = [clip for clip in found if clip.split in splits]
    if not chosen:
        raise DataError(f"{root}: holds no clips of {' or '.join(splits)}; there are clips of {_splits(found)}")
    return [clip for tree in trees for clip in _with_lr(root, tree, [c for c in chosen if c.tree is tree])]


def _check_set(layout: Layout, root: Path, found: Sequence[SetClip]) -> None:
    """Refuse a folder that lies as a set does and holds none of its clips."""
    names = sorted({clip.name for clip in found})
    if not layout.published or set(names) & set(layout.published):
        return
    others = (name for name, other in LAYOUTS.items() if other.title != layout.title)
    like = next((name for name in others if set(names) & set(LAYOUTS[name].published)), None)
    way_out = f"they look like {LAYOUTS[like].title}, which is set {like}" if like else "check the path and the set"
    wanted, there = ", ".join(layout.published[:3]), ", ".join([*names[:3], *(["..."] if names[3:] else [])])
    raise DataError(
        f"{root}: none of the {len(layout.published)} clips of {layout.title} ({wanted}, ...) is there, but {there}; "
        f"{way_out}"
    )


def _splits(clips: Iterable[SetClip]) -> str:
    return ", ".join(sorted({clip.split for clip in clips})) or "no split"


def _listed(layout: Layout, root: Path, tree: Tree) -> Iterator[SetClip]:
    lists = {
        split: next((root / name for name in names if (root / name).is_file()), None)
        for split, names in layout.lists.items()
    }
    if not any(lists.values()):
        wanted = ", ".join(name for names in layout.lists.values() for name in names)
        raise DataError(f"{root}: no list of clips is there; put one of {wanted} beside {tree.gt}/")
    for split, path in lists.items():
        if path is not None:
            clips = find_clips(root / tree.gt, read_clip_names(path))
            yield from (SetClip(name, split, tree, clip) for name, clip in clips.items())


def _found(
    layout: Layout, root: Path, trees: Sequence[Tree], held_out: Mapping[str, Sequence[str]]
) -> Iterator[SetClip]:
    if any(held_out.values()) and layout.splits:
        raise DataError(f"the splits of {layout.title} are fixed; clips can be held out of one's own only")
    split_of = {name: split for split, names in held_out.items() for name in names}
    for tree in trees:
        for name, clip in find_clips(root / tree.gt).items():
            unique = tree.unique_name(name)
            split = split_of.pop(unique, None) or _by_folder(layout, name) or layout.split_of(unique)
            yield SetClip(unique, split, tree, clip)
    if split_of:
        name, split = next(iter(split_of.items()))
        raise DataError(f"{root}: holds no clip {name}, which is to be in {split}; check the name")


def _by_folder(layout: Layout, name: str) -> str | None:
    """Split of a clip of one's own that lies in a folder called ``train``, ``val`` or ``test``."""
    first, _, rest = name.partition("/")
    return first if rest and first in SPLITS and not layout.splits else None


def _with_lr(root: Path, tree: Tree, clips: list[SetClip]) -> Iterator[SetClip]:
    names = [clip.gt.name for clip in clips]
    there = {degradation: _available(root / folder, names) for degradation, folder in tree.lr.items()}
    for clip in clips:
        lr = {degradation: found[clip.gt.name] for degradation, found in there.items() if clip.gt.name in found}
        yield SetClip(clip.name, clip.split, tree, clip.gt, lr)


def _available(folder: Path, names: list[str]) -> dict[str, Clip]:
    """Those of the named clips that are under ``folder``."""
    if not names or not folder.is_dir() or not any(folder.iterdir()):
        return {}
    try:
        # By far the quicker way in a set of 91701 clips, when none is missing.
        return find_clips(folder, names)
    except DataError:
        wanted = set(names)
        return {name: clip for name, clip in find_clips(folder).items() if name in wanted}
