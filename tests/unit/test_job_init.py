"""PID 1's program, run as an ordinary process of this machine (what only a real PID 1 can show is in tests/docker)."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit_ext.job_init.log import Log
from toolkit_ext.job_init.run_file import parse_json

DEADLINE_S = 20.0
SECRET = "the-run-secret"


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {DEADLINE_S:.0f} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Started:
    """One job-init with its run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_path = folder / "log"
        self.log_path.touch()
        self.control_port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(
        self, command: list[str] | None, *, env: dict[str, str] | None = None, log: str | None = None, **fields: Any
    ) -> Started:
        run = {
            "command": command, "workdir": "/", "secret": SECRET, "base_url": "/user/joe/jx/", "lab_port": free_port(),
            "control_port": self.control_port, "stop_grace": 10, "prewarm": False,
            "job_server": str(self.folder / "bin" / "toolkit-job-server"),
        }  # fmt: skip
        (self.folder / "run.json").write_text(json.dumps(run | fields))
        path = str(self.folder / "run.json")
        with (self.folder / "stdout").open("wb") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "toolkit_ext.job_init", path, log or str(self.log_path)],
                env=dict(os.environ) if env is None else env,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        return self

    def shell(self, script: str, **fields: Any) -> Started:
        return self.start(["sh", "-c", script], **fields)

    @property
    def live(self) -> subprocess.Popen[bytes]:
        assert self.process is not None
        return self.process

    def code(self) -> int:
        return self.live.wait(DEADLINE_S)

    def log(self) -> bytes:
        return self.log_path.read_bytes()

    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def wait_log(self, text: bytes) -> None:
        wait_for(f"{text!r} in the log", lambda: text in self.log())

    def fifo(self, name: str) -> Path:
        """A named pipe: a command that reads it waits until the test writes."""
        path = self.folder / name
        os.mkfifo(path)
        return path

    def ask(self, line: bytes) -> dict[str, str]:
        with wait_for("the control port", self.connect) as connection:
            connection.sendall(line)
            return json.loads(connection.makefile("rb").readline())  # type: ignore[no-any-return]

    def ask_server(self, secret: str = SECRET) -> dict[str, str]:
        return self.ask(json.dumps({"secret": secret, "do": "start-job-server"}).encode() + b"\n")

    def connect(self) -> socket.socket | None:
        try:
            return socket.create_connection(("127.0.0.1", self.control_port), DEADLINE_S)
        except ConnectionRefusedError:
            return None


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Started]:
    started = Started(tmp_path)
    yield started
    if started.process is not None and started.process.poll() is None:
        started.process.terminate()
        try:
            started.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            started.process.kill()
            started.process.wait()


# --- the command ------------------------------------------------------------------------------------------------------


def test_exit_code_and_output_of_both_streams_in_order(job: Started) -> None:
    assert job.shell("echo one; echo two >&2; echo three; exit 3").code() == 3
    assert job.log() == b"one\ntwo\nthree\n"


def test_output_is_there_at_once_and_as_raw_bytes(job: Started) -> None:
    go = job.fifo("go")
    job.shell(f"printf 'no newline \\377\\000'; read x < {go}; echo; echo end")
    job.wait_log(b"no newline \xff\x00")
    assert job.live.poll() is None
    go.write_text("x\n")
    assert job.code() == 0
    assert job.log() == b"no newline \xff\x00\nend\n"


def test_much_output_is_complete(job: Started) -> None:
    program = "import sys\nfor i in range(300000): sys.stdout.write(f'{i:040d}\\n')"
    assert job.start([sys.executable, "-c", program]).code() == 0
    expected = hashlib.sha256(b"".join(f"{i:040d}\n".encode() for i in range(300000))).hexdigest()
    assert hashlib.sha256(job.log()).hexdigest() == expected


def test_environment_is_the_containers_own(job: Started) -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": "", "ODD": "a=b\tä", "EMPTY": "", "LD_LIBRARY_PATH": "/nowhere"}
    assert job.start([sys.executable, "-c", "print(open('/proc/self/environ').read())"], env=env).code() == 0
    seen = dict(item.split("=", 1) for item in job.log().decode().strip().split("\0") if item)
    assert seen == env


