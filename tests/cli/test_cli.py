"""What the commands share."""

from __future__ import annotations

import pytest

from vsr_plugin.progress import part_progress


def test_the_bar_moves_by_fractions_after_a_jump(capsys: pytest.CaptureFixture[str]) -> None:
    with part_progress(6) as bar:
        bar.mininterval = 0
        bar.update(2)
        bar.update(0.5)
        assert "2.5/6 parts" in capsys.readouterr().err
