"""A process that holds one contender and runs it when told to.

Requests and answers are lines of JSON on standard input and output: so the contenders can take turns without
sharing an allocator, threads or a warmed cache of kernels.
"""

import argparse
import json
import os
import resource
import sys
import time
from contextlib import redirect_stdout

import torch

from vsr_plugin.errors import VSRError
from vsr_plugin.evaluation.benchmarking.contenders import Setting, build
from vsr_plugin.evaluation.benchmarking.inputs import load_sequence


def _memory(device: str) -> float:
    """Highest use of memory so far in MB: of the process, or of tensors on the GPU."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


class Worker:
    """One network, and the sequence it is timed on."""

    def __init__(self, name: str, setting: Setting):
        if setting.threads:
            torch.set_num_threads(setting.threads)
        self.device = setting.device
        # MMagic's IconVSR fails on sequences shorter than its window of five frames.
        self.warm_up = 5 if setting.model == "iconvsr" else 2
        self.net = build(name, setting)
        self.sequence = None
        self.hrs = None

    def load(self, clip: str, frames: int, size: list[int] | None) -> dict:
        """Take a sequence, and run its first frames to warm up."""
        self.hrs = None
        self.sequence = load_sequence(clip, frames, size)
        self.lrs = self.sequence.lrs.to(self.device)
        self.before = _memory(self.device)
        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated() / 1e6
        self.net(self.lrs[:, : self.warm_up])
        _synchronise(self.device)
        return {}

    def run(self) -> dict:
        """Restore the sequence once; seconds per frame, of the wall clock and of the processor."""
        self.hrs = None
        _synchronise(self.device)
        wall, cpu = time.perf_counter(), time.process_time()
        self.hrs = self.net(self.lrs)
        _synchronise(self.device)
        frames = self.lrs.size(1)
        return dict(
            seconds=(time.perf_counter() - wall) / frames,
            cpu_seconds=(time.process_time() - cpu) / frames,
            memory_mb=_memory(self.device) - self.before,
        )

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


def main() -> None:
    """Serve requests until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("setting", help="JSON of Setting")
    args = parser.parse_args()
    # What libraries print must not be taken for answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    with redirect_stdout(sys.stderr), torch.no_grad():
        try:
            worker = Worker(args.name, Setting(**json.loads(args.setting)))
        except VSRError as error:
            print(json.dumps(dict(error=str(error))), file=answers)
            return
        print(json.dumps({}), file=answers)
        for line in sys.stdin:
            request = json.loads(line)
            try:
                answer = getattr(worker, request.pop("do"))(**request)
            except VSRError as error:
                answer = dict(error=str(error))
            print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
