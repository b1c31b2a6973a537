"""Score weights on the test sets of an experiment in configs/"""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("test"))
