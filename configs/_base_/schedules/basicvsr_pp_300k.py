"""The schedule of BasicVSR++: half the rate of BasicVSR, the flow network at a quarter of it (section 4)."""

_base_ = "./basicvsr_300k.py"

optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(lr_mults={"generator.spynet": 0.25}))
