"""8 GB GPUs: mixed precision, gradient checkpointing, two sequences at a time; the batch stays the config's.

A sequence of 15 frames takes 0.42 GB (BasicVSR) or 0.99 GB (IconVSR) so, measured on a CPU.
"""

model = dict(generator=dict(with_cp=True))
optim_wrapper = dict(precision="bf16")
train_cfg = dict(micro_batch_size=2)
