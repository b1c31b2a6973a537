"""The page: choose, preview, estimate, run, look at the result."""

from __future__ import annotations

import asyncio
import queue as channels
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import gradio as gr

from vsr_plugin.app import parts
from vsr_plugin.app.choices import CLEANINGS, Choice, choices, weights_here
from vsr_plugin.app.form import OptionsForm
from vsr_plugin.app.previews import Previews, Shown
from vsr_plugin.app.queue import Job, JobQueue, State
from vsr_plugin.app.roots import Roots
from vsr_plugin.errors import MediaError, VSRError
from vsr_plugin.media import open_source
from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.restoration.outputs import usual_name
from vsr_plugin.restoration.preview import describe

_HERE = Path(__file__).parent
_UPLOADING, _LISTING = ((_HERE / name).read_text() for name in ("upload.js", "jobs.js"))
_CLIP_SECONDS = 2.0
_SYSTEM_FONTS = ("system-ui", "sans-serif")
#: Nothing on the page is for programs; the command line is.
_QUIET: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")


def look() -> dict[str, object]:
    """How the page looks, and the scripts of its own, as Gradio takes them."""
    theme = gr.themes.Default(font=_SYSTEM_FONTS, font_mono=("ui-monospace", "monospace"))
    return dict(
        theme=theme,
        # As css= Gradio would rewrite it, and what is said of the whole page would not apply.
        head=f"<style>{(_HERE / 'page.css').read_text()}</style><script>{(_HERE / 'page.js').read_text()}</script>",
    )


class _Asked(NamedTuple):
    """What stands on the page.

    Attributes:
        path: of the input.
        moment: seconds of a video, the number of an image.
        choices: what is compared.
        picked: which of them restores the whole.
        target: what is written then.
    """

    path: Path
    moment: float
    choices: list[Choice]
    picked: Choice
    target: Path


async def _stay() -> AsyncIterator[None]:
    """An event that never ends.

    Gradio's script closes the stream of answers whenever nothing is awaited; of what is asked for in that moment, the
    answer never comes.
    """
    while True:
        await asyncio.sleep(3600)
        yield