def test_the_command_finds_a_clean_process(job: Started) -> None:
    signals = "grep -E '^Sig(Ign|Blk)' /proc/self/status"
    descriptors = "readlink /proc/self/fd/0; ls /proc/self/fd | tr '\\n' ' '"
    assert job.shell(f"{signals}; {descriptors}; ps -o sid= -p $$; echo $$").code() == 0
    lines = job.log().decode().splitlines()
    of_libc = 0x180000000  # signals 32 and 33, which no program can name
    assert [int(line.split()[1], 16) & ~of_libc for line in lines[:2]] == [0, 0]  # none blocked, none ignored
    assert lines[2] == "/dev/null"
    numbers, session = lines[3].rsplit(" ", 1)
    assert numbers.split()[:3] == ["0", "1", "2"]
    assert len(numbers.split()) == 4  # and the one that `ls` itself opened
    assert session.strip() == lines[4]


def test_working_directory(job: Started, tmp_path: Path) -> None:
    assert job.shell("pwd", workdir=str(tmp_path)).code() == 0
    assert job.log().decode().strip() == str(tmp_path)


def test_signal_that_ended_the_command(job: Started) -> None:
    assert job.shell("kill -9 $$").code() == 137


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["no-such-program"], 127, "cannot run 'no-such-program': no such file or directory in the image (PATH=/"),
        (["/no/such/program"], 127, "cannot run '/no/such/program': no such file or directory in the image"),
        (["./closed"], 126, "not executable"),
        (["./no-magic"], 126, "no program for this machine"),
        (["./no-interpreter"], 127, "the interpreter or loader that it names is not in the image"),
        (["true", "x" * 200_000], 126, "arguments and environment are too long (2 words, 200004 characters)"),
        (["true", "nul\0byte"], 126, "null"),
        ([], 127, "empty command"),
        ([""], 127, "empty command"),
    ],
)
def test_commands_that_cannot_start(job: Started, command: list[str], code: int, words: str) -> None:
    for name, text, mode in (
        ("closed", "#!/bin/sh\n", 0o644), ("no-magic", "echo x\n", 0o755), ("no-interpreter", "#!/no/such/sh\n", 0o755)
    ):  # fmt: skip
        (job.folder / name).write_text(text)
        (job.folder / name).chmod(mode)
    assert job.start(command, workdir=str(job.folder)).code() == code
    log = job.log().decode()
    assert log.startswith("toolkit: cannot run ")
    assert words in log


def test_missing_working_directory(job: Started) -> None:
    assert job.shell("echo x", workdir="/no/such/folder").code() == 126
    assert job.log() == b"toolkit: cannot run 'sh': its working directory '/no/such/folder' is not in the image\n"


def test_grandchildren_that_hold_the_pipe_do_not_keep_the_run(job: Started) -> None:
    begin = time.monotonic()
    assert job.shell("sleep 300 & echo $!; exit 4").code() == 4
    assert time.monotonic() - begin < DEADLINE_S / 2
    os.kill(int(job.log()), signal.SIGKILL)


def test_a_command_that_closes_its_output_goes_on(job: Started) -> None:
    go, done = job.fifo("go"), job.folder / "done"
    job.shell(f"exec > /dev/null 2>&1; read x < {go}; touch {done}; exit 6")
    go.write_text("x\n")
    assert job.code() == 6
    assert done.exists()


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signals_reach_the_whole_process_group(job: Started, number: signal.Signals) -> None:
    name = number.name.removeprefix("SIG")
    job.start(
        [
            "bash",
            "-c",
            f"(trap 'echo child; exit' {name}; echo up; while :; do sleep 0.05; done) & trap 'wait; exit 5' {name}; wait; wait",
        ]
    )
    job.wait_log(b"up\n")
    job.live.send_signal(number)
    assert job.code() == 5
    assert b"child\n" in job.log()


def test_what_ignores_the_stop_is_killed_before_the_engines_deadline(job: Started) -> None:
    job.shell("trap '' TERM; echo up; while :; do sleep 0.05; done", stop_grace=4)
    job.wait_log(b"up\n")
    begin = time.monotonic()
    job.live.terminate()
    assert job.code() == 137
    assert 1.5 < time.monotonic() - begin < 4


