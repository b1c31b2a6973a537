"""Fine-tuning of IconVSR: that of BasicVSR, and half the learning rate for the keyframe extractor."""

_base_ = "./basicvsr_finetune.py"

optim_wrapper = dict(paramwise_cfg=dict(lr_mults={"generator.edvr": 0.5}))
