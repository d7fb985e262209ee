"""When runs last said that their work is saved, by touching the file that `TOOLKIT_CHECKPOINT_FILE` names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from toolkit_client.models import JobState
from toolkit_hub import clock
from toolkit_hub.store.tables import Run
from toolkit_spawner.run_files import CHECKPOINT

__all__ = ["news"]


def news(runs: Iterable[Run], runs_dir: Path) -> dict[str, datetime]:
    """Run id → time, of running runs that may be stopped for others and have saved since they were looked at. Blocks.

    The file's time is the run's own to set, so one in the future counts as now.
    """
    found = {}
    for run in runs:
        if run.state != JobState.RUNNING or run.started is None or not (run.job.preemptable or run.job.restartable):
            continue
        with contextlib.suppress(OSError):
            touched = os.lstat(runs_dir / run.id / CHECKPOINT).st_mtime
            saved = min(datetime.fromtimestamp(max(0.0, touched), UTC), clock.now())
            if saved > (run.checkpoint or run.started):
                found[run.id] = saved
    return found
