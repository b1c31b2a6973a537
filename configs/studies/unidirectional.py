"""Propagation: forward in time only; the one branch is as deep as both of BasicVSR together."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(propagation="unidirectional", num_blocks=2 * _base_.model.generator.num_blocks))
