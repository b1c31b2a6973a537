"""What mmengine takes for a checkpoint besides its own: published names, and safetensors.

In ``model_ckpt``, ``load_from`` and arguments of MMagic's tools.
"""

from mmengine.runner import CheckpointLoader

from vsr_plugin.weights.loading import read_checkpoint, resolve
from vsr_plugin.weights.zoo import PUBLISHED, SHIPPED


# mmengine takes prefixes for patterns. The whole name has to match, so that no file beside it is meant.
@CheckpointLoader.register_scheme(prefixes=[f"{name}$" for name in (*PUBLISHED, *SHIPPED)])
def load_from_published(name: str, _map_location: object = None) -> object:
    """Read published weights to the CPU, from where mmengine copies them into the model.

    Args:
        name: one of :data:`vsr_plugin.weights.PUBLISHED`.

    Raises:
        WeightsError: they are not on this machine and cannot be fetched.
    """
    return read_checkpoint(resolve(name))


@CheckpointLoader.register_scheme(prefixes=[r".*\.safetensors$"])
def load_from_safetensors(path: str, _map_location: object = None) -> object:
    """Read a file of safetensors to the CPU.

    Raises:
        WeightsError: it cannot be read, or is none.
    """
    return read_checkpoint(resolve(path))
