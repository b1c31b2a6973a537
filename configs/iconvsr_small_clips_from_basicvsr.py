"""Information-refill added to the official BasicVSR on two CPU cores: extractor and C learn, all else stays as it is.

The branches are not coupled, since what restores from a coupled branch alone would have to be learnt anew. So without
keyframes this network is the BasicVSR that it was started from.
"""

_base_ = "./iconvsr_small_clips.py"

max_iters = 200
max_iters_followed = max_iters

model = dict(
    generator=dict(
        mid_channels=64,
        num_blocks=30,
        propagation="bidirectional",
        init_cfg=dict(type="WarmStart", checkpoint="basicvsr_reds4"),
        spynet_pretrained=None,
        edvr_pretrained=None,
    ),
    frozen=[
        "generator.spynet",
        "generator.backward_resblocks",
        "generator.forward_resblocks",
        "generator.fusion",
        "generator.upsample1",
        "generator.upsample2",
        "generator.conv_hr",
        "generator.conv_last",
    ],
)

train_dataloader = dict(batch_size=1)
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
optim_wrapper = dict(optimizer=dict(lr=2e-4))
param_scheduler = _base_.param_scheduler
param_scheduler[-1].update(T_max=max_iters)
