"""A network as it is fastest on a CUDA device: ``components.convert`` puts the parts in their places."""
