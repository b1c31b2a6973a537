"""Alignment: image, the neighbouring frame is warped and features are propagated as they are."""

_base_ = "./bidirectional.py"

model = dict(generator=dict(alignment="image"))
