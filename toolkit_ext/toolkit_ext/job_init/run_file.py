"""What is to be run: the file that the spawner writes for each run."""

from __future__ import annotations

import _json

__all__ = ["BadRunFile", "Run", "read_run"]

#: Of the runtime folder, so it is in any image.
JOB_SERVER = "/opt/toolkit/libexec/toolkit-job-server"


class BadRunFile(Exception):
    """The run's file is missing or is not what the spawner writes."""


class Run:
    """What is to be run, as the spawner wrote it."""

    def __init__(self, fields: dict[str, object]) -> None:
        command = fields["command"]
        self.command = None if command is None else [str(word) for word in _list(command)]
        self.workdir = str(fields.get("workdir") or "/")
        self.secret = str(fields["secret"])
        # Variables for the command and all that runs beside it, which the engine is not told of.
        self.environment = {
            str(name).encode(): str(value).encode() for name, value in _dict(fields.get("environment", {})).items()
        }
        self.base_url = str(fields["base_url"])
        self.control_port = _number(fields["control_port"])
        self.lab_port = _number(fields["lab_port"])
        self.exec_port = _number(fields.get("exec_port", 8886))
        self.stop_grace = _number(fields["stop_grace"])
        self.job_server = str(fields.get("job_server", JOB_SERVER))
        self.prewarm = bool(fields.get("prewarm", False))
        # Bytes of the log's head and of each segment of its tail; without them everything goes into the head.
        self.log_shares: tuple[int, int] | None = None
        if "log_head" in fields:
            self.log_shares = (max(1, _number(fields["log_head"])), max(1, _number(fields.get("log_segment"))))


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value


def _dict(value: object) -> dict[object, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is not an object")
    return value


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is not a list")
    return value


class _JsonOptions:
    """What the compiled JSON scanner asks its maker for; `json` itself would cost more than the rest of the start."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}


def parse_json(text: str) -> object:
    """Raises `ValueError`."""
    try:
        value, _ = _json.make_scanner(_JsonOptions())(text.strip(), 0)  # type: ignore[arg-type]
    except (StopIteration, SystemError) as error:
        raise ValueError("not JSON") from error
    return value


def read_run(path: str) -> Run:
    """Raises `BadRunFile`."""
    try:
        with open(path, encoding="utf-8") as file:
            fields = parse_json(file.read())
        if not isinstance(fields, dict):
            raise TypeError("not an object")
        return Run(fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadRunFile(f"cannot use {path}: {error!r}") from error
