"""Coupled propagation alone: BasicVSR whose forward branch sees the backward one, without refill."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(propagation="coupled"))
