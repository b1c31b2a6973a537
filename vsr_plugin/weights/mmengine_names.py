"""Published names wherever mmengine takes a checkpoint: ``model_ckpt``, ``load_from``, arguments of MMagic's tools."""

from mmengine.runner import CheckpointLoader

from vsr_plugin.weights.loading import read_checkpoint, resolve
from vsr_plugin.weights.zoo import PUBLISHED


# mmengine takes prefixes for patterns. The whole name has to match, so that no file beside it is meant.
@CheckpointLoader.register_scheme(prefixes=[f"{name}$" for name in PUBLISHED])
def load_from_published(name: str, _map_location: object = None) -> object:
    """Read published weights to the CPU, from where mmengine copies them into the model.

    Args:
        name: one of :data:`vsr_plugin.weights.PUBLISHED`.

    Raises:
        WeightsError: they are not on this machine and cannot be fetched.
    """
    return read_checkpoint(resolve(name))
