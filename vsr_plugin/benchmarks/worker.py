"""The process of one implementation that restores a sequence."""

import torch

from vsr_plugin.benchmarks.implementations import Setting, build
from vsr_plugin.benchmarks.inputs import load_sequence
from vsr_plugin.benchmarks.machine import peak_memory, synchronise, timed
from vsr_plugin.benchmarks.remote import serve


class Worker:
    """One network, and the sequence it is timed on."""

    def __init__(self, name: str, setting: Setting):
        if setting.threads:
            torch.set_num_threads(setting.threads)
        self.device = setting.device
        # MMagic's IconVSR fails on sequences shorter than its window of five frames.
        self.warm_up = [5 if setting.model == "iconvsr" else 2]
        if setting.device != "cpu":
            # All of it, twice: the first time algorithms are tried, the second time graphs are recorded.
            self.warm_up = [None, None]
        self.net = build(name, setting)
        self.sequence = None
        self.hrs = None

    def load(self, clip: str, frames: int, size: list[int] | None) -> dict:
        """Take a sequence, and run it, on a CPU its first frames, to warm up."""
        self.hrs = None
        # MMagic's networks, which have no such attribute, are all of scale 4.
        self.sequence = load_sequence(clip, frames, size, getattr(self.net, "scale", 4))
        self.lrs = self.sequence.lrs.to(self.device)
        self.before = peak_memory(self.device)
        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / 1e6
        for length in self.warm_up:
            self.net(self.lrs[:, :length])
        synchronise(self.device)
        return {}

    def run(self) -> dict:
        """Restore the sequence once; seconds per frame, of the wall clock and of the processor."""
        self.hrs = None
        with timed(self.device) as figures:
            self.hrs = self.net(self.lrs)
        per_frame = {name: seconds / self.lrs.size(1) for name, seconds in figures.items()}
        return dict(**per_frame, memory_mb=peak_memory(self.device) - self.before)

    def judge(self, path: str, reference: str | None) -> dict:
        """Quality of the last run against ground truth and against the output that another worker saved."""
        hrs = self.hrs.float().cpu()
        torch.save(hrs, path)
        answer = dict(psnr=self.sequence.psnr(hrs))
        if reference is not None:
            error = hrs - torch.load(reference, weights_only=True)
            answer["max_difference"] = error.abs().max().item()
            answer["db_to_reference"] = -10 * torch.log10(error.double().square().mean()).item()
        return answer


if __name__ == "__main__":
    with torch.no_grad():
        serve(lambda name, setting: Worker(name, Setting(**setting)))
