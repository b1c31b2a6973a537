"""Cleaning of compressed footage: 64 channels at half the resolution, 8 residual blocks, 2 neighbours on each side."""

model = dict(
    _scope_="vsr_plugin",
    type="VideoRestorer",
    generator=dict(type="FootageCleaning", mid_channels=64, num_blocks=8, radius=2),
    pixel_loss=dict(type="PSNRLoss", floor=2.0),
    data_preprocessor=dict(type="SequencePreprocessor", non_blocking=True),
)
