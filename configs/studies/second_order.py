"""Of BasicVSR++, second-order propagation alone: a step sees the features of two neighbours."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(propagation="second_order"))
