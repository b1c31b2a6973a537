"""From BasicVSR to IconVSR, first step: information-refill at every fifth frame, the branches not yet coupled."""

_base_ = "./iconvsr.py"

model = dict(generator=dict(propagation="bidirectional"))
