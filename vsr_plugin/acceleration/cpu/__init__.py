"""A network as it is fastest on a CPU: ``components.convert`` puts the parts in their places."""
