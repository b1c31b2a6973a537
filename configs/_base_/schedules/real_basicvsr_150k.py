"""Stage 2 of RealBasicVSR: half as many steps, 5e-5 for the generator and 1e-4 for the discriminator."""

_base_ = "./real_basicvsr_wogan_300k.py"

max_iters = 150_000
max_iters_followed = max_iters
train_cfg = dict(max_iters=max_iters)
optim_wrapper = dict(optimizer=dict(lr=5e-5), paramwise_cfg=dict(lr_mults=dict(discriminator=2.0)))
