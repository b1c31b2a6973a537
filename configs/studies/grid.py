"""Of BasicVSR++, grid propagation alone: four sweeps, each half as deep as BasicVSR's two."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(propagation="grid", num_blocks=max(1, _base_.model.generator.num_blocks // 2)))
