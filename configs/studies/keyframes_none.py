"""Keyframes: IconVSR with none; at test time with weights of iconvsr.py, as in the paper."""

_base_ = "./iconvsr.py"

model = dict(generator=dict(keyframe_stride=None))
# In several processes: the keyframe extractor has nothing to do.
find_unused_parameters = True
