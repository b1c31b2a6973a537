"""Results of the parts of a study, each in a file of its own, so that an interrupted study goes on where it was."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from vsr_plugin.files import write_whole


class PartRecords:
    """Results by the settings that they were measured with.

    Args:
        folder: where the files are; made when the first is written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """What was measured with these settings; ``None`` if nothing was, or what is there is damaged."""
        try:
            kept = json.loads(self._path(settings).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return kept.get("result") if isinstance(kept, dict) and kept.get("settings") == settings else None

    def put(self, settings: dict[str, Any], result: dict[str, Any]) -> None:
        """Keep a result; both must be plain data that JSON gives back unchanged."""
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(settings=settings, result=result), indent=1)
        write_whole(self._path(settings), partial(Path.write_text, data=text, encoding="utf-8"))

    def _path(self, settings: dict[str, Any]) -> Path:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:20]}.json"
