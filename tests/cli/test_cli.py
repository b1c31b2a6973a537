"""What the commands share."""

from __future__ import annotations

import os
import sys

import pytest
from tqdm import tqdm

from vsr_plugin.progress import frame_progress, part_progress, read_record


def test_the_bar_moves_by_fractions_after_a_jump(capsys: pytest.CaptureFixture[str]) -> None:
    with part_progress(6) as bar:
        bar.mininterval = 0
        bar.update(2)
        bar.update(0.5)
        assert "2.5/6 parts" in capsys.readouterr().err


def test_what_comes_before_the_first_update_is_not_in_the_estimate(capsys: pytest.CaptureFixture[str]) -> None:
    clock = [0.0]
    with frame_progress(100) as bar:
        bar._time = lambda: clock[0]
        bar.mininterval = bar.start_t = bar.last_print_t = 0.0
        clock[0] = 60.0  # a minute of loading and compiling
        bar.update(0.5)
        assert "0.5/100 frames [00:00<?" in capsys.readouterr().err.splitlines()[-1]
        for _ in range(19):
            clock[0] += 0.5
            bar.update(0.5)
        assert "10.0/100 frames [00:09<01:30" in capsys.readouterr().err.splitlines()[-1]


def test_a_log_file_has_lines_among_the_notes(capsys):
    with frame_progress(4) as bar:
        bar.mininterval = 0
        tqdm.write("note: before", file=sys.stderr)
        bar.update(1)
        bar.update(0)
        tqdm.write("note: in between", file=sys.stderr)
        bar.update(3)
    error = capsys.readouterr().err
    assert "\r" not in error
    lines = error.splitlines()
    assert [line if line.startswith("note") else line.partition("| ")[2].partition(" [")[0] for line in lines] == [
        "note: before",
        "1.0/4 frames",
        "note: in between",
        "4.0/4 frames",
    ]


def test_progress_for_programs_is_lines(capsys):
    with frame_progress(4, "json") as bar:
        bar.update(1.5)
        tqdm.write("note: in between")
        bar.update(2.5)
    captured = capsys.readouterr()
    records = [read_record(line) for line in captured.out.splitlines()]
    assert captured.err == ""
    assert captured.out.splitlines()[records.index(None)] == "note: in between"
    last = records[-1]
    assert (last["pid"], last["frames"], last["of"], last["seconds_left"]) == (os.getpid(), 4.0, 4, 0)
    assert read_record("{not json") is None
