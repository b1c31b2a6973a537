"""The adaptation for coarsely quantised footage, as footage_adaptation_fine.py."""

_base_ = "./footage_adaptation_fine.py"

*_first, _degradation, _last = _base_.train_pipeline
train_pipeline = [*_first, dict(_degradation, quantiser_steps=(18, 255)), _last]
train_dataloader = dict(
    dataset=dict(datasets=[dict(part, pipeline=train_pipeline) for part in _base_.train_dataloader.dataset.datasets]),
)
