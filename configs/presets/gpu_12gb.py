"""12 GB GPUs: mixed precision, gradient checkpointing, four sequences at a time; the batch stays the config's."""

model = dict(generator=dict(with_cp=True))
optim_wrapper = dict(precision="bf16")
train_cfg = dict(micro_batch_size=4)
