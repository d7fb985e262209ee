"""Runs inside the units of a site under test: counts their engine calls and commits, and makes one of them fail.

It is loaded by that site's own ``jupyterhub_config.py`` (see `conftest.py`), so the product has no fault in it to switch on.
A *point* is a unit, what it does there, and how often it has done so since the plan was made. Faults:

- ``error``: the engine answers 500 without having done it; the commit fails, and nothing of it is kept
- ``timeout``: it is done, and no answer comes: the caller cannot know
- ``kill-before``, ``kill-after``: SIGKILL to the unit itself, just before it is done or just after
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

UNITS = {"toolkit_hub.hub": "hub", "toolkit_hub.service": "service", "toolkit_hub.gate.__main__": "gate"}
#: Calls that go on by themselves and belong to no scenario.
UNCOUNTED = re.compile(r"/(events|_ping|version|info|images/json)$")
ID = re.compile(r"/(?:toolkit-j[a-z2-7]{26}|[0-9a-f]{64}|sha256:[0-9a-f]{64})(?=/|$)")


class Injection:
    """One for the process of a unit. `folder` holds what the test and the units tell each other."""

    def __init__(self, folder: Path, unit: str) -> None:
        self.unit = unit
        self._plan, self._points = folder / "plan", folder / "points"
        self._fired, self._clock = folder / "fired", folder / "clock"
        self._due = threading.local()

    def fault_at(self, what: str) -> str:
        """Count this point; the fault that is planned for it, or an empty text."""
        try:
            plan = json.loads(self._plan.read_text())
        except FileNotFoundError:
            return ""
        line = f"{self.unit} {what}"
        with self._points.open("a+") as points:
            fcntl.flock(points, fcntl.LOCK_EX)
            points.seek(0)
            passed = [*points.read().splitlines(), line]
            points.write(line + "\n")
        of_unit = sum(earlier.startswith(f"{self.unit} ") for earlier in passed)
        if plan.get("point") not in ([line, passed.count(line)], [self.unit, of_unit]):
            return ""
        try:
            self._fired.touch(exist_ok=False)
        except FileExistsError:
            return ""
        return str(plan["fault"])

    def now(self) -> float:
        try:
            return time.time() + float(self._clock.read_text())
        except (FileNotFoundError, ValueError):
            return time.time()

    # --- engine calls -------------------------------------------------------------------------------------------------

    def watch_engine(self) -> None:
        import requests
        from docker import APIClient

        send = APIClient.send

        def failing_send(client: Any, request: Any, **options: Any) -> Any:
            path = request.path_url.partition("?")[0].removeprefix("/v1.41")
            if UNCOUNTED.search(path):
                return send(client, request, **options)
            fault = self.fault_at(f"engine {request.method} {ID.sub('/ID', path)}")
            if fault == "kill-before":
                kill()
            if fault == "error":
                return _refusal(request)
            response = send(client, request, **options)
            if fault == "kill-after":
                kill()
            if fault == "timeout":
                response.close()
                raise requests.ReadTimeout("injected: no answer in time", request=request)
            return response

        APIClient.send = failing_send

    # --- commits --------------------------------------------------------------------------------------------------------

    def watch_commits(self) -> None:
        from sqlalchemy import Engine, event
        from sqlalchemy.orm import Session

        event.listen(Engine, "commit", self._before_commit)
        event.listen(Session, "after_commit", self._after_commit)

    def _before_commit(self, connection: Any) -> None:
        ours = str(connection.engine.url.database).endswith("toolkit.sqlite")
        if ours and not connection.get_execution_options().get("toolkit_write", True):
            return
        fault = self.fault_at(f"commit {_work_name()}" if ours else "hub-commit")
        if fault == "kill-before":
            kill()
        if fault == "error":
            raise _database_error("injected: the commit failed")
        self._due.fault = fault

    def _after_commit(self, _session: Any) -> None:
        fault, self._due.fault = getattr(self._due, "fault", ""), ""
        if fault == "kill-after":
            kill()
        if fault == "timeout":
            raise _database_error("injected: the connection broke after the commit")


def install(folder: str) -> None:
    """For ``jupyterhub_config.py``: only a unit of the site is watched, not the programs that read its settings."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    unit = UNITS.get(spec.name if spec else "")
    if unit is None:
        return
    from toolkit_hub import clock

    injection = Injection(Path(folder), unit)
    clock.set_clock(injection.now)
    injection.watch_commits()
    if unit != "gate":
        injection.watch_engine()


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)


def _work_name() -> str:
    """The name of the function that runs in the transaction."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_code.co_name == "_run" and "work" in frame.f_locals:
            return str(getattr(frame.f_locals["work"], "__name__", "work"))
    return "begin"


def _refusal(request: Any) -> Any:
    import requests

    response = requests.Response()
    response.status_code, response.request, response.url = 500, request, request.url
    response.headers["Content-Type"] = "application/json"
    response._content = b'{"message": "injected: the engine failed"}'
    return response


def _database_error(words: str) -> Exception:
    import sqlite3

    from sqlalchemy.exc import OperationalError

    return OperationalError("COMMIT", {}, sqlite3.OperationalError(words))
