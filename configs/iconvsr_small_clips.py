"""An IconVSR small enough for two CPU cores, as basicvsr_small_clips.py; its extractor starts from random weights."""

_base_ = "./basicvsr_small_clips.py"

model = dict(generator=dict(type="IconVSRNet", keyframe_stride=5, padding=2))
optim_wrapper = dict(paramwise_cfg=dict(lr_mults={"generator.edvr": 0.5}))
