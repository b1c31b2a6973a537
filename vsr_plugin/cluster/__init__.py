"""Work on more than one machine: tasks of restorations and studies on a Ray cluster."""

import os

# Nothing is reported to Ray's makers, and the terminal is kept to our own lines. Ray reads these when it is imported,
# which is done below here only.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
