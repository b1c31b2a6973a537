"""The schedule of IconVSR: that of BasicVSR, and half the learning rate for the keyframe extractor."""

_base_ = "./basicvsr_300k.py"

optim_wrapper = dict(paramwise_cfg=dict(lr_mults={"generator.edvr": 0.5}))  # 1e-4
custom_hooks = [dict(type="FreezeModules", modules=["generator.spynet", "generator.edvr"], steps=5000)]