class Page:
    """The page over a queue and previews, which all who open it share.

    Args:
        roots: the folders that it may use.
        jobs: the queue.
        previews: what was previewed.
        device: arguments for every job.
    """

    def __init__(self, roots: Roots, jobs: JobQueue, previews: Previews, device: Sequence[str]) -> None:
        self._roots, self._jobs, self._previews, self._device = roots, jobs, previews, list(device)
        self._stops: dict[str, Event] = {}

    def build(self) -> gr.Blocks:
        """Make the page."""
        with gr.Blocks(title="vsr-plugin", analytics_enabled=False) as page:
            gr.Markdown("# Restore old footage")
            with gr.Column(elem_classes="vsr-step"):
                gr.Markdown("## 1. Choose")
                with gr.Row(equal_height=True):
                    self.file = gr.Dropdown(
                        self._roots.inputs(),
                        value=None,
                        label="Video, or folder of images",
                        info=f"below {', '.join(map(str, self._roots.folders))}",
                        allow_custom_value=True,
                        scale=4,
                        elem_id="file",
                    )
                    with gr.Column(scale=1, min_width=180):
                        again = gr.Button("Look for new files", size="md")
                        upload = gr.HTML(parts.UPLOAD, js_on_load=_UPLOADING, elem_id="upload")
                self.facts = gr.HTML(parts.status("Nothing is chosen yet."), elem_id="facts")
            with gr.Column(elem_classes="vsr-step"):
                gr.Markdown("## 2. Preview")
                self.moment = gr.Slider(
                    0, 1, value=0, step=0.04, label="Moment, in seconds from the beginning", elem_id="moment"
                )
                self.frame = gr.HTML("", elem_id="frame")
                with gr.Row(equal_height=True):
                    self.weights = gr.Dropdown(
                        weights_here(),
                        value=weights_here()[:1],
                        label="Weights",
                        info="several are compared; a checkpoint below the folders may be named, too",
                        multiselect=True,
                        allow_custom_value=True,
                        elem_id="weights",
                        min_width=260,
                    )
                    self.cleanings = gr.CheckboxGroup(
                        [(words, value) for value, words in CLEANINGS.items()],
                        value=["auto"],
                        label="Cleaning of what compression left behind",
                        elem_id="cleanings",
                        min_width=260,
                    )
                    self.shrinks = gr.CheckboxGroup(
                        [("not", "1"), ("by 1.5", "1.5"), ("by 2", "2"), ("by 3", "3")],
                        value=["1"],
                        label="Shrink first, where there is no detail at full size",
                        elem_id="shrinks",
                        min_width=260,
                    )
                self.form = OptionsForm()
                with gr.Row():
                    show = gr.Button("Preview", variant="primary", elem_id="preview")
                    stop = gr.Button("Stop the preview", elem_id="stop")
                self.state = gr.HTML("", elem_id="preview-state")
                gr.HTML(parts.CONTROLS)
                self.shown = gr.HTML("", elem_id="shown")
            with gr.Column(elem_classes="vsr-step"):
                gr.Markdown("## 3. Restore the whole")
                # Custom values: Gradio refuses one that is not in its newest list, which a page may not have yet.
                self.variant = gr.Dropdown([], label="With", allow_custom_value=True, elem_id="variant")
                self.output = gr.Textbox(
                    label="Output", info="a video, or a folder for PNG files", max_lines=1, elem_id="output"
                )
                self.estimate = gr.HTML(elem_id="estimate")
                self.command = gr.HTML("", elem_id="command")
                with gr.Row():
                    start = gr.Button("Start", variant="primary", elem_id="start")
                    clip = gr.Button("Two seconds around the moment, as a clip", elem_id="clip")
                self.said = gr.HTML("", elem_id="said")
                self.clip = gr.HTML("", elem_id="clip-shown")
            with gr.Column(elem_classes="vsr-step"):
                gr.Markdown("## 4. Jobs")
                jobs = gr.HTML(parts.JOBS, js_on_load=_LISTING, elem_id="jobs")
            with gr.Column(elem_classes="vsr-step"):
                gr.Markdown("## 5. Results")
                self.finished = gr.Dropdown([], label="Finished job", allow_custom_value=True, elem_id="finished")
                self.result = gr.HTML("", elem_id="result")

            asked = [
                *(self.file, self.moment, self.weights, self.cleanings, self.shrinks, self.variant, self.output),
                *self.form.controls,
            ]
            of_another = [self.shown, self.state, self.said, self.clip]
            plan = dict(fn=self._plan, inputs=asked, outputs=[self.variant, self.estimate, self.command], **_QUIET)
            page.load(_stay, concurrency_limit=None, **_QUIET)
            gr.on([page.load, again.click], self._look_again, [], [self.file], **_QUIET)
            self.moment.change(
                self._frame, [self.file, self.moment], [self.frame], trigger_mode="always_last", **_QUIET
            )
            upload.upload(self._uploaded, [], [self.file], **_QUIET)
            self.file.change(
                self._choose,
                [self.file],
                [self.facts, self.moment, self.output, self.frame, *of_another],
                **_QUIET,
            )
            gr.on([each.change for each in asked], trigger_mode="always_last", **plan)
            show.click(self._preview, asked, [self.state, self.shown], **_QUIET).then(**plan)
            # Through Gradio's queue, though it waits for nothing there: the server does not answer to the other way.
            stop.click(self._stop, concurrency_limit=None, **_QUIET)
            clip.click(self._clip, asked, [self.said, self.clip], **_QUIET)
            start.click(self._start, asked, [self.said], **_QUIET)
            jobs.submit(self._finished_jobs, [self.finished], [self.finished], **_QUIET)
            self.finished.change(self._show_result, [self.finished], [self.result], **_QUIET)
        return page

    # -- choose ----------------------------------------------------------------------------------------------------

    def _look_again(self) -> dict:
        # And no value: what is chosen meanwhile stays.
        return gr.update(choices=self._roots.inputs())

    def _uploaded(self, event: gr.EventData) -> dict:
        return gr.update(choices=self._roots.inputs(), value=event._data["name"])

    def _choose(self, name: str | None) -> tuple[Any, ...]:
        nothing_else = [""] * 4  # of what was said and shown of another one
        if not name:
            return parts.status("Nothing is chosen yet."), gr.update(), "", "", *nothing_else
        try:
            path = self._roots.resolve(name)
            with open_source(path) as source:
                lines = describe(source, RestoreOptions())
                step = 1 if source.kind == "folder" else round(float(1 / source.average_rate), 3)
                last = max((source.num_frames_estimate or 1) - 1, 1)
            output = self._roots.name(self._free_output(path))
        except VSRError as error:
            return parts.error(str(error)), gr.update(), "", "", *nothing_else
        lines[0] = lines[0].replace(str(path), name, 1)
        label = "Image, counted from 0" if step == 1 else "Moment, in seconds from the beginning"
        # The end is written beside the slider, and products of fractions have long tails.
        end, middle = round(last * step, 3), round(last // 2 * step, 3)
        moment = gr.update(maximum=end, step=step, value=middle, label=label)
        # The frame comes from here: another video's middle may be at the same moment, which is no change of it.
        return parts.facts(lines), moment, output, parts.frame(path, middle), *nothing_else

    def _frame(self, name: str | None, moment: float) -> str:
        return parts.frame(self._roots.resolve(name), moment) if name else ""

    def _free_output(self, path: Path) -> Path:
        usual = Path(usual_name(path))
        for number in range(1, 10_000):
            name = f"{usual.stem}_restored{f'_{number}' if number > 1 else ''}{usual.suffix}"
            found = path.with_name(name) if path not in self._roots.folders else path / name
            if not found.exists() and all(job.output != str(found) for job in self._jobs.jobs()):
                return found
        raise MediaError(f"{path}: there are too many restored versions of it; move some away")

    # -- preview ---------------------------------------------------------------------------------------------------

    def _read(self, values: tuple) -> _Asked:
        """What stands on the page, from the values of what is ``asked`` for."""
        name, moment, weights, cleanings, shrinks, variant, output, *others = values
        found = choices(self._roots, weights, cleanings, shrinks, self.form.texts(others))
        picked = next((choice for choice in found if choice.words() == variant), found[0])
        if not name:
            raise VSRError("choose a video or a folder of images first")
        path = self._roots.resolve(name)
        if not path.exists():
            raise MediaError(f"{name}: no such file or folder; check the path")
        output = str(output or "").strip()
        target = self._roots.resolve(output) if output else self._free_output(path)
        return _Asked(path, float(moment or 0), found, picked, target)

    def _preview(self, request: gr.Request, *values: object) -> Iterator[tuple[Any, Any]]:
        stop = self._stops[request.session_hash] = Event()
        shown: list[Shown] = []
        try:
            asked = self._read(values)
            for choice in asked.choices:
                shown.append((yield from self._made(asked, choice, stop)))
                yield gr.update(), parts.comparison(shown)
            yield parts.status(f"Before and after at {shown[0].where}."), gr.update()
        except VSRError as error:
            yield parts.error(str(error)), gr.update()
        finally:
            stop.set()

    def _made(self, asked: _Asked, choice: Choice, stop: Event) -> Iterator[Any]:
        """Make a preview in a thread, and meanwhile say how far it is."""
        said: channels.SimpleQueue[float] = channels.SimpleQueue()
        done = 0.0
        with ThreadPoolExecutor(1) as pool:
            making = pool.submit(self._previews.make, asked.path, asked.target, choice, asked.moment, said.put, stop)
            making.add_done_callback(lambda _: said.put(0.0))
            try:
                while not making.done():
                    far = f"{done:.0f} frames are restored" if done else "is beginning"
                    yield parts.status(self._busy(f"{choice.words()}: {far}")), gr.update()
                    done += said.get()
            except GeneratorExit:  # nobody looks at the page any more
                stop.set()
                raise
            return making.result()

    def _busy(self, words: str) -> str:
        runs = any(job.state is State.RUNNING for job in self._jobs.jobs())
        return f"{words}; a job is running, so this and the estimate are slower than alone" if runs else words

    def _stop(self, request: gr.Request) -> None:
        if (stop := self._stops.get(request.session_hash)) is not None:
            stop.set()

    def _clip(self, request: gr.Request, *values: object) -> Iterator[tuple[Any, Any]]:
        stop = self._stops[request.session_hash] = Event()
        try:
            asked = self._read(values)
            words = asked.picked.words()
            yield parts.status(self._busy(f"{words}: {_CLIP_SECONDS:g} seconds are being restored")), gr.update()
            made = self._previews.clip(asked.path, asked.picked, asked.moment, _CLIP_SECONDS, stop)
            title = f"Around {asked.moment:g} s, {words}"
            yield "", parts.players([(title, f"clip/{made.name}", made.name)])
        except VSRError as error:
            yield parts.error(str(error)), gr.update()

    # -- the whole -------------------------------------------------------------------------------------------------

    def _plan(self, *values: object) -> tuple[Any, Any, Any]:
        """The choices that there are, how long the picked one takes, and its command."""
        if not values[0]:
            return gr.update(), "", ""
        try:
            asked = self._read(values)
            picked = gr.update(choices=[choice.words() for choice in asked.choices], value=asked.picked.words())
            shown = self._previews.kept(asked.path, asked.target, asked.picked, asked.moment)
            words = str(shown.estimate) if shown else "A preview tells how long the whole takes on this machine."
            return picked, parts.status(words), parts.command(asked.picked.command(asked.path, asked.target))
        except VSRError as error:
            return gr.update(), parts.error(str(error)), ""

    def _start(self, *values: object) -> str:
        try:
            asked = self._read(values)
            job = self._jobs.add(asked.path, asked.target, [*asked.picked.arguments(), *self._device])
        except VSRError as error:
            return parts.error(str(error))
        return parts.status(f"Job {job.number} is in the queue.")

    # -- results ---------------------------------------------------------------------------------------------------

    def _finished(self) -> dict[str, Job]:
        done = [job for job in self._jobs.jobs() if job.state is State.DONE]
        return {f"{job.number}: {self._roots.name(Path(job.output))}": job for job in done}

    def _finished_jobs(self, shown: str | None) -> dict:
        names = list(self._finished())
        return gr.update(choices=names, value=shown if shown in names else names[-1] if names else None)

    def _show_result(self, name: str | None) -> str:
        job = self._finished().get(name or "")
        if job is None:
            return ""
        paths = [Path(job.input), Path(job.output)]
        return parts.result(paths, [self._roots.name(path) for path in paths])
