"""24 GB GPUs: mixed precision, four sequences at a time; the batch stays the config's.

A sequence of 15 frames takes 1.9 GB (BasicVSR) so, measured on a CPU.
"""

optim_wrapper = dict(precision="bf16")
train_cfg = dict(micro_batch_size=4)
