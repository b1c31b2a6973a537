"""Prepare, train, validate and test on real clips with two CPU cores; ``make train-demo`` runs this.

Each step is one of the other tools, shown as it would be typed.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from vsr_plugin.cli.command import HelpFormatter, run_command
from vsr_plugin.data.sample_clips import sample_clip
from vsr_plugin.errors import VSRError

#: The clip that the network never sees in training, and the others.
HELD_OUT, TRAINED_ON = "carphone_pristine", ("bikes", "bigbuckbunny")
CONFIG = "configs/basicvsr_small_clips.py"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=HelpFormatter)
    parser.add_argument("--device", default="auto", help="for the test at the end: cpu, cuda, or auto")
    return parser.parse_args()


def run(*command: object) -> None:
    """Run one of the tools and show how.

    Raises:
        VSRError: it failed; what it said stands above.
    """
    words = [str(word) for word in command]
    print(f"\n$ python {shlex.join(words)}", flush=True)
    done = subprocess.run([sys.executable, *words], check=False)
    if done.returncode:
        raise VSRError(f"{words[0]} ended with status {done.returncode}; run this demo again to go on from there")


def link_clips(folder: Path) -> None:
    """Lay the clips out as a user would: one folder for training, one for testing."""
    for name in (*TRAINED_ON, HELD_OUT):
        split = "test" if name == HELD_OUT else "train"
        source, link = sample_clip(name), folder / split / f"{name}.mp4"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(source)


def main() -> None:
    args = parse_args()
    root = Path("work_dirs/train_demo")
    link_clips(root / "clips")
    run("tools/prepare_data.py", "folder", root / "clips", "--out", root / "data", "--pack")
    run("tools/train.py", CONFIG, "--work-dir", root / "run", "--resume")
    (best,) = (root / "run").glob("best_*.pth")
    run("tools/test.py", CONFIG, best, "--work-dir", root / "test", "--device", args.device)
    print(f"\nlook at {root / 'run' / 'training.png'} and the pictures in {root / 'run' / 'pictures'}")


if __name__ == "__main__":
    sys.exit(run_command(main, state="everything finished so far is kept; run it again to go on"))
