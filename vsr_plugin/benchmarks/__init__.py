"""Benchmarks: our networks against MMagic's on the same input, in separate processes taken in turn."""
