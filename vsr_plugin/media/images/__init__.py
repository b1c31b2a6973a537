"""Images as a source and as an output: a folder of them, an animation."""
