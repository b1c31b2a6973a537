"""24 GB GPUs: mixed precision, two sequences at a time; the batch stays 8."""

optim_wrapper = dict(precision="bf16")
train_cfg = dict(micro_batch_size=2)
