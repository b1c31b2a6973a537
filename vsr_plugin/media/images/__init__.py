"""Image files: one of them, a folder of them as a source, and as an output."""
