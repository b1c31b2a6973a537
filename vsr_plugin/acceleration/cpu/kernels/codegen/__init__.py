"""Convolutions written for LLVM; only these modules need ``llvmlite``.

- ``vector_code``: writing loops and vectors.
- ``products``: the innermost loop.
- ``winograd``, ``few_channels``, ``deform``: a task each, of which every thread runs one.
"""
