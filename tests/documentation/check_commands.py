"""Whether a command from a page could be given: by the parser that would read it, and by what it names."""

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest
from pages import ROOT

from vsr_plugin.__main__ import COMMANDS
from vsr_plugin.data.sample_clips import SAMPLE_CLIPS
from vsr_plugin.errors import VSRError
from vsr_plugin.shipped import find_config
from vsr_plugin.training.launching import read_experiment
from vsr_plugin.weights import PUBLISHED

#: Words that stand for what a reader has; everything else that looks like a file must be there.
_OF_THE_READER = re.compile(
    r"in\.mp4|out\.mp4|basicvsr\.onnx|basicvsr_steps|frames_folder|out_folder|\w+\.png|data/\w+|work_dirs/\S+|CONFIG|CHECKPOINT"
    r"|PATH|TOOL|\.\.\./\S+|\S+=FOLDER|model\.[\w.]+=\S+"
)


class WrongCommandError(Exception):
    """A command that cannot be given as it stands."""


def check(command: str, load_tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    """Do nothing if a command can be given.

    Args:
        command: one line of a shell.
        load_tool: imports a tool by name.
        monkeypatch: restores ``sys.argv``.

    Raises:
        WrongCommandError: it names something that is not there, or its program would refuse it; or nobody knows how to
            check such a command.
    """
    words = shlex.split(command)
    while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if words[0] in ("torchrun", "srun"):
        # Each has two words of its own; the script of torchrun is Python.
        words = ["python"] * (words[0] == "torchrun") + words[3:]
    program, arguments = words[0], words[1:]
    if program == "python" and arguments[:1] == ["-m"]:
        arguments = arguments[1:]
        program = "python -m"
    elif program == "python":
        program, arguments = arguments[0], arguments[1:]
    _check_program(program, arguments, load_tool, monkeypatch)


def _check_program(
    program: str, arguments: list[str], load_tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    if re.fullmatch(r"tools/\w+\.py", program):
        _check_tool(program, arguments, load_tool, monkeypatch)
    elif re.fullmatch(r"tools/dist_(train|test)\.sh", program):
        _check_distributed(program, arguments, load_tool, monkeypatch)
    elif program == "python -m":
        _expect(arguments[0] == "vsr_plugin", f"{arguments[0]} is no module of this project")
        _check_package(arguments[1:])
    elif program == "vsr-plugin":
        _check_package(arguments)
    elif program == "make":
        _run("make", "-n", *arguments)
    elif program == "pip":
        _check_pip(arguments)
    elif program == "pytest":
        _check_pytest(arguments)
    elif program == "source":
        _expect(arguments == [".venv/bin/activate"], f"there is no {arguments}")
    elif not _OF_THE_READER.fullmatch(program):
        raise WrongCommandError(f"nobody knows how to check {program!r}")


def _expect(right: object, text: str) -> None:
    if not right:
        raise WrongCommandError(text)


def _run(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    _expect(done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}")
    return done.stdout


def _check_tool(
    program: str, arguments: list[str], load_tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    _expect((ROOT / program).exists(), f"{program} is not there")
    _check_names(program, arguments)
    monkeypatch.setattr(sys, "argv", [program, *arguments])
    tool = load_tool(program.removeprefix("tools/").removesuffix(".py"))
    try:
        parsed = tool.parse_args()
        if hasattr(tool, "choose"):
            tool.choose(parsed.studies)
    except SystemExit as stop:
        _expect(stop.code == 0, f"{program} does not take {arguments}")  # 0: --help
    except VSRError as error:
        raise WrongCommandError(f"{program} {arguments}: {error}") from error


def _check_names(program: str, arguments: list[str]) -> None:
    """Files, weights and clips among the arguments must exist; a config must be readable with its recipe."""
    recipe = arguments[arguments.index("--recipe") + 1] if "--recipe" in arguments else None
    for word in arguments:
        if word.startswith("configs/"):
            _expect((ROOT / word).exists(), f"{word} is not there")
            try:
                read_experiment(ROOT / word, recipe)
            except VSRError as error:
                raise WrongCommandError(str(error)) from error
        elif re.match(r"(basicvsr|iconvsr)_(reds|vimeo)", word):
            _expect(word in PUBLISHED, f"no weights are called {word!r}")
        elif "." in word and not re.fullmatch(r"[\d.]+", word):
            _expect(_OF_THE_READER.fullmatch(word) or (ROOT / word).exists(), f"{word} is not there")
    if program == "tools/picture.py":
        _expect(arguments[1] in SAMPLE_CLIPS, f"no clip is called {arguments[1]!r}")


def _check_distributed(
    program: str, arguments: list[str], load_tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    _run("bash", "-n", program)
    tool = program.replace("dist_", "").replace(".sh", ".py")
    position = 1 if tool == "tools/train.py" else 2
    _expect(arguments[position].isdigit(), f"{program} takes the number of processes at place {position + 1}")
    _check_tool(tool, [*arguments[:position], *arguments[position + 1 :]], load_tool, monkeypatch)


def _check_package(arguments: list[str]) -> None:
    name, *words = arguments
    _expect(name in COMMANDS, f"vsr-plugin has no command {name!r}")
    try:
        importlib.import_module(f"vsr_plugin.cli.{name}").parse_args(words)
    except SystemExit as stop:
        _expect(stop.code == 0, f"vsr-plugin {name} does not take {words}")
    if name in ("train", "test"):
        _expect(_OF_THE_READER.fullmatch(words[0]) or find_config(words[0]).exists(), f"{words[0]} is no config")
        words = words[1:]
    _check_names("", words)


def _check_pip(arguments: list[str]) -> None:
    pinned = "".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    words = iter(arguments[1:])
    for word in words:
        if word == "-r":
            name = next(words)
            _expect((ROOT / name).exists(), f"{name} is not there")
        elif word == "-e":
            folder, _, extras = next(words).rstrip("]").partition("[")
            setup = ROOT / folder / "setup.py"
            _expect(setup.exists(), "setup.py is not there")
            for extra in filter(None, extras.split(",")):
                offered = setup.read_text().partition("extras_require=")[2]
                _expect(f'"{extra}": [' in offered, f"setup.py has no extra {extra}")
        elif word != "--no-deps":
            _expect(word in pinned, f"{word} is in no file of requirements")


def _check_pytest(arguments: list[str]) -> None:
    for word in arguments:
        if word.startswith("tests/"):
            _expect((ROOT / word.partition("::")[0]).exists(), f"{word} is not there")
    _run(sys.executable, "-m", "pytest", "--collect-only", *arguments)
