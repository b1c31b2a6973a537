"""Options of ``restore`` as a form: of the same dataclass as the command line, so that both say the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import gradio as gr

from vsr_plugin.restoration.options import RestoreOptions
from vsr_plugin.settings import Setting, flag_of, settings_of

#: What the page asks for in places of its own, or not at all: nothing is measured here, and nothing overwritten.
_ELSEWHERE = {"clean", "shrink", "gt", "channel", "crop_border", "comparison", "overwrite", "resume"}


class OptionsForm:
    """Controls for the options that are not compared; made inside a Gradio page.

    Attributes:
        controls: Gradio's components.
    """

    def __init__(self) -> None:
        self._fields = [(each, known) for each, known in settings_of(RestoreOptions) if each.name not in _ELSEWHERE]
        self.controls: list[gr.components.Component] = []
        with gr.Accordion("More options", open=False):
            for heading, group in groupby(self._fields, key=lambda pair: pair[1].group):
                gr.Markdown(f"### {heading.capitalize()}")
                with gr.Row(equal_height=False):
                    for each, known in group:
                        label = flag_of(each).removeprefix("--").replace("-", " ")
                        self.controls.append(_control(label, each.default, known))

    def texts(self, values: Sequence[object]) -> dict[str, str | bool]:
        """What stands in the form, for :func:`vsr_plugin.settings.from_texts`; ``values`` are those of the controls."""
        return dict(self._texts(values))

    def _texts(self, values: Sequence[object]) -> Iterator[tuple[str, str | bool]]:
        for (each, _), value in zip(self._fields, values, strict=True):
            if isinstance(each.default, bool):
                # The option of one that is on by default turns it off.
                yield each.name, bool(value) != each.default
            else:
                yield each.name, "" if value is None else str(value)


def _control(label: str, default: object, known: Setting) -> gr.components.Component:
    words = dict(label=label, info=known.help, min_width=220)
    if isinstance(default, bool):
        return gr.Checkbox(value=False, elem_classes="vsr-tick", **words)
    if known.choices is not None:
        return gr.Dropdown(list(known.choices), value=default, **words)
    return gr.Textbox(value="" if default is None else str(default), placeholder=known.metavar, max_lines=1, **words)
