"""Run studies of the paper: a table (Markdown, CSV, JSON) and a plot each, in OUT/STUDY."""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("study"))
