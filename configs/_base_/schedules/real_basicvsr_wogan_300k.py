"""Stage 1 of RealBasicVSR: Adam at 1e-4 throughout, and a moving average of the network, which is tested."""

_base_ = "./basicvsr_300k.py"

optim_wrapper = dict(optimizer=dict(lr=1e-4), paramwise_cfg=dict(_delete_=True))
param_scheduler = None
custom_hooks = [
    dict(
        type="ExponentialMovingAverageHook",
        module_keys="generator_ema",
        interval=1,
        interp_cfg=dict(momentum=0.001),
    ),
]
