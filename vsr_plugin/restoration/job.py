"""A restoration that outlives its process: the hidden folder beside the output that says what is done.

It holds ``job.json`` (what is restored and how), ``shots.json`` (the list of its shots), finished segments with a
record each, and what the engine keeps to go on inside a long shot. A segment counts when its record is there, which is
written last, in one step. Nothing here depends on when a process was killed, so that a resumed job does what an
uninterrupted one would have done.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from vsr_plugin.errors import MediaError
from vsr_plugin.files import LOCK_NAME, NewFile, in_one_line, locked, write_text
from vsr_plugin.inference.storage import ALL_SWEPT, SWEPT, TURNS_DONE
from vsr_plugin.media.segmented import Segment

_JOB, _RESOURCES, _COMPLETE = "job.json", "resources.json", "complete.json"
#: In the folder of a job.
FOLDERS = ("records", "segments", "shots", "joints")

#: Longer side of the picture of the newest frame, in pixels.
_NEWEST_SIDE = 960


@dataclass
class SegmentRecord:
    """A finished segment.

    Attributes:
        segment: what was written.
        quality: rows of :class:`vsr_plugin.restoration.quality.QualityLog`, one a frame, or none.
    """

    segment: Segment
    quality: list[dict[str, float]] = field(default_factory=list)


class JobFolder:
    """The working folder of one output, ``.NAME.job`` beside it, or inside it where it is an existing folder.

    Attributes:
        path: the folder.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        with in_one_line(output):
            name = f".{output.resolve().name}.job"
            self.path = output.parent / name
            if output.is_dir() and not self.path.is_dir():
                # Because that folder may be a disk of its own, to which nothing can be renamed.
                self.path = output / name
        self._lock: ExitStack | None = None
        self._made = False

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_lock": None}  # workers write into the folder; who began the job keeps others out

    # -- beginning and end, for who begins it------------------------------------------------------------------------

    def begin(self, settings: dict[str, object], *, resume: bool, overwrite: bool = False) -> bool:
        """Make the folder, or go on with the one that is there.

        Args:
            settings: everything that the result depends on, by names that a person understands.
            resume: go on with work that was begun with the same settings.
            overwrite: without ``resume``, throw such work away.

        Returns:
            Whether there was work to go on with.

        Raises:
            MediaError: another process works on it, it was begun with other settings, it holds work and neither
                ``resume`` nor ``overwrite`` says what to do with that, or it cannot be made.
        """
        settings = json.loads(json.dumps(settings))
        try:
            self._take_lock()
            begun = self._read_settings()
            if resume and begun is not None:
                self._compare(begun, settings)
                self._make_folders()
                return True
            if begun is not None and not overwrite and self.holds_work():
                raise MediaError(
                    f"{self.output}: an interrupted run has left what it has done in {self.path}; go on from there "
                    "with --resume, or throw it away with --overwrite"
                )
            self._empty()
            self._make_folders()
            write_text(self.path / _JOB, json.dumps(settings, indent=2))
        except OSError as error:
            if self._made:  # else it may hold the work of another run
                with suppress(OSError):
                    self.remove()
            self.release()
            raise MediaError(
                f"{self.output}: the folder for unfinished work cannot be made beside it ({error.strerror}); choose "
                "another place or free it"
            ) from error
        except BaseException:
            self.release()
            raise
        return False

    def _take_lock(self) -> None:
        if not self.path.parent.is_dir():
            what = "is not a folder" if self.path.parent.exists() else "does not exist"
            raise MediaError(f"{self.output}: cannot be written, {self.path.parent} {what}; create the folder first")
        if not self.path.is_dir():
            self.path.mkdir()
            self._made = True
        lock = ExitStack()
        try:
            lock.enter_context(locked(self.path))
        except BlockingIOError as error:
            raise MediaError(f"{self.output}: another process is at work on it; wait for it or stop it") from error
        self._lock = lock

    def _read_settings(self) -> dict | None:
        try:
            return json.loads((self.path / _JOB).read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def begun_with(self, name: str) -> object:
        """A setting of the work that is there to go on with; ``None`` if there is none."""
        return (self._read_settings() or {}).get(name)

    def _compare(self, begun: dict, now: dict) -> None:
        differences = [
            f"{name} was {_shown(begun.get(name))} and is {_shown(now.get(name))}"
            for name in {**begun, **now}
            if begun.get(name) != now.get(name)
        ]
        if differences:
            raise MediaError(
                f"{self.output}: --resume cannot go on with other settings or another input: {', '.join(differences)}; "
                "use those it was begun with, or start afresh with --overwrite in place of --resume"
            )

    def _empty(self) -> None:
        # First, so that a run which is killed on the way leaves nothing that could be gone on with.
        (self.path / _JOB).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK_NAME:
                entry.unlink()

    def _make_folders(self) -> None:
        for name in FOLDERS:
            (self.path / name).mkdir(exist_ok=True)

    def holds_work(self) -> bool:
        """Whether deleting the folder would lose anything."""
        return any(self.path.glob("records/*.json")) or any(self._swept()) or any(self._turned())

    def _swept(self) -> list[Path]:
        """How far the sweeps of unfinished scenes have come, a file each."""
        return sorted(self.path.glob(f"shots/*/*/**/{SWEPT}"))

    def _turned(self) -> list[Path]:
        """Of unfinished scenes, how many turns an ensemble has done, a file each."""
        return sorted(self.path.glob(f"shots/*/*/{TURNS_DONE}"))

    def done_before(self) -> str:
        """What an earlier run has left, in words; inside unfinished scenes, too, whose frames do not count yet."""
        text = f"{sum(record.segment.frames for record in self.records())} frames were done before"
        swept = {path.parents[1]: path.read_text() == ALL_SWEPT for path in self._swept()}
        whole, partly = sum(swept.values()), len(swept) - sum(swept.values())
        if whole:
            text += f", and of {whole} more scene{'s' * (whole > 1)} the half that goes backward in time"
        if partly:
            text += f", and of {partly} more scene{'s' * (partly > 1)} a part of that half"
        if turned := len(self._turned()):
            text += f", and of {turned} scene{'s' * (turned > 1)} some turns of the ensemble"
        return text

    def leave(self) -> str:
        """End without a result: keep the folder if it is worth it, and say what can be done with it."""
        try:
            if self._lock is None:
                return ""
            if not self.holds_work():
                self.remove()
                return ""
            return f"what is done is kept: --resume goes on from there, deleting {self.path} gives the space back"
        finally:
            self.release()

    def complete(self, num_frames: int) -> None:
        """Note that all results have their names: a run that is killed while it tidies up has nothing left to do.

        Args:
            num_frames: of the output.

        Raises:
            OSError: the disk is full or fails.
        """
        write_text(self.path / _COMPLETE, json.dumps(num_frames))

    @property
    def completed(self) -> int | None:
        """Number of frames of the output if :meth:`complete` was called."""
        try:
            return json.loads((self.path / _COMPLETE).read_text())
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the folder; what says that the work has ended goes last, for a run that is killed here."""
        last = [self.path / name for name in (_JOB, _COMPLETE)]
        for entry in self.path.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry, ignore_errors=True)
            elif entry not in last:
                entry.unlink()
        for entry in last:
            entry.unlink(missing_ok=True)
        self.path.rmdir()
        self.release()

    def release(self) -> None:
        """Let other processes have the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # -- work, for all workers -------------------------------------------------------------------------------------

    def keep_resources(self, budget: int, threads: int) -> None:
        """Keep what a resumed run has to work with although less may be free then, for the same result.

        Args:
            budget: memory in bytes, from which plans follow.
            threads: of the CPU, on which the last bits of some convolutions depend.
        """
        write_text(self.path / _RESOURCES, json.dumps(dict(budget=budget, threads=threads)))

    @property
    def resources(self) -> dict[str, int] | None:
        """What :meth:`keep_resources` was given; ``None`` if a run was killed right at its beginning."""
        try:
            return json.loads((self.path / _RESOURCES).read_text())
        except FileNotFoundError:
            return None

    @property
    def shots_list(self) -> Path:
        """The file that says which shots there are."""
        return self.path / "shots.json"

    @property
    def shots(self) -> Path:
        """Where long shots keep their frames and tensors, a folder each."""
        return self.path / "shots"

    @property
    def joints(self) -> Path:
        """Where windows leave what they contribute to the frames around their joints."""
        return self.path / "joints"

    def record(self, record: SegmentRecord) -> None:
        """Let a segment count.

        Raises:
            MediaError: the disk is full.
        """
        path = self._record_path(record.segment.first)
        try:
            write_text(path, json.dumps(asdict(record)))
        except OSError as error:
            raise MediaError(f"{self.output}: writing failed ({error.strerror}); free space") from error

    def _record_path(self, first: int) -> Path:
        return self.path / "records" / f"{first:08d}.json"

    def find(self, first: int) -> SegmentRecord | None:
        """The segment that begins with frame ``first``, if it is finished."""
        try:
            stored = json.loads(self._record_path(first).read_text())
        except FileNotFoundError:
            return None
        return SegmentRecord(**{**stored, "segment": Segment(**stored["segment"])})

    def records(self) -> Iterator[SegmentRecord]:
        """All finished segments, in order."""
        for path in sorted((self.path / "records").glob("*.json")):
            yield self.find(int(path.stem))

    @property
    def newest(self) -> Path:
        """A small picture of the last frame of the segment that was finished last, once there is one."""
        return self.path / "newest.jpg"

    def show_newest(self, rgb: np.ndarray) -> None:
        """Put a frame there, ``(h, w, 3)`` of ``uint8``; of a full disk others will tell."""
        picture = Image.fromarray(np.ascontiguousarray(rgb))
        picture.thumbnail((_NEWEST_SIDE, _NEWEST_SIDE))
        with suppress(OSError), NewFile(self.newest) as file:
            picture.save(file, "JPEG", quality=85)

    def keep_versions(self, index: int, versions: dict[str, np.ndarray]) -> None:
        """Keep versions of frame ``index`` for a comparison picture, instead of those of frames before it.

        Raises:
            MediaError: the disk is full.
        """
        try:
            with NewFile(self.path / f"picture-{index:08d}.npz") as file:
                np.savez(file, **versions)
            for path in self.path.glob("picture-*.npz"):
                if path.name < f"picture-{index:08d}.npz":
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise MediaError(f"{self.output}: writing failed ({error.strerror}); free space") from error

    def last_versions(self) -> dict[str, np.ndarray]:
        """The versions of the frame with the highest number that was kept."""
        path = max(self.path.glob("picture-*.npz"))
        with np.load(path) as stored:
            return {label: stored[label] for label in stored.files}


def _shown(value: object) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."
