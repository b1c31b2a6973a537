"""How the published sets lie on disk, which of their clips are there, in which split, and where their LR is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vsr_plugin.data.clips import Clip, find_clips, read_clip_names
from vsr_plugin.errors import DataError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Tree:
    """A folder of ground-truth clips, and the folders that hold LR versions of them under the same names.

    Args:
        gt: path below the root.
        lr: paths below the root by degradation, of those that are published or usual.
        made: what names of LR folders that we make begin with, so that two trees do not meet in one.
        first: added to the clips' numbers where two trees count from 000.
    """

    gt: str
    lr: Mapping[str, str] = field(default_factory=dict)
    made: str = ""
    first: int = 0

    def unique_name(self, name: str) -> str:
        """Name of a clip that no other tree of the set has."""
        return f"{int(name) + self.first:03d}" if self.first and name.isdecimal() else name


@dataclass(frozen=True)
class Layout:
    """A published set.

    Args:
        title: its name for a person.
        variants: the ways in which it is found, each a group of trees that lie there together; of the groups whose
            first tree exists the first is taken.
        splits: names of clips by split; a name that is in none is in ``rest``.
        rest: the split of all other clips, ``None`` if there are no others.
        lists: names of files at the root that list a split's clips, instead of ``splits``; the first that exists
            counts.
        published: names of all clips of the set, to tell what is missing; empty where only ``lists`` know.
        frames: length of every clip, or of each by name; ``None`` where they differ.
    """

    title: str
    variants: tuple[tuple[Tree, ...], ...]
    splits: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rest: str | None = None
    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    published: tuple[str, ...] = ()
    frames: int | Mapping[str, int] | None = None

    def split_of(self, name: str) -> str | None:
        """Split of a clip by its unique name."""
        return next((split for split, names in self.splits.items() if name in names), self.rest)

    def frames_of(self, name: str) -> int | None:
        """Number of frames that a clip has as it was published."""
        return self.frames.get(name) if isinstance(self.frames, Mapping) else self.frames


_USUAL_LR = {"BI": "BIx4", "BD": "BDx4"}
_REDS_LR = {"BI": "train_sharp_bicubic/X4"}
_VID4 = {"calendar": 41, "city": 34, "foliage": 49, "walk": 47}
_UDM10 = "archpeople archwall auditorium band caffe camera clap lake photography polyflow"

#: REDS4 and REDSval4 of the paper; the numbers from 240 on are clips 000 to 029 of the official validation set under
#: the names that they have since EDVR. The paper trains on the 262 others. MMagic and BasicSR train on 266, REDSval4
#: among them, because their partition 'REDS4' takes only those four away.
REDS4 = ("000", "011", "015", "020")
REDSVAL4 = ("240", "241", "246", "257")

LAYOUTS: Mapping[str, Layout] = {
    "reds": Layout(
        "REDS",
        variants=(
            (
                Tree("train_sharp", _REDS_LR),
                Tree("val_sharp", {"BI": "val_sharp_bicubic/X4"}, made="val_", first=240),
            ),
            # as the archives unpack them
            (
                Tree("train/train_sharp", {"BI": "train/train_sharp_bicubic/X4"}),
                Tree("val/val_sharp", {"BI": "val/val_sharp_bicubic/X4"}, made="val_", first=240),
            ),
        ),
        splits={"test": REDS4, "val": REDSVAL4},
        rest="train",
        published=tuple(f"{i:03d}" for i in range(270)),
        frames=100,
    ),
    "vimeo90k": Layout(
        "Vimeo-90K septuplets",
        variants=((Tree("GT", _USUAL_LR),), (Tree("sequences", _USUAL_LR),)),
        lists={
            "train": ("sep_trainlist.txt", "meta_info_Vimeo90K_train_GT.txt"),
            "test": ("sep_testlist.txt", "meta_info_Vimeo90K_test_GT.txt"),
        },
        frames=7,
    ),
    "vid4": Layout("Vid4", variants=((Tree("GT", _USUAL_LR),),), rest="test", published=tuple(_VID4), frames=_VID4),
    "udm10": Layout("UDM10", variants=((Tree("GT", _USUAL_LR),),), rest="test", published=tuple(_UDM10.split())),
    "folder": Layout("your clips", variants=((Tree("GT", _USUAL_LR),), (Tree("."),)), rest="train"),
}


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
