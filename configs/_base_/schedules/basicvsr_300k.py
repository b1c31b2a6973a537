"""The paper's schedule (section 4): Adam, cosine annealing, the flow network slower and frozen at first."""

max_iters = 300_000
max_iters_followed = max_iters  # where this is replaced, what is made of it follows

train_cfg = dict(type="StepTrainLoop", max_iters=max_iters, val_interval=5000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="MultiSetTestLoop")

optim_wrapper = dict(
    type="GuardedOptimWrapper",
    constructor="PartsConstructor",
    optimizer=dict(type="Adam", lr=2e-4, betas=(0.9, 0.99)),
    paramwise_cfg=dict(lr_mults={"generator.spynet": 0.125}),  # 2.5e-5
)
param_scheduler = dict(type="CosineAnnealingLR", by_epoch=False, T_max=max_iters, eta_min=1e-7)
custom_hooks = [dict(type="FreezeModules", modules=["generator.spynet"], steps=5000)]
