"""Keyframes: IconVSR with every 20th frame a keyframe; at test time with weights of iconvsr.py, as in the paper."""

_base_ = "./iconvsr.py"

model = dict(generator=dict(keyframe_stride=20))
