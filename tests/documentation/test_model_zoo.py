"""docs/model_zoo.md says what the code knows."""

import re

from pages import ROOT
from reference_figures import REFERENCE

from vsr_plugin.weights import PUBLISHED

TEXT = (ROOT / "docs" / "model_zoo.md").read_text()


def test_every_name_with_its_files() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \| `([^`]+)` \|(?: `([^`]+)`)? \|$", TEXT, flags=re.MULTILINE)
    assert [name for name, *_ in rows] == list(PUBLISHED)
    for name, trained_on, file, packaged in rows:
        weights = PUBLISHED[name]
        assert weights.url == f"https://download.openmmlab.com/mmediting/restorers/{file}"
        assert weights.trained_on == trained_on
        assert packaged == ("" if weights.packaged is None else weights.packaged.filename)


def test_every_hash() -> None:
    hashes = dict(re.findall(r"^(\S+\.pth) +([0-9a-f]{64})$", TEXT, flags=re.MULTILINE))
    assert hashes == {w.packaged.filename: w.packaged.sha256 for w in PUBLISHED.values() if w.packaged}


def test_figures_measured_here() -> None:
    for page in (TEXT, (ROOT / "docs" / "measured.md").read_text()):
        for clip, (height, width, *figures) in REFERENCE.items():
            row = re.search(rf"^\| {clip} {height}×{width} \| (.*) \|$", page, flags=re.MULTILINE)[1]
            assert [float(cell) for cell in row.split(" | ")] == figures
