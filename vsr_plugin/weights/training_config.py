"""What a training's checkpoint says of its network that the tensors do not show.

mmengine keeps the config of a training beside the weights, as a Python program. It is read here, and not run.
"""

import ast
from collections.abc import Mapping

#: The alignments of this package.
_KNOWN = ("none", "image", "feature", "deformable")


def own_alignment(checkpoint: object) -> str | None:
    """Name of the alignment of a trained network, if it is somebody's own; such a one may have no tensors at all.

    Args:
        checkpoint: what a checkpoint file holds.
    """
    alignment = _setting(checkpoint, "alignment")
    name = _setting(checkpoint, "alignment", "type") if alignment is None else alignment
    return name if isinstance(name, str) and name not in _KNOWN else None


def residue_magnitude(checkpoint: object) -> float | None:
    """How far deformable alignment may go from the flow, in pixels, if the training said so.

    Args:
        checkpoint: what a checkpoint file holds.
    """
    found = _setting(checkpoint, "max_residue_magnitude")
    found = _setting(checkpoint, "alignment", "max_residue_magnitude") if found is None else found
    return found if isinstance(found, int | float) and not isinstance(found, bool) else None


def _setting(checkpoint: object, *path: str) -> object | None:
    """A constant of the network's settings, under names within names; ``None`` where there is none."""
    meta = checkpoint.get("meta") if isinstance(checkpoint, Mapping) else None
    text = meta.get("cfg") if isinstance(meta, Mapping) else None
    try:
        settings = {t.id: each.value for each in ast.parse(text).body for t in getattr(each, "targets", ())}
        node = _member(settings["model"], "generator")
        for name in path:
            node = _member(node, name)
        return ast.literal_eval(node) if isinstance(node, ast.Constant) else None
    except (AttributeError, KeyError, RecursionError, SyntaxError, TypeError, ValueError):
        return None


def _member(node: ast.expr, name: str) -> ast.expr:
    """A value of ``dict(name=...)`` or ``{'name': ...}``."""
    if isinstance(node, ast.Dict):
        return {key.value: value for key, value in zip(node.keys, node.values, strict=True)}[name]
    return {keyword.arg: keyword.value for keyword in node.keywords}[name]
