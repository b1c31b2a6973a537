"""The published sets in small, made on the spot in each of their layouts."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from vsr_plugin.data.degradations import DEGRADATIONS


def picture(seed: int, size: tuple[int, int] = (16, 24)) -> np.ndarray:
    """Noise (h, w, 3), uint8 RGB."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def write_clip(folder: Path, frames: Iterable[np.ndarray], pattern: str = "{:08d}.png", first: int = 0) -> None:
    """Write RGB frames as image files."""
    folder.mkdir(parents=True)
    for i, frame in enumerate(frames, first):
        assert cv2.imwrite(str(folder / pattern.format(i)), frame[..., ::-1])


def frames_of(name: str, n: int, size: tuple[int, int] = (16, 24)) -> list[np.ndarray]:
    """Frames that no clip of another name has."""
    # Apart, so that frames of names that count on are not the same.
    seed = zlib.crc32(name.encode()) << 16
    return [picture(seed + i, size) for i in range(n)]


def write_pair(root: Path, gt: str, lr: dict[str, str], name: str, n: int = 3, **naming) -> None:
    """Write a clip, and LR versions of it by degradation below other folders."""
    frames = frames_of(f"{gt}/{name}", n)
    write_clip(root / gt / name, frames, **naming)
    for degradation, folder in lr.items():
        down = DEGRADATIONS[degradation].downsample
        write_clip(root / folder / name, [down(frame, 4) for frame in frames], **naming)


def make_reds(root: Path, *, merged: bool = False, lr: bool = True) -> Path:
    """REDS4, REDSval4 and two more clips of each part, of three frames each."""
    train = {"BI": "train_sharp_bicubic/X4"} if lr else {}
    for name in ("000", "001", "002", "011", "015", "020"):
        write_pair(root, "train_sharp", train, name)
    for number in (0, 1, 2, 3, 6, 17):
        if merged:
            write_pair(root, "train_sharp", train, f"{240 + number}")
        else:
            write_pair(root, "val_sharp", {"BI": "val_sharp_bicubic/X4"} if lr else {}, f"{number:03d}")
    return root


def make_vimeo(root: Path, *, gt: str = "sequences", lr: dict[str, str] | None = None) -> Path:
    """Three septuplets that train and two that test, in official lists or MMagic's."""
    names = {"train": ["00001/0001", "00001/0002", "00002/0001"], "test": ["00001/0003", "00003/0001"]}
    for split, some in names.items():
        for name in some:
            write_pair(root, gt, lr or {}, name, 7, pattern="im{}.png", first=1)
        if gt == "sequences":
            # As a person's editor may have left it.
            (root / f"sep_{split}list.txt").write_bytes("\r\n".join([*some, "", ""]).encode())
        else:
            text = "".join(f"{name} 7 (256,448,3)\n" for name in some)
            (root / f"meta_info_Vimeo90K_{split}_GT.txt").write_text(text)
    return root


def make_test_set(root: Path, names: Iterable[str], pattern: str = "{:08d}.png") -> Path:
    """Vid4 or UDM10: ground truth, BI and BD."""
    for name in names:
        write_pair(root, "GT", {"BI": "BIx4", "BD": "BDx4"}, name, pattern=pattern)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder by name, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
