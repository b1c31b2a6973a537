"""What a training's checkpoint says of its network that the tensors do not show."""

import ast
from collections.abc import Mapping

#: The alignments of this package.
_KNOWN = ("none", "image", "feature", "deformable")


def own_alignment(checkpoint: object) -> str | None:
    """Name of the alignment of a trained network, if it is somebody's own; such a one may have no tensors at all.

    mmengine keeps the config of a training beside the weights, as a Python program. It is read here, and not run.

    Args:
        checkpoint: what a checkpoint file holds.
    """
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        settings = {t.id: each.value for each in ast.parse(text).body for t in getattr(each, "targets", ())}
        alignment = _member(_member(settings["model"], "generator"), "alignment")
        name = ast.literal_eval(alignment if isinstance(alignment, ast.Constant) else _member(alignment, "type"))
    except (AttributeError, KeyError, RecursionError, SyntaxError, TypeError, ValueError):
        return None
    return name if isinstance(name, str) and name not in _KNOWN else None


def _member(node: ast.expr, name: str) -> ast.expr:
    """A value of ``dict(name=...)`` or ``{'name': ...}``."""
    if isinstance(node, ast.Dict):
        return {key.value: value for key, value in zip(node.keys, node.values, strict=True)}[name]
    return {keyword.arg: keyword.value for keyword in node.keywords}[name]
