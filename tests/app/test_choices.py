"""What is chosen on the page becomes options, and these the command that a person would type."""

from __future__ import annotations

import shlex

import pytest

from vsr_plugin.app.choices import choices
from vsr_plugin.app.roots import Roots
from vsr_plugin.cli.restore import parse_args
from vsr_plugin.errors import VSRError
from vsr_plugin.restoration import RestoreOptions
from vsr_plugin.settings import from_arguments


@pytest.fixture
def roots(tmp_path):
    (tmp_path / "own.pth").touch()
    return Roots([tmp_path])


def test_all_combinations_are_compared(roots, tmp_path) -> None:
    found = choices(roots, ["own.pth"], ["auto", "0.5"], ["1", "2"], {"scene_cuts": "off", "num_frames": " 7 "})
    assert [(choice.options.clean, choice.options.shrink) for choice in found] == [
        ("auto", 1.0), ("auto", 2.0), (0.5, 1.0), (0.5, 2.0),
    ]  # fmt: skip
    assert {(choice.options.scene_cuts, choice.options.num_frames) for choice in found} == {("off", 7)}
    assert [choice.words() for choice in found][2:] == [
        "own.pth, cleaning half",
        "own.pth, cleaning half, shrunk by 2",
    ]


def test_the_command_does_the_same(roots, tmp_path) -> None:
    others = {"preset": "fast", "audio": False, "frame_rate": "30000/1001", "memory_budget": "2G", "height": "720"}
    (choice,) = choices(roots, ["own.pth"], ["off"], ["1.5"], others)
    words = shlex.split(choice.command(tmp_path / "my film.mp4", tmp_path / "out.mp4"))
    assert words[:4] == ["vsr-plugin", "restore", str(tmp_path / "my film.mp4"), str(tmp_path / "out.mp4")]
    args = parse_args(words[2:])
    assert args.weights == str(tmp_path / "own.pth")
    assert from_arguments(RestoreOptions, args) == choice.options


def test_published_weights_that_are_here(roots, official) -> None:
    (choice,) = choices(roots, [official], ["auto"], ["1"], {})
    assert choice.arguments() == ["--weights", official]


@pytest.mark.parametrize(
    ("weights", "cleanings", "shrinks", "others", "message"),
    [
        ([], ["auto"], ["1"], {}, "choose weights at least"),
        (["own.pth"], [], ["1"], {}, "choose a cleaning at least"),
        (["own.pth"], ["auto", "off", "0.5", "1"], ["1", "2"], {}, "makes 8 previews, 6 are compared at most"),
        (["own.pth"], ["strongly"], ["1"], {}, "--clean strongly: is no cleaning"),
        (["own.pth"], ["auto"], ["1"], {"precision": "fp8"}, "--precision fp8: is not there; choose one of fp32"),
        (["own.pth"], ["auto"], ["1"], {"scale": "2", "height": "720"}, "scale"),
        (["../own.pth"], ["auto"], ["1"], {}, "is outside the folders"),
    ],
)
def test_what_cannot_be_is_refused(roots, weights, cleanings, shrinks, others, message) -> None:
    with pytest.raises(VSRError, match=message):
        choices(roots, weights, cleanings, shrinks, others)


def test_nothing_is_downloaded(roots, monkeypatch) -> None:
    monkeypatch.setattr("vsr_plugin.app.choices.locate_published", lambda: {"iconvsr_reds4": None})
    with pytest.raises(VSRError, match="iconvsr_reds4: these weights are not on this machine, and the page downloads"):
        choices(roots, ["iconvsr_reds4"], ["auto"], ["1"], {})
