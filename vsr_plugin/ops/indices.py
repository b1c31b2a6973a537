"""Which frames and lines stand for those that there are not. Without PyTorch: ``tools/onnx_restore.py`` runs so."""


def mirrored_indices(length: int, multiple: int) -> list[int]:
    """``range(length)``, continued to a multiple of ``multiple`` by reflection; where that ends, by the first index.

    Example:
        >>> mirrored_indices(5, 4)
        [0, 1, 2, 3, 4, 3, 2, 1]
        >>> mirrored_indices(2, 4)
        [0, 1, 0, 0]
    """
    beyond = range(length, length + -length % multiple)
    return [*range(length), *(max(2 * (length - 1) - k, 0) for k in beyond)]


def keyframe_indices(t: int, keyframe_stride: int | None) -> list[int]:
    """Keyframes of a ``t``-frame sequence: every ``keyframe_stride``-th frame and the last; none for ``None``.

    Example:
        >>> keyframe_indices(8, 5)
        [0, 5, 7]
    """
    if keyframe_stride is None:
        return []
    return sorted({*range(0, t, keyframe_stride), t - 1})


def neighbourhood_indices(i: int, t: int, padding: int) -> list[int]:
    """Frames that a window of ``2 * padding + 1`` frames around frame ``i`` of a ``t``-frame sequence reads.

    A position ``k`` frames beyond an end is replaced by the frame ``k + padding`` inside that end, so that the
    windows of the first and of the last frame see no frame twice; for ``padding`` 2 and 3 this is what the published
    IconVSR does (before frame 0: frames 4, 3, and 6, 5, 4). In sequences too short for that the position is
    reflected, as often as needed.

    Args:
        i: centre frame, ``0 <= i < t``.
        t: number of frames, at least 1.
        padding: frames on each side, at least 0.

    Returns:
        ``2 * padding + 1`` indices in ``range(t)``, centre in the middle.

    Example:
        >>> neighbourhood_indices(0, 10, 2)
        [4, 3, 0, 1, 2]
        >>> neighbourhood_indices(0, 2, 2)
        [0, 1, 0, 1, 0]
    """

    def inside(j: int) -> int:
        beyond = -j if j < 0 else j - (t - 1)
        if beyond <= 0:
            return j
        if beyond + padding <= t - 1:
            return beyond + padding if j < 0 else t - 1 - beyond - padding
        period = max(2 * (t - 1), 1)
        j = j % period
        return min(j, period - j) if t > 1 else 0

    return [inside(j) for j in range(i - padding, i + padding + 1)]
