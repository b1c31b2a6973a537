"""A recorder in the place of CUDA's, and small networks whose steps it records, for tests without a GPU."""

import torch

from vsr_plugin.acceleration.conversion import mixed
from vsr_plugin.acceleration.cuda.components import CUDAComponents
from vsr_plugin.acceleration.cuda.graphs import Recording, StepGraphs


class Recorder:
    """Records like CUDA: the inputs are tensors of its own, and each replay overwrites the one output."""

    def __init__(self):
        self.recorded, self.replays = [], 0

    def __call__(self, function, inputs, lane):
        self.recorded.append(function.__name__)
        fixed = tuple(None if x is None else x.clone() for x in inputs)
        output = function(*fixed)

        def replay():
            self.replays += 1
            if isinstance(output, tuple):
                for x, again in zip(output, function(*fixed), strict=True):
                    x.copy_(again)
            else:
                output.copy_(function(*fixed))

        return Recording(fixed, output, replay)


def recorded_net(net_class, recorder, components=CUDAComponents, **arguments):
    torch.manual_seed(0)
    net = net_class(mid_channels=8, num_blocks=1, spynet_width=4, **arguments).eval()
    net = mixed(net, components)
    net.step_graphs = StepGraphs(net, recorder)
    return net


def lrs_of(t, h=20, w=24):
    return torch.rand(1, t, 3, h, w, generator=torch.Generator().manual_seed(t))
