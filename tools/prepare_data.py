"""Make a set ready for training"""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("prepare"))
