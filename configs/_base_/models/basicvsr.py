"""BasicVSR (section 3.1): 64 channels, 30 residual blocks in each branch."""

model = dict(
    type="VideoRestorer",
    generator=dict(type="BasicVSRNet", mid_channels=64, num_blocks=30, spynet_pretrained="spynet"),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="SequencePreprocessor", non_blocking=True),
)
