"""Draw what a network does with a clip"""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("picture"))
