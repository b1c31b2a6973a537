"""Cleaning of compressed footage: 64 channels at half the resolution, 12 residual blocks, 2 neighbours on each side."""

model = dict(
    _scope_="vsr_plugin",
    type="VideoRestorer",
    generator=dict(type="FootageCleaning", mid_channels=64, num_blocks=12, radius=2),
    pixel_loss=dict(type="CharbonnierLoss", loss_weight=1.0, reduction="mean"),
    data_preprocessor=dict(type="SequencePreprocessor", non_blocking=True),
)
