"""The first process of a job's container, on this machine: what the gate asks to start the job server and what runs commands."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.hub.gate_house import House, eventually

# An image's own program under the name that job-init looks for. It takes a second to come up and shows what it is sent.
JOB_SERVER = """\
#!{python}
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
with open({starts!r}, "a") as file:
    file.write("start\\n")
time.sleep(1)
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.endswith("/die"):
            os._exit(1)
        body = json.dumps({{"target": self.path, "headers": dict(self.headers.items())}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *words):
        pass
HTTPServer(({ip!r}, 8888), Handler).serve_forever()
"""


@contextlib.contextmanager
def job_init(house: House, job: str, folder: Path, *, has_server: bool = True) -> Iterator[Path]:
    """The first process of the job's container, on this machine; gives the file with a line for each start."""
    programs, starts = folder / "bin", folder / "starts"
    programs.mkdir()
    starts.touch()
    if has_server:
        program = programs / "toolkit-job-server"
        program.write_text(JOB_SERVER.format(python=sys.executable, starts=str(starts), ip=house.ip))
        program.chmod(0o755)
    name = house.server_name(job)
    run = {
        "command": None,
        "workdir": "/",
        "secret": house.secret(name),
        "base_url": f"/user/alice/{name}/",
        "control_port": 8887,
        "lab_port": 8888,
        "stop_grace": 3,
        "prewarm": False,
        "job_server": str(programs / "toolkit-job-server"),
    }
    (folder / "run.json").write_text(json.dumps(run))
    (folder / "log").touch()
    command = [sys.executable, "-m", "toolkit_ext.job_init", str(folder / "run.json"), str(folder / "log")]
    environment = {**os.environ, "PATH": f"{programs}:/usr/bin:/bin", "HOME": str(folder)}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        eventually(lambda: listens(house.ip, 8887))
        yield starts
    finally:
        process.terminate()
        process.wait(15)


def listens(ip: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ip, port)) == 0
