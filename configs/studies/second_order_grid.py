"""All that BasicVSR++ adds to BasicVSR: second-order grid propagation and flow-guided deformable alignment."""

_base_ = "./grid.py"

model = dict(generator=dict(propagation="second_order_grid", alignment="deformable"))
