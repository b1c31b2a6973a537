"""Propagation: local, each sequence cut into 5 segments that are restored alone."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(propagation="local", segments=5))
# In several processes: sequences of 5 frames leave the flow network nothing to do.
find_unused_parameters = True
