"""Resuming without running what a checkpoint says."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from vsr_plugin.registry import HOOKS


@HOOKS.register_module()
class DataOnlyCheckpoints(Hook):
    """Takes the config out of a loaded checkpoint.

    mmengine stores it as a Python program and executes it when it resumes, only to compare the number of GPUs.
    """

    priority = "HIGHEST"

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Drop the program; the config that counts is the one that the run was started with."""
        checkpoint.get("meta", {}).pop("config", None)
