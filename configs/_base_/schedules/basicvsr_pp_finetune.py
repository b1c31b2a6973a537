"""Fine-tuning of BasicVSR++, at half the rate of its training."""

_base_ = "./basicvsr_finetune.py"

optim_wrapper = dict(optimizer=dict(lr=5e-5), paramwise_cfg=dict(lr_mults={"generator.spynet": 0.25}))
