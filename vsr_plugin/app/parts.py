"""Parts of the page as HTML; everything that comes from files and people is escaped here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image

from vsr_plugin.app.previews import Shown
from vsr_plugin.app.queue import Job, State
from vsr_plugin.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, natural_key

#: What stands above before-and-after pictures, once on the page.
CONTROLS = """<div class="vsr-controls">
<label>Before / after <input type="range" min="0" max="100" value="50" data-vsr="wipe"
 aria-label="Border between before and after, in percent"></label>
<label>Zoom <select data-vsr="zoom"><option value="fit">to fit</option><option value="1">1:1</option>
<option value="2">2:1</option><option value="4">4:1</option></select></label>
</div>"""

UPLOAD = """<label class="vsr-upload"><span>Upload a file</span>
<input type="file" accept="video/*,image/*,.mkv,.mts,.m2ts,.ts,.vob,.mxf,.y4m,.dv"></label>
<progress max="1" value="0" hidden aria-label="progress of the upload"></progress><p role="alert" hidden></p>"""

JOBS = '<p role="status"></p><ul class="vsr-jobs"></ul>'

_STATES = {
    State.WAITING: "waits for its turn",
    State.RUNNING: "is running",
    State.PAUSED: "is paused; what is done is kept",
    State.DONE: "is done",
    State.FAILED: "has failed",
}


def error(text: str) -> str:
    """One line on what is wrong, which screen readers say at once."""
    return f'<p class="vsr-error" role="alert">{escape(text)}</p>'


def status(text: str) -> str:
    """One line on what is going on."""
    return f'<p class="vsr-line-of-text" role="status">{escape(text)}</p>'


def facts(lines: Iterable[str]) -> str:
    """Lines as a list."""
    return f'<ul class="vsr-facts">{"".join(f"<li>{escape(line)}</li>" for line in lines)}</ul>'


def command(line: str) -> str:
    """A line for a terminal, with a button that copies it."""
    return (
        '<div class="vsr-command"><label>The same on the command line'
        f'<textarea readonly rows="2">{escape(line)}</textarea></label>'
        '<button type="button" data-vsr="copy">Copy the command</button></div>'
    )


def media_url(path: Path) -> str:
    """Where the page serves a file below its folders."""
    return f"media?{urlencode(dict(name=str(path)))}"


def frame(path: Path, moment: float) -> str:
    """The frame of a moment as it is, small."""
    url = escape(f"frame?{urlencode(dict(name=str(path), at=moment))}")
    return f'<img class="vsr-frame" src="{url}" alt="frame of the original at this moment">'


def comparison(shown: Sequence[Shown]) -> str:
    """Pictures before and after, beside each other."""
    figures = []
    for each in shown:
        urls = [f"picture/{each.key}/{name}.png" for name in ("enlarged", "restored")]
        figures.append(_before_after(each.choice.words(), urls, each.size))
    return f'<div class="vsr-grid">{"".join(figures)}</div>'


def _before_after(words: str, urls: Sequence[str], size: tuple[int, int]) -> str:
    (height, width), words, (before, after) = size, escape(words), map(escape, urls)
    return (
        f'<figure><figcaption>{words}</figcaption><div class="vsr-window" tabindex="0" role="group"'
        f' aria-label="{words}: arrow keys move a picture that is larger than its window">'
        f'<div class="vsr-canvas" style="aspect-ratio: {width} / {height}; --w: {width}px">'
        f'<img class="vsr-before" src="{before}" alt="before: enlarged"><img class="vsr-after" src="{after}"'
        f' alt="after: restored"></div></div></figure>'
    )


def result(paths: Sequence[Path], names: Sequence[str]) -> str:
    """Original and restored beside each other: videos, or of folders the image in the middle.

    Args:
        paths: of the original and of what was made of it.
        names: what the page calls them.
    """
    if paths[1].is_file() and paths[1].suffix.lower() in VIDEO_SUFFIXES:
        titles = [f"{title}: {name}" for title, name in zip(("Original", "Restored"), names, strict=True)]
        return players(list(zip(titles, map(media_url, paths), names, strict=True)))
    images = [_middle_image(path) for path in paths]
    if None in images:
        return status(f"{names[1]} is there.")
    with Image.open(images[1]) as picture:
        width, height = picture.size
    return f'<div class="vsr-grid">{_before_after(names[1], list(map(media_url, images)), (height, width))}</div>'


def _middle_image(path: Path) -> Path | None:
    if path.is_file():
        return path if path.suffix.lower() in IMAGE_SUFFIXES else None
    names = [name for name in os.listdir(path) if Path(name).suffix.lower() in IMAGE_SUFFIXES] if path.is_dir() else []
    return path / sorted(names, key=natural_key)[len(names) // 2] if names else None


def players(videos: Sequence[tuple[str, str, str]]) -> str:
    """Videos beside each other that play together; each a title, an address, and a name for people."""
    figures = "".join(
        f'<figure><figcaption>{escape(title)}</figcaption><video controls preload="metadata" src="{escape(url)}"'
        f' aria-label="{escape(title)}" data-name="{escape(name)}"></video></figure>'
        for title, url, name in videos
    )
    button = '<div><button type="button" data-vsr="play">Play or stop both</button></div>' if len(videos) > 1 else ""
    return f'<div class="vsr-players">{figures}{button}</div>'


def job(each: Job, newest: int | None) -> str:
    """How far a job is.

    Args:
        each: the job.
        newest: when its newest frame was made, if there is one, so that the browser asks for it again.
    """
    report = each.report
    words = f'<span class="vsr-state">Job {each.number} {_STATES[each.state]}</span>'
    lines = [f'<div class="vsr-files">{escape(each.input)} → {escape(each.output)}</div>']
    if each.state in (State.RUNNING, State.PAUSED) and report.of:
        label = f"progress of job {each.number}"
        lines.append(f'<progress max="{report.of}" value="{report.frames}" aria-label="{label}"></progress>')
    if each.state is State.RUNNING:
        lines.append(f"<div>{progress(each)}</div>")
    if each.message:
        lines.append(f'<p class="vsr-error">{escape(each.message)}</p>')
    if newest is not None and each.state is not State.DONE:
        lines.append(f'<img src="newest/{each.number}?at={newest}" alt="newest restored frame of job {each.number}">')
    return f"{words}{''.join(lines)}"


def actions(state: State) -> list[tuple[str, str]]:
    """What can be done with a job in a state: names of methods of the queue, and words."""
    if state in (State.WAITING, State.RUNNING):
        return [("pause", "Pause"), ("cancel", "Cancel")]
    if state is State.DONE:
        return [("cancel", "Take out of the list")]
    return [("go_on", "Take up again"), ("cancel", "Cancel")]


def progress(each: Job) -> str:
    """Frames, frames per second, and time left."""
    report = each.report
    if not report.frames:
        return "is beginning"
    words = [f"{report.frames:.0f} of {report.of} frames" if report.of else f"{report.frames:.0f} frames"]
    if report.rate:
        words.append(f"{report.rate:.3g} frames a second")
    if report.seconds_left is not None:
        words.append(f"{duration(report.seconds_left)} left")
    return ", ".join(words)


def duration(seconds: float) -> str:
    """A time in words, as coarse as it is sure."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}" if unit == "h" else f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
