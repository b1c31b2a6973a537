"""Of BasicVSR++, flow-guided deformable alignment alone."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(alignment="deformable"))
