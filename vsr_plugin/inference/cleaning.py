"""Frames of a sequence cleaned before they are propagated, each when it is asked for first, in bounded memory."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from numbers import Real
from pathlib import Path

import torch
import torch.nn as nn
from torch import Tensor

from vsr_plugin.errors import VSRError
from vsr_plugin.inference.storage import RecordFile
from vsr_plugin.models.cleaning import Cleaning, clean_by, magnitudes
from vsr_plugin.models.quantiser_estimator import FAINTEST, step_of_frames
from vsr_plugin.ops.frames import Frame, frame_to_tensor
from vsr_plugin.settings import check_share

#: First frames by which a sequence is told from a clean one.
_LOOKED_AT = 5
#: Pixels of a frame that are cleaned at once; larger ones go by bands of rows, which changes nothing but the memory.
PIXELS = 2**20


class CleanedFrames(Sequence):
    """A sequence as its cleaning leaves it; a frame is cleaned once.

    Args:
        cleaning: on the device that computes.
        frames: the sequence.
        path: the file that cleaned frames go to if they do not stay in memory.
        in_memory: number of frames up to which they do.
    """

    def __init__(self, cleaning: Cleaning, frames: Sequence[Frame], path: Path, in_memory: int):
        self._cleaning, self._frames = cleaning, frames
        self._device = next(cleaning.parameters()).device
        self._path = path if len(frames) > in_memory else None
        self._file: RecordFile | None = None
        self._held: dict[int, Tensor] = {}
        self._residues: dict[int, Tensor] = {}
        self._window: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._frames)

    @torch.no_grad()
    def __getitem__(self, i: int) -> Tensor:
        """Frame ``i``, ``(3, h, w)``, ``float32``, not clipped; on the CPU if it has been in the file."""
        if not 0 <= i < len(self):
            raise IndexError(i)
        if i in self._held:
            return self._held[i]
        if i in self._residues:
            return self._file.read(i)
        window = [self._raw(j) for j in self._cleaning.window(i, len(self))]
        cleaned, self._residues[i] = clean_in_bands(self._cleaning, window)
        if self._path is None:
            self._held[i] = cleaned
        else:
            if self._file is None:
                self._file = RecordFile(self._path, tuple(cleaned.shape), cleaned.dtype)
            self._file.write(i, cleaned)
        return cleaned

    def _raw(self, i: int) -> Tensor:
        """A frame as a tensor; the last few are held, since windows overlap."""
        if i not in self._window:
            self._window[i] = frame_to_tensor(self._frames[i], self._device)
            if len(self._window) > 2 * self._cleaning.radius + 1:
                self._window.popitem(last=False)
        return self._window[i]

    def mean_residue(self) -> float:
        """Mean absolute residue of the whole sequence, all frames of which are cleaned for it."""
        for i in range(len(self)):
            _ = self[i]
        return float(sum(self._residues[i] for i in range(len(self)))) / len(self)

    def close(self) -> None:
        """Close the file; it stays until its folder goes."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._residues.clear()
        if isinstance(self._frames, CleanedFrames):
            self._frames.close()


def clean_sequence(cleaning: Cleaning, frames: Sequence[Frame], folder: Path, in_memory: int) -> CleanedFrames:
    """Clean a sequence, as often as :meth:`Cleaning.forward` would.

    Args:
        cleaning: on the device that computes.
        frames: the sequence, read by index; the result reads it later on.
        folder: for what does not stay in memory.
        in_memory: number of frames up to which everything does.

    Returns:
        The cleaned sequence; to be closed.
    """
    folder = folder / "cleaned"
    folder.mkdir(exist_ok=True)
    # A round reads what the one before has left, and writes over what was left by the one before that.
    paths = [folder / "cleaned.bin", folder / "again.bin"]
    cleaned = CleanedFrames(cleaning, frames, paths[0], in_memory)
    for number in range(1, cleaning.max_rounds):
        # Whether there is another round is known when all frames are cleaned.
        if cleaning.is_clean(cleaned.mean_residue()):
            break
        cleaned = CleanedFrames(cleaning, cleaned, paths[number % 2], in_memory)
    return cleaned


def clean_in_bands(cleaning: Cleaning, window: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What :meth:`Cleaning.clean_frame` gives; large frames by bands of rows, with what is seen beyond them."""
    h, w = window[0].shape[-2:]
    reach = cleaning.reach + cleaning.reach % 2
    rows = max(PIXELS // w, 2 * reach) // 2 * 2
    if h <= rows + 2 * reach:
        return cleaning.clean_frame(window)
    cleaned, residues = [], 0.0
    for top in range(0, h, rows):
        bottom = min(top + rows, h)
        start, stop = max(0, top - reach), min(h, bottom + reach)
        residue = cleaning.residue(torch.stack([frame[:, start:stop] for frame in window])[None])[0]
        residue = residue[:, top - start : bottom - start]
        cleaned.append(window[cleaning.radius][:, top:bottom] + cleaning.strength * residue)
        residues = residues + magnitudes(residue).sum()
    return torch.cat(cleaned, dim=1), residues / (3 * h * w)


def cleaned_as_seen(
    net: nn.Module, frames: Iterator[Frame], clean: float | str | None
) -> tuple[nn.Module, Iterator[Frame]]:
    """A network that cleans as much as was asked for, and as fits what its first frames show.

    Args:
        net: a ``VSRNet`` on its device; stays as it is.
        frames: of one clip; a few are read.
        clean: see :func:`vsr_plugin.inference.restore_frames`.

    Returns:
        The network, and all of the frames.

    Raises:
        VSRError: the strength is not in [0, 1], or no word for one.
    """
    if clean == "off":
        clean = 0.0
    if isinstance(clean, Real):
        check_share("clean", clean)
    elif clean not in (None, "auto"):
        raise VSRError(f"clean {clean!r}: use 'auto', 'off', or a strength from 0 to 1")
    own = net.cleaning
    is_known = own is not None and own.quantiser_step is not None
    if clean is None or clean == 0 or is_known or (clean == "auto" and own is not None):
        return clean_by(net, None if clean == "auto" else clean), frames
    first = list(islice(frames, _LOOKED_AT))
    step = step_of_frames(first)
    if clean == "auto":
        clean = 1.0 if step is not None and step >= FAINTEST and net.scale > 1 else None
    return clean_by(net, clean, step), chain(first, frames)
