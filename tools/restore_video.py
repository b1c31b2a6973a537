"""Upscale a video or a folder of images with BasicVSR or IconVSR, x4 or to the size asked for."""

import sys

from vsr_plugin.cli.command import run

if __name__ == "__main__":
    sys.exit(run("restore"))
