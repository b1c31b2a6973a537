"""Published weights by name, any checkpoint by path: ``load_net`` returns the right network."""

from vsr_plugin.weights.loading import fit_to_net, load_into, load_net, read_checkpoint, resolve
from vsr_plugin.weights.warm_start import warm_start
from vsr_plugin.weights.zoo import PUBLISHED, PublishedWeights, cache_dir, locate_published

__all__ = [
    "PUBLISHED",
    "PublishedWeights",
    "cache_dir",
    "fit_to_net",
    "load_into",
    "load_net",
    "locate_published",
    "read_checkpoint",
    "resolve",
    "warm_start",
]
