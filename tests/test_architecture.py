"""The rooms of the package: imports point down only, nothing imports itself in a circle, no room is a drawer."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest
import torch

from vsr_plugin.models import BasicVSRNet

PACKAGE = Path(__file__).parents[1] / "vsr_plugin"

#: Rooms from the ground up, as docs/architecture.md draws them: each may import from itself and from those before it.
ROOMS = (
    "errors",
    "defaults",
    "settings",
    "files",
    "progress",
    "report",
    "child_processes",
    "shipped",
    "ops",
    "mmagic_host",
    "registry",
    "media",
    "weights",
    "models",
    "acceleration",
    "inference",
    "evaluation",
    "visualization",
    "data",
    "cluster",
    "restoration",
    "training",
    "export",
    "benchmarks",
    "studies",
    "apis",
    "app",
    "cli",
    "__main__",
)
MOST_FILES = 20
#: Files that a frame passes through from `restore_video.py` to its file, without acceleration/.
MOST_ON_THE_WAY = 61


def _modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(name: str) -> Iterator[str]:
    """What a module imports of the package, at its top or in a function, but for what only type checkers import."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]

    def walk(node: ast.AST) -> Iterator[tuple[str, str | None]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            if isinstance(child, ast.Import):
                yield from ((alias.name, None) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                parents = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
                base = ".".join([*parents, *([child.module] if child.module else [])])
                yield from ((base, alias.name) for alias in child.names)
            else:
                yield from walk(child)

    for base, member in walk(ast.parse(path.read_text())):
        target = f"{base}.{member}" if f"{base}.{member}" in MODULES else base
        if target in MODULES and target != name:
            yield target


def _room(name: str) -> str:
    return name.partition(".")[2].partition(".")[0]


def test_every_room_is_known():
    assert {_room(name) for name in MODULES} - {""} == set(ROOMS)


def test_imports_point_down():
    upward = [
        f"{name} -> {target}"
        for name in MODULES
        for target in _imports(name)
        if _room(name) and _room(target) and ROOMS.index(_room(target)) > ROOMS.index(_room(name))
    ]
    assert not upward


def test_no_module_imports_itself_in_a_circle():
    try:
        TopologicalSorter({name: set(_imports(name)) for name in MODULES}).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_no_folder_is_a_drawer():
    folders = {path.parent for path in MODULES.values()}
    counts = {
        str(folder.relative_to(PACKAGE.parent)): len([*folder.glob("*.py"), *folder.glob("*.cu")]) for folder in folders
    }
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize(
    "name",
    [
        "vsr_plugin.inference.RestoreOptions",
        "vsr_plugin.inference.restore_video",
        "vsr_plugin.media.Encoding",
        "vsr_plugin.media.image_file.read_header",
        "vsr_plugin.media.image_file.read_image",
        "vsr_plugin.media.open_source",
        "vsr_plugin.weights.load_net",
    ],
)
def test_scripts_of_others_find_what_they_import(name):
    module, _, member = name.rpartition(".")
    assert callable(getattr(import_module(module), member))


#: Restores three frames by the command, and prints which files of the package were executed meanwhile.
TRACE = """
import sys, threading
import vsr_plugin.cli.restore, vsr_plugin.restoration.preview
from vsr_plugin.restoration import restore_video

root, files = sys.argv.pop(1), set()

def note(frame, event, argument):
    if event == "call" and frame.f_code.co_filename.startswith(root):
        files.add(frame.f_code.co_filename[len(root):])

threading.setprofile(note), sys.setprofile(note)
vsr_plugin.cli.restore.main(sys.argv[1:])
threading.setprofile(None), sys.setprofile(None)
print(*sorted(files), sep="\\n")
"""


def test_files_on_a_frames_way(tmp_path, media):
    """docs/architecture.md says why there are so many."""
    torch.save(BasicVSRNet(mid_channels=4, num_blocks=1, spynet_width=4).state_dict(), tmp_path / "net.pth")
    media.make_clip(tmp_path / "in.mp4", n=3)
    command = [sys.executable, "-c", TRACE, f"{PACKAGE}/", "in.mp4", "out.mp4", "--weights", "net.pth"]
    environment = dict(os.environ, PYTHONPATH=str(PACKAGE.parent))
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    files = [line for line in done.stdout.splitlines() if line.endswith(".py")]
    assert "inference/engine.py" in files
    assert len([file for file in files if not file.startswith("acceleration/")]) <= MOST_ON_THE_WAY, "\n".join(files)
