"""Train an experiment of configs/ through mmengine's runner"""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("train"))