def test_user_signals_are_only_passed_on(job: Started) -> None:
    job.start(["bash", "-c", "trap 'echo usr1' USR1; trap 'exit 9' HUP; echo up; while :; do sleep 0.05; done"])
    job.wait_log(b"up\n")
    job.live.send_signal(signal.SIGUSR1)
    job.wait_log(b"usr1\n")
    job.live.send_signal(signal.SIGHUP)
    assert job.code() == 9


def test_without_a_command_it_lives_until_it_is_stopped(job: Started) -> None:
    job.start(None)
    assert job.ask(b"nonsense\n")["state"] == "refused"
    job.live.terminate()
    assert job.code() == 0


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_full_disk_costs_output_and_not_the_job(job: Started) -> None:
    assert job.shell("echo lost; exit 3", log="/dev/full").code() == 3
    assert "5 bytes of output were lost: No space left on device" in job.stdout()


def test_output_goes_on_when_there_is_room_again(job: Started) -> None:
    first, second = job.fifo("first"), job.fifo("second")
    job.shell(f"read x < {first}; head -c 5000 /dev/zero | tr '\\0' a; read x < {second}; echo after")
    wait_for("job-init", lambda: job.connect() is not None)
    resource.prlimit(job.live.pid, resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    first.write_text("x\n")
    job.wait_log(b"a" * 1000)
    resource.prlimit(job.live.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    second.write_text("x\n")
    assert job.code() == 0
    assert job.log() == b"a" * 1000 + b"\ntoolkit: 4000 bytes of output were lost here: File too large\nafter\n"


def test_without_a_log_file_the_engines_log_gets_the_output(job: Started, tmp_path: Path) -> None:
    assert job.shell("echo hello; exit 2", log=str(tmp_path / "missing")).code() == 2
    assert "hello\n" in job.stdout()
    assert not (tmp_path / "missing").exists()


def test_the_log_is_no_link_to_elsewhere(job: Started, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert job.shell("echo hello", log=str(tmp_path / "link")).code() == 0
    assert (tmp_path / "target").read_bytes() == b""


def test_notes_begin_on_a_line_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    log = Log(str(path))
    log.write(b"unfinished")
    log.note("said by the toolkit")
    log.write(b"next\n")
    assert path.read_text() == "unfinished\ntoolkit: said by the toolkit\nnext\n"


# --- the run's file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"command": ["true"]}', '{"command": "true"}'])
def test_unreadable_run_file(job: Started, text: str | None) -> None:
    path = job.folder / "other.json"
    if text is not None:
        path.write_text(text)
    command = [sys.executable, "-m", "toolkit_ext.job_init", str(path), str(job.log_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert done.returncode == 125
    assert "cannot use" in done.stdout
    assert b"tell the site's administrator" in job.log()


def test_json_is_read_as_json() -> None:
    value = {"a": ["é😀\n\\/", None, True, 1, -2.5, {"b": []}]}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value, indent=1, ensure_ascii=False) + "\n") == value


# --- the control port and the job server ------------------------------------------------------------------------------

#: Stands in for the job server: writes down what it was given, then listens as the real one does.
SERVER = """#!{python}
import json, os, signal, socket, sys, time
folder = {folder!r}
note = dict(args=sys.argv[1:], secret=os.environ.get("TOOLKIT_RUN_SECRET"), cwd=os.getcwd(), pid=os.getpid())
open(folder + "/server.json.new", "w").write(json.dumps(note))
os.rename(folder + "/server.json.new", folder + "/server.json")
print("words of the job server", flush=True)
if os.path.exists(folder + "/crash"):
    sys.exit(3)
def stop(*_):
    open(folder + "/stopped", "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("0.0.0.0", int(sys.argv[-1])))
listener.listen()
while True:
    time.sleep(60)
"""


@pytest.fixture
def server_env(tmp_path: Path) -> dict[str, str]:
    """An environment for a job, and a job server where `Started` says that it is."""
    program = tmp_path / "bin" / "toolkit-job-server"
    program.parent.mkdir()
    program.write_text(SERVER.format(python=sys.executable, folder=str(tmp_path)))
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}


def note_of_server(job: Started) -> dict[str, Any]:
    path = job.folder / "server.json"
    wait_for("the job server", path.exists)
    return json.loads(path.read_text())  # type: ignore[no-any-return]


def test_no_job_server_without_a_request(job: Started, server_env: dict[str, str]) -> None:
    assert job.shell("env", env=server_env).code() == 0
    assert not (job.folder / "server.json").exists()
    assert b"TOOLKIT_RUN_SECRET" not in job.log()


def test_job_server_from_start_to_end(job: Started, server_env: dict[str, str]) -> None:
    go = job.fifo("go")
    job.shell(f"read x < {go}", env=server_env)
    assert job.ask_server()["state"] in ("starting", "running")
    wait_for("running", lambda: job.ask_server() == {"state": "running", "reason": ""})
    note = note_of_server(job)
    run = json.loads((job.folder / "run.json").read_text())
    assert note["args"] == ["--base-url", "/user/joe/jx/", "--port", str(run["lab_port"])]
    assert note["secret"] == SECRET
    assert note["cwd"] == server_env["HOME"]
    assert SECRET.encode() not in Path(f"/proc/{note['pid']}/cmdline").read_bytes()
    go.write_text("x\n")
    assert job.code() == 0
    assert (job.folder / "stopped").exists()
    assert "words of the job server" in job.stdout()
    assert b"words" not in job.log()


def test_prewarmed_job_server(job: Started, server_env: dict[str, str]) -> None:
    job.start(None, env=server_env, prewarm=True)
    note_of_server(job)
    wait_for("running", lambda: job.ask_server()["state"] == "running")
    job.live.terminate()
    assert job.code() == 0
    assert (job.folder / "stopped").exists()


def test_a_crash_of_the_job_server_leaves_the_command_alone(job: Started, server_env: dict[str, str]) -> None:
    (job.folder / "crash").touch()
    go = job.fifo("go")
    job.shell(f"read x < {go}; echo unharmed", env=server_env)
    job.ask_server()
    answer = wait_for("the end of the job server", lambda: (a := job.ask_server())["state"] == "unavailable" and a)
    assert "the job server ended with exit code 3; it is started again in" in answer["reason"]
    (job.folder / "crash").unlink()
    wait_for("a second start", lambda: job.ask_server()["state"] == "running")
    go.write_text("x\n")
    assert job.code() == 0
    assert job.log() == b"unharmed\n"


def test_a_runtime_without_job_server(job: Started) -> None:
    job.start(None, env={"PATH": "/usr/bin:/bin"})
    answer = job.ask_server()
    assert answer["state"] == "unavailable"
    assert "has no " in answer["reason"]
    assert "make runtime" in answer["reason"]


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"no json\n", b"[]\n", b"{}\n", b"\xff\xfe\n", b"[" * 3000 + b"\n", b"x" * 5000,
        b'{"secret": "wrong", "do": "start-job-server"}\n', b'{"secret": 5, "do": "start-job-server"}\n',
        b'{"secret": "\\ud800", "do": "start-job-server"}\n', b'{"secret": "the-run-secret", "do": "anything"}\n',
    ],
)  # fmt: skip
def test_refused_requests(job: Started, server_env: dict[str, str], line: bytes) -> None:
    job.start(None, env=server_env)
    assert job.ask(line)["state"] == "refused"
    assert not (job.folder / "server.json").exists()
    assert job.live.poll() is None


def test_slow_clients_hold_nothing_up(job: Started) -> None:
    go = job.fifo("go")
    job.shell(f"read x < {go}; echo after", env={"PATH": "/usr/bin:/bin"})
    wait_for("the control port", job.connect).close()
    idle = [wait_for("the control port", job.connect) for _ in range(20)]
    for connection in idle:
        connection.sendall(b"{")
    assert job.ask_server()["state"] == "unavailable"
    go.write_text("x\n")
    assert job.code() == 0
    for connection in idle:
        connection.close()
