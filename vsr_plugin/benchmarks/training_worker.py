"""The process of one implementation that trains."""

import torch
from mmengine.optim import OptimWrapper

from vsr_plugin.acceleration import accelerate_training
from vsr_plugin.benchmarks.implementations import mmagic_twin
from vsr_plugin.benchmarks.machine import peak_memory, synchronise, timed
from vsr_plugin.benchmarks.remote import serve
from vsr_plugin.benchmarks.training import IMPLEMENTATIONS, MODELS, TrainSetting
from vsr_plugin.errors import VSRError
from vsr_plugin.mmagic_host import import_quietly
from vsr_plugin.training import GuardedOptimWrapper


class TrainingWorker:
    """One network with its optimiser, and the batch that it is trained on again and again."""

    def __init__(self, name: str, setting: TrainSetting):
        if setting.threads:
            torch.set_num_threads(setting.threads)
        implementation = IMPLEMENTATIONS[name]
        if not implementation.ours and setting.model == "iconvsr" and setting.mid_channels != 64:
            raise VSRError(
                "MMagic's IconVSRNet works with 64 channels only; leave --mid-channels, or the implementation, out"
            )
        self.device = setting.device
        torch.manual_seed(0)
        sizes = dict(mid_channels=setting.mid_channels, num_blocks=setting.num_blocks)
        net = MODELS[setting.model](**sizes, with_cp=implementation.with_cp).to(self.device)
        self.net = (net if implementation.ours else mmagic_twin(net)).train()
        self.accelerate = implementation.ours and implementation.accelerate
        self.loss = import_quietly("mmagic.models.losses").CharbonnierLoss()
        optimizer = torch.optim.Adam(self.net.parameters(), lr=2e-4, betas=(0.9, 0.99))
        self.optimization = (
            GuardedOptimWrapper(optimizer, implementation.precision) if implementation.ours else OptimWrapper(optimizer)
        )
        # Building MMagic's network has drawn numbers of its own.
        torch.manual_seed(1)
        shape = setting.batch, setting.frames, 3
        self.lrs = torch.rand(*shape, setting.patch, setting.patch).to(self.device)
        self.gts = torch.rand(*shape, 4 * setting.patch, 4 * setting.patch).to(self.device)
        self.before = peak_memory(self.device) if self.device == "cpu" else 0.0

    def warm_up(self) -> dict:
        """The first step, which is not timed."""
        loss = self._step()
        self._make_room()
        return dict(loss=loss)

    def step(self) -> dict:
        """One step, timed."""
        if self.device != "cpu":
            # The GPU's memory was given back for the others, and asking for it again takes time.
            self._step()
        with timed(self.device) as figures:
            loss = self._step()
        memory = peak_memory(self.device) - self.before
        self._make_room()
        return dict(**figures, loss=loss, memory_mb=memory)

    def _step(self) -> float:
        try:
            with self.optimization.optim_context(self.net):
                net = accelerate_training(self.net) if self.accelerate else self.net
                loss = self.loss(net(self.lrs), self.gts)
            self.optimization.update_params(loss)
        except torch.cuda.OutOfMemoryError:
            raise VSRError("the GPU is out of memory; use a smaller --batch, --frames or --patch") from None
        return loss.item()

    def _make_room(self) -> None:
        if self.device != "cpu":
            synchronise(self.device)
            torch.cuda.empty_cache()


if __name__ == "__main__":
    serve(lambda name, setting: TrainingWorker(name, TrainSetting(**setting)))
