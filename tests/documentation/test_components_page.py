"""docs/components.md says what is there, and its worked example works as it stands on the page."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_experiments import CONFIGS, make_sets, shrink
from unformatted_configs import leave_configs_unformatted

from vsr_plugin.errors import VSRError
from vsr_plugin.inference import restore_frames
from vsr_plugin.models.alignment import ALIGNMENTS
from vsr_plugin.models.cleaning import CLEANINGS
from vsr_plugin.models.propagation import PROPAGATIONS
from vsr_plugin.registry import MODELS
from vsr_plugin.training.launching import build_runner, read_experiment, recipes
from vsr_plugin.weights import load_into

PAGE = CONFIGS.parent / "docs" / "components.md"
TEXT = PAGE.read_text()
STUDIES = {path.stem for path in (CONFIGS / "studies").glob("*.py")}


def test_every_choice_and_every_row_is_on_the_page() -> None:
    assert set(re.findall(r'`propagation="(\w+)"', TEXT)) == set(PROPAGATIONS.names())
    assert set(re.findall(r'`alignment="(\w+)"', TEXT)) == set(ALIGNMENTS.names())
    assert set(re.findall(r'`cleaning="(\w+)"', TEXT)) == set(CLEANINGS.names())
    rows = TEXT.partition("| comparison | rows |")[2].partition("```")[0]
    assert set(re.findall(r"`(\w+)`", rows)) == STUDIES
    assert {name for name in recipes() if f"`{name}`" in TEXT} == set(recipes())


@pytest.mark.parametrize("recipe", ["reds", "small_clips"])
def test_the_sizes_are_those_of_the_networks(recipe: str) -> None:
    (line,) = re.findall(rf"^\| `{recipe}` \| ([\d.| ]+) \|$", TEXT, flags=re.MULTILINE)
    columns = ("bidirectional", "unidirectional", "coupled", "no_alignment", "image_alignment", "refill", "iconvsr")
    for name, stated in zip(columns, line.split(" | "), strict=True):
        with torch.device("meta"):
            net = MODELS.build(read_experiment(CONFIGS / "studies" / f"{name}.py", recipe).model.generator)
        assert f"{sum(p.numel() for p in net.parameters()) / 1e6:.3f}" == stated, name


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder with the files of the example as they stand on the page, beside configs/ and data."""
    make_sets(tmp_path)
    files = re.findall(r"^`(\w+\.py)`.*?```python\n(.*?)```", TEXT, flags=re.MULTILINE | re.DOTALL)
    assert [name for name, _ in files] == ["camera_alignment.py", "camera_alignment_reds.py"]
    for name, text in files:
        (tmp_path / name).write_text(text)
    (tmp_path / "configs").symlink_to(CONFIGS)
    leave_configs_unformatted(monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(ALIGNMENTS, "_classes", dict(ALIGNMENTS._classes))
    yield tmp_path
    sys.modules.pop("camera_alignment", None)


def test_the_example_trains_validates_and_restores(example: Path) -> None:
    runner = build_runner(shrink(str(example / "camera_alignment_reds"), example / "work"))
    runner.train()
    net = runner.model.generator.eval()
    assert net.components == "propagation: bidirectional, alignment: CameraAlignment()"
    again = MODELS.build(
        dict(type="BasicVSRNet", mid_channels=8, num_blocks=1, spynet_width=4, alignment="camera")
    ).eval()
    load_into(again, example / "work" / "iter_2.pth")
    lrs = torch.rand(1, 4, 3, 12, 16)
    with torch.no_grad():
        expected = net(lrs)[0].clamp(0, 1)
    for strategy in ("whole", "exact"):
        found = torch.stack(list(restore_frames(again, list(lrs[0]), strategy=strategy)))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_example_moves_features_as_a_whole(example: Path) -> None:
    read_experiment(example / "camera_alignment_reds.py")
    alignment = ALIGNMENTS.build("camera", mid_channels=4)
    state = torch.rand(1, 4, 6, 8)
    flow = torch.zeros(1, 2, 6, 8)
    flow[:, 0, :, ::2] = 2  # on average one pixel to the right
    moved = alignment(state, flow, torch.rand(1, 3, 6, 8))
    torch.testing.assert_close(moved[..., :-1], state[..., 1:], rtol=0, atol=1e-6)


def test_a_class_that_was_not_imported_is_named(example: Path) -> None:
    cfg = shrink("basicvsr_reds", example / "work")
    cfg.model.generator.alignment = "camera"
    with pytest.raises(
        VSRError, match="`alignment` 'camera' does not exist; choose one of deformable, feature, image, none"
    ):
        build_runner(cfg)
