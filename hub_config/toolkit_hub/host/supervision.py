"""supervisord for one site: its configuration, its start, and talking to it.

It restarts a unit that ends, keeps and rotates its log, and stops the units in order. Containers are children of the
engine, so nothing that is sent to a unit or to its process group reaches a job.
"""

from __future__ import annotations

import hashlib
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from toolkit_hub import clock
from toolkit_hub.configure import Toolkit
from toolkit_hub.host.processes import die_with_parent
from toolkit_hub.host.site import unit_environment
from toolkit_hub.host.steps import SetupError
from toolkit_hub.host.unit import END_SIGNALS, UNITS
from toolkit_hub.site_secrets import private_dir, write_private

__all__ = [
    "Supervisor",
    "UnitState",
    "control_socket",
    "log_file",
    "start_supervisor",
    "supervisor_config",
    "write_config",
]

#: A path of a unix socket has room for 107 bytes; supervisord adds its pid while it binds.
LONGEST_SOCKET_PATH = 95
#: Open files of a unit, where the machine allows: one for each connection and more.
OPEN_FILES = 65536
#: Seconds that a unit gets between its signal and SIGKILL.
STOP_WAIT_S = 15
START_TIMEOUT_S = 20.0

PROGRAM = """\
[program:{name}]
command={command}
directory={directory}
autostart=false
autorestart=true
startsecs=1
startretries=100
stopsignal={stop_signal}
stopwaitsecs={stop_wait}
; The unit ends its own children; what is left of its process group after the wait is killed with it.
stopasgroup=false
killasgroup=true
redirect_stderr=true
stdout_logfile={log}
stdout_logfile_maxbytes=10MB
stdout_logfile_backups=3
priority={priority}
"""

HEAD = """\
; Written at each start of `make run`.
[unix_http_server]
file={socket}
chmod=0700

[supervisord]
identifier=toolkit
nodaemon=true
silent=true
strip_ansi=true
user={user}
umask=022
minfds={open_files}
logfile={logs}/supervisord.log
logfile_maxbytes=5MB
logfile_backups=2
childlogdir={logs}
pidfile={folder}/supervisord.pid

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl=unix://{socket}

"""


@dataclass(frozen=True)
class UnitState:
    """What supervisord knows of a unit; `state` in its words: STOPPED, STARTING, RUNNING, BACKOFF, EXITED, FATAL …

    `pid` is 0 while there is no process.
    """

    name: str
    state: str
    pid: int


def log_file(site: Toolkit, unit: str) -> Path:
    return site.state / "logs" / f"{unit}.log"


def control_socket(site: Toolkit) -> Path:
    """Where supervisord listens: in the state folder, or in a private folder with a short name where that is too deep."""
    path = site.state / "supervisor" / "control.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(site.state)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"toolkit-{os.getuid()}-{name}" / "control.sock"


def _own_private_dir(path: Path) -> Path:
    """A folder of ours that nobody else may enter. Raises `SetupError` when another user made it first."""
    try:
        path.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        found = path.lstat()
        if path.is_symlink() or not path.is_dir() or found.st_uid != os.getuid():
            raise SetupError(f"{path} belongs to somebody else.", "Remove it, and start again.") from None
    return private_dir(path)


def supervisor_config(site: Toolkit, directory: Path) -> str:
    """supervisord's configuration. It holds no secret; the units read theirs from the state folder.

    `directory`: working folder of the units, so that a relative path in a setting means to them what it means here.
    """
    import pwd

    folder, logs = site.state / "supervisor", site.state / "logs"
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    head = HEAD.format(
        socket=_escape(control_socket(site)),
        folder=_escape(folder),
        logs=_escape(logs),
        user=pwd.getpwuid(os.getuid()).pw_name,
        open_files=OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard),
    )
    programs = [
        PROGRAM.format(
            name=name,
            command=_escape(shlex.join([sys.executable, "-P", "-m", "toolkit_hub.host.unit", name])),
            directory=_escape(directory),
            log=_escape(log_file(site, name)),
            stop_wait=STOP_WAIT_S,
            stop_signal=END_SIGNALS.get(name, signal.SIGTERM).name.removeprefix("SIG"),
            priority=10 * (index + 1),
        )
        for index, name in enumerate(UNITS)
    ]
    return head + "\n".join(programs)


def _escape(value: object) -> str:
    """supervisord expands %(name)s in each value."""
    return str(value).replace("%", "%%")


def write_config(site: Toolkit) -> Path:
    folder = private_dir(site.state / "supervisor")
    private_dir(site.state / "logs")
    _own_private_dir(control_socket(site).parent)
    path = folder / "supervisord.conf"
    write_private(path, supervisor_config(site, Path.cwd()))
    return path


def start_supervisor(site: Toolkit, lock: int) -> subprocess.Popen[bytes]:
    """Start supervisord without its units, and wait until it answers. Call it from the main thread.

    It has a session of its own, for Ctrl-C is for `make run` to handle, and ends with this process. It inherits the file
    descriptor `lock`, so that the site counts as running until the last unit has ended. Raises `SetupError`.
    """
    config = write_config(site)
    output = site.state / "logs" / "supervisord.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "supervisor.supervisord", "-n", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=unit_environment(site),
            start_new_session=True,
            pass_fds=(lock,),
            preexec_fn=die_with_parent,
        )
    supervisor = Supervisor(site)
    deadline = clock.monotonic() + START_TIMEOUT_S
    while not supervisor.answers():
        if process.poll() is not None or clock.monotonic() > deadline:
            process.terminate()
            tail = output.read_text(errors="replace").splitlines()[-20:]
            raise SetupError("The process manager (supervisord) did not start.", f"Its log: {output}", tail)
        time.sleep(0.05)
    return process


class Supervisor:
    """The supervisord of a running site. Calls raise `SetupError` when none runs, or when it refuses."""

    def __init__(self, site: Toolkit) -> None:
        self._socket = control_socket(site)

    def answers(self) -> bool:
        try:
            self._call("getState")
        except SetupError:
            return False
        return True

    def start(self, unit: str) -> None:
        """Have a unit started, without waiting for it; nothing happens when it runs already."""
        self._call("startProcess", unit, False, tolerate="ALREADY_STARTED")

    def stop(self, unit: str) -> None:
        """Stop a unit and wait until it has ended; nothing happens when it does not run."""
        self._call("stopProcess", unit, True, tolerate="NOT_RUNNING")

    def signal(self, unit: str, number: signal.Signals) -> None:
        """Send a unit a signal. Refused when it does not run."""
        self._call("signalProcess", unit, number.name)

    def states(self) -> dict[str, UnitState]:
        found = self._call("getAllProcessInfo")
        return {item["name"]: UnitState(item["name"], item["statename"], int(item["pid"])) for item in found}

    def _call(self, method: str, *arguments: Any, tolerate: str = "") -> Any:
        # The address is not used: the transport connects to the socket.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        server = ServerProxy("http://127.0.0.1", transport=transport)
        try:
            return getattr(server.supervisor, method)(*arguments)
        except Fault as fault:
            if tolerate and fault.faultString.startswith(tolerate):
                return None
            raise SetupError(f"The process manager refuses: {fault.faultString}.", "") from fault
        except (OSError, HTTPException) as error:
            raise SetupError(
                "No units run for this state folder.", "Start them with `make run`; TOOLKIT_STATE names another folder."
            ) from error
        finally:
            transport.close()
