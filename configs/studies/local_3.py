"""Propagation: local, each sequence cut into 3 segments that are restored alone."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(propagation="local", segments=3))
