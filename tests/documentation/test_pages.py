"""What the pages tell a reader to do can be done."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from check_commands import WrongCommandError, check
from clip_files import make_clip
from pages import PAGES, ROOT, Snippet, blocks, commands, links

from vsr_plugin.training.launching import read_experiment

COMMANDS = {str(command): command for page in PAGES for command in commands(page)}
COLLECTING = [name for name, command in COMMANDS.items() if command.text.startswith("pytest")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    missing = [target for target in links(page) if target and not (page.parent / target).exists()]
    assert not missing


def test_every_page_is_linked_from_another() -> None:
    linked = {(page.parent / target).resolve() for page in PAGES for target in links(page)}
    assert {page.name for page in PAGES if page not in linked} <= {"README.md"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in COLLECTING else name for name in COMMANDS]
)
def test_every_command_can_be_given(name: str, load_tool, monkeypatch) -> None:
    check(COMMANDS[name].text, load_tool, monkeypatch)


@pytest.mark.parametrize(
    "command",
    [
        "python tools/restore_video.py in.mp4 out.mp4 --no-such-option",
        "python tools/restore.py in.mp4 out.mp4",
        "python tools/train.py configs/basicvsr_redz.py",
        "python tools/train.py configs/studies/coupled.py --recipe no_such_recipe",
        "python tools/test.py configs/basicvsr_reds.py basicvsr_reds5",
        "tools/dist_train.sh configs/iconvsr_reds.py",
        "tools/dist_test.sh configs/iconvsr_reds.py iconvsr_reds4 --only 8",
        "python tools/study.py no_such_study",
        "python tools/picture.py flow no_such_clip flow.png",
        "python tools/benchmark.py fastness",
        "python -m vsr_plugin no_such_command",
        "make no-such-target",
        "pip install -r requirements/none.txt",
        "pip install mmagic==9",
        "pip install -e '.[gpu]'",
        "pytest tests/no_such_file.py",
        "vsr restore",
    ],
)
def test_the_check_sees_what_cannot_be_given(command: str, load_tool, monkeypatch) -> None:
    with pytest.raises((WrongCommandError, IndexError)):
        check(command, load_tool, monkeypatch)


def test_what_counts_as_a_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "Say `make test`, or\n`python tools/x.py\nA`, not `make` and not `x = 1`. [dead](none.md) [web](https://x.y)\n"
        "```bash\nA=1 tools/y.sh 8    # why\n\npip install a && pip install b\n```\n```python\nimport sys\n```\n"
    )
    found = [command.text for command in commands(page)]
    assert found == ["A=1 tools/y.sh 8", "pip install a", "pip install b", "make test", "python tools/x.py A"]
    assert list(links(page)) == ["none.md"]
    assert [block.text for block in blocks(page, "python")] == ["import sys\n"]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the pages take for granted, and the process in it."""
    for name in ("configs", "tools"):
        (tmp_path / name).symlink_to(ROOT / name)
    make_clip(tmp_path / "in.mp4", n=3, size=(16, 24), audio="aac")
    clips = tmp_path / "data" / "my_clips"
    for seed, part in enumerate(("train", "val")):
        (clips / part).mkdir(parents=True)
        pictures = list(np.random.default_rng(seed).integers(0, 256, (3, 64, 96, 3), np.uint8))
        make_clip(clips / part / "clip.mp4", n=3, size=(64, 96), pictures=pictures)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("snippet", [b for page in PAGES for b in blocks(page, "python")], ids=str)
def test_python_does_what_it_says(snippet: Snippet, workplace: Path, real_clip, capsys) -> None:
    if snippet.page.name in ("components.md", "mmagic.md"):
        pytest.skip("run by test_components_page.py and test_mmagic_page.py")
    if snippet.text.startswith("_base_"):
        (workplace / "mine.py").write_text(snippet.text)
        assert read_experiment(workplace / "mine.py").model.generator.type.endswith("VSRNet")
    elif snippet.text.startswith("class "):
        assert snippet.text in (ROOT / "vsr_plugin" / "studies" / "trained.py").read_text()
    else:
        real_clip("bikes")  # where that is not installed, the weights are not either
        for path in ("frames/00000000.png", "frames/00000001.png"):
            (workplace / path).parent.mkdir(exist_ok=True)
            cv2.imwrite(path, np.full((24, 32, 3), 99, np.uint8))
        exec(compile(snippet.text, snippet.page.name, "exec"), {})
        if "print(hr.shape)" in snippet.text:
            assert capsys.readouterr().out.splitlines() == ["(360, 640, 3)"] * 5
        if "result_out_dir" in snippet.text:
            assert list(Path("restored").rglob("*.png"))


#: Commands that are run as they stand on a page, and what they leave.
RUN = {
    "python tools/restore_video.py in.mp4 out.mp4": "out.mp4",
    "python tools/prepare_data.py folder data/my_clips --pack --degradation BI": "data/my_clips_prepared/manifest.json",
    "python tools/study.py --help": None,
}
SLOW = {
    "python tools/picture.py comparison bikes comparison.png": "comparison.png",
    "python tools/picture.py flow bikes flow.png": "flow.png",
    "python tools/picture.py profile carphone_pristine profile.png": "profile.png",
    "python tools/picture.py error carphone_pristine error.png": "error.png",
    "python tools/study.py segments": "work_dirs/studies/segments/segments.png",
    "python tools/export_onnx.py basicvsr_reds4 basicvsr_steps --parts": "basicvsr_steps/flow.onnx",
    "python tools/export_onnx.py basicvsr_reds4 basicvsr.onnx": "basicvsr.onnx",
}


@pytest.mark.parametrize("command", [*RUN, *(pytest.param(command, marks=pytest.mark.slow) for command in SLOW)])
def test_command_does_what_it_says(command: str, workplace: Path, run_tool, real_clip) -> None:
    assert command in {c.text for c in COMMANDS.values()}, "it is on no page any more"
    real_clip("bikes")
    if "onnx" in command:
        pytest.importorskip("onnxruntime")
    tool, *arguments = command.split()[1:]
    status, _, error = run_tool(Path(tool).stem, *arguments)
    assert status == 0, error
    left = (RUN | SLOW)[command]
    assert left is None or (workplace / left).stat().st_size > 0
