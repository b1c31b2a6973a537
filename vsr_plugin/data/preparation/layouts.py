"""How the published sets lie on disk, and which clips train, validate and test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

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
