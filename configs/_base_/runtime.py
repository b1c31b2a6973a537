"""What every experiment has in common: logs, checkpoints, pictures, processes."""

custom_imports = dict(imports=["vsr_plugin"])
default_scope = "vsr_plugin"
work_dir = None

env_cfg = dict(
    cudnn_benchmark=True, mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0), dist_cfg=dict(backend="nccl")
)
randomness = dict(seed=0)

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=100, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(
        type="CheckpointHook",
        by_epoch=False,
        interval=5000,
        max_keep_ckpts=3,
        save_best="auto",
        rule="greater",
        backend_args=dict(backend="vsr_plugin_atomic"),
    ),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    data_only=dict(type="DataOnlyCheckpoints"),
    guard=dict(type="NonFiniteGuard"),
    pictures=dict(type="ValidationPictures"),
    curve=dict(type="TrainingCurve"),
)
# Where mmengine is named, MMagic has a class of the same name that is made for its own loops.
log_processor = dict(type="mmengine.LogProcessor", by_epoch=False, window_size=100)
log_level = "INFO"
visualizer = dict(
    type="mmengine.Visualizer", vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
)

load_from = None
resume = False
