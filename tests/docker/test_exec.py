"""Commands in a running container, by their protocol: nothing is lost, doubled or in the way, whatever becomes of the client.

Here the gate's part is played by a connection that says its line; with the gate: tests/hub/test_exec.py.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.docker.exec_door import EXEC_PORT, Door, Relay, Slow, Typing
from tests.docker.run_container import SECRET, RunContainer, wait_for
from toolkit_client.exec.channel import Channel
from toolkit_client.exec.session import CommandSession, OutputGone
from toolkit_ext.job_init.exec_frames import STDOUT

pytestmark = pytest.mark.engine

MIB = 2**20


@pytest.fixture(scope="module")
def door(runtime_folder: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    run = RunContainer((runtime_folder / "current").resolve(), tmp_path_factory.mktemp("exec") / "run")
    try:
        yield Door(run.start(["sleep", "infinity"], env={"COLOUR": "green"}))
    finally:
        run.remove()


def memory_of(run: RunContainer) -> int:
    """Bytes that the container's processes hold."""
    pages = 0
    for line in run._client.top(run.id, ps_args="-eo pid,rss")["Processes"]:
        pages += int(line[-1])
    return pages * 1024


# --- what it is to run a command ----------------------------------------------------------------------------------------


def test_output_errors_and_code_are_apart(door: Door) -> None:
    code, out, err, reason = door("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (code, out, err, reason) == (7, b"out\n", b"err\n", "")


def test_it_has_the_jobs_environment_and_what_is_added(door: Door) -> None:
    _, out, _, _ = door("sh", "-c", "pwd; echo $COLOUR $MORE; id -u", variables=[b"MORE=much=more"])
    assert out == b"/home/toolkit\ngreen much=more\n13011\n"
    assert door("pwd", folder="/usr")[1] == b"/usr\n"
    _, out, _, _ = door("env", variables=[b"PATH=/usr/bin", b"COLOUR=red"])
    assert b"PATH=/usr/bin\n" in out
    assert b"COLOUR=red\n" in out
    assert b"SECRET" not in out


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["no-such-command"], 127, "no such file or directory in the image"),
        (["/no/such/command"], 127, "no such file or directory"),
        (["/etc/passwd"], 126, "not executable"),
        (["/usr"], 126, "not executable"),
        ([""], 127, "empty command"),
        (["sh", "-c", "kill -9 $$"], 137, ""),
        (["sh", "-c", "kill -TERM $$"], 143, ""),
        (["sh", "-c", "exit 255"], 255, ""),
    ],
)
def test_exit_codes(door: Door, words: list[str], code: int, reason: str) -> None:
    found, _, _, why = door(*words)
    assert found == code
    assert reason in why


def test_a_folder_that_is_not_there(door: Door) -> None:
    code, _, _, why = door("true", folder="/nowhere")
    assert code == 126
    assert "/nowhere" in why


def test_input_is_passed_and_ends(door: Door) -> None:
    content = bytes(range(256)) * 1000
    code, out, _, _ = door("sha256sum", stdin=content)
    assert (code, out.split()[0].decode()) == (0, hashlib.sha256(content).hexdigest())
    # One that does not read it is not waited for.
    assert door("true", stdin=bytes(10 * MIB))[0] == 0
    assert door("sh", "-c", "exec <&-; sleep 0.3", stdin=bytes(10 * MIB))[0] == 0
    assert door("head", "-c", "3", stdin=b"abc" * MIB)[1] == b"abc"


def test_64_mib_both_ways_are_unharmed(door: Door) -> None:
    content = random.Random(1).randbytes(64 * MIB)
    code, out, err, _ = door("cat", stdin=content)
    assert (code, err, len(out)) == (0, b"", len(content))
    assert hashlib.sha256(out).digest() == hashlib.sha256(content).digest()


def test_words_of_128_kib_and_2_mib_in_all(door: Door) -> None:
    word = b"\xff\xfe\n" + b"x" * (128 * 1024 - 1 - 3)
    count = 14
    script = "import sys, hashlib; print(hashlib.sha256('|'.join(sys.argv[1:]).encode(errors='surrogateescape')).hexdigest())"
    _, out, err, _ = door("python3", "-c", script, *[word] * count)
    assert (out.strip().decode(), err) == (hashlib.sha256(b"|".join([word] * count)).hexdigest(), b"")
    code, _, _, why = door("true", word + b"x")
    assert code == 126
    assert "too long" in why
    code, _, _, why = door("true", *[word] * 20)
    assert code == 126
    assert "too long" in why


def test_what_stays_behind_with_the_pipes_holds_nothing_up(door: Door) -> None:
    began = time.monotonic()
    code, out, _, _ = door("sh", "-c", "sleep 60 & echo started")
    assert (code, out) == (0, b"started\n")
    assert door("sh", "-c", "sleep 60 & echo started", terminal=(24, 80))[1] == b"started\r\n"
    assert time.monotonic() - began < 5


def test_a_hundred_at_once_and_a_thousand_one_after_the_other(door: Door) -> None:
    def one(number: int) -> bool:
        code, out, _, _ = door("sh", "-c", f"cat; sleep 0.5; exit {number % 200}", stdin=str(number).encode())
        return (code, out) == (number % 200, str(number).encode())

    with ThreadPoolExecutor(100) as pool:
        assert all(pool.map(one, range(100)))
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: door("true")[0], range(1000)))
    assert not [line for line in door.run.processes() if "true" in line or "defunct" in line]


# --- terminals and signals ----------------------------------------------------------------------------------------------


def test_a_terminal_has_a_size_and_is_the_commands_own(door: Door) -> None:
    script = "tty >/dev/null && stty size && ps -o tty= -p $$ | grep -q pts && echo yes"
    code, out, _, _ = door("sh", "-c", script, terminal=(33, 111))
    assert (code, out) == (0, b"33 111\r\nyes\r\n")
    assert door("sh", "-c", "tty", stdin=b"")[0] == 1


def test_resize_ctrl_c_and_ctrl_d(door: Door) -> None:
    box: list[CommandSession] = []

    def resize() -> bytes:
        box[0].resize(50, 200)
        return b""

    typing = Typing(
        (b"ready", resize), (b"50 200", lambda: b"\x03"), (b"INT", lambda: b"text\n"), (b"got text", lambda: b"\x04")
    )
    script = """
import os, signal, sys
def resized(*_):
    size = os.get_terminal_size()
    os.write(1, f"{size.lines} {size.columns}\\n".encode())
signal.signal(signal.SIGWINCH, resized)
signal.signal(signal.SIGINT, lambda *_: os.write(1, b"INT\\n"))
print("ready", flush=True)
for line in sys.stdin: print("got", line.strip(), flush=True)
print("over")
"""
    box.append(door.session("python3", "-c", script, streams=typing, terminal=(24, 80)))
    assert box[0].run()[0] == 0
    assert bytes(typing.outputs[STDOUT]).endswith(b"over\r\n")


def test_signals_reach_the_commands_group(door: Door) -> None:
    box: list[CommandSession] = []

    def kill() -> bytes:
        box[0].signal(signal.SIGTERM)
        return b""

    typing = Typing((b"ready", kill))
    box.append(door.session("sh", "-c", "sleep 100 & trap 'echo bye; exit 5' TERM; echo ready; wait", streams=typing))
    assert box[0].run()[0] == 5
    assert bytes(typing.outputs[STDOUT]) == b"ready\nbye\n"


# --- clients that are slow, break off, or go ------------------------------------------------------------------------------


def test_who_does_not_read_stops_the_program_and_fills_no_memory(door: Door) -> None:
    before = memory_of(door.run)
    slow = [Slow() for _ in range(4)]
    sessions = [door.session("head", "-c", str(64 * MIB), "/dev/zero", streams=each) for each in slow]
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(session.run) for session in sessions]
        time.sleep(3)
        assert memory_of(door.run) - before < 32 * MIB
        assert len([line for line in door.run.processes() if line.startswith("head")]) == 4
        for each in slow:
            each.go.set()
            os.write(each.writer, b"x")
        assert [run.result(60)[0] for run in runs] == [0] * 4
    assert [len(each.outputs[STDOUT]) for each in slow] == [64 * MIB] * 4


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost connections are tried again at once."""
    monkeypatch.setattr("toolkit_client.exec.session.PAUSES", (0.01,))
    monkeypatch.setattr("toolkit_client.exec.session.MOST_TRIES", 60)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("seed", range(3))
def test_a_connection_cut_at_random_bytes_loses_and_doubles_nothing(door: Door, seed: int) -> None:
    random_ = random.Random(seed)
    relay = Relay((door.ip, EXEC_PORT), 50, random_)
    content = random_.randbytes(12 * MIB)
    script = (
        "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer); "
        "print('end', file=sys.stderr); sys.exit(9)"
    )
    code, out, err, _ = door("python3", "-c", script, stdin=content, opener=lambda: door.open(relay.address))
    assert (code, err) == (9, b"end\n")
    assert hashlib.sha256(out).digest() == hashlib.sha256(content).digest()
    assert relay.cuts <= 0, "the command was over before all cuts were made"


@pytest.mark.usefixtures("soon")
def test_a_command_is_started_once_however_often_its_start_is_sent(door: Door) -> None:
    for cut in range(1, 400, 13):

        class Once(random.Random):
            def choice(self, of: Sequence[Any], cut: int = cut) -> Any:
                return cut

        relay = Relay((door.ip, EXEC_PORT), 3, Once())
        code, out, _, _ = door("sh", "-c", "echo $$", opener=lambda relay=relay: door.open(relay.address))  # type: ignore[misc]
        assert code == 0
        assert len(out.split()) == 1


def converse(session: CommandSession, channel: Channel) -> threading.Thread:
    """One connection of a session, in a thread, until it breaks."""

    def run() -> None:
        with contextlib.suppress(OSError, OutputGone):
            session._converse(channel)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def hello_and_go(door: Door, *words: str, keep: float | None) -> None:
    """A client that starts a command and is gone at its first output."""
    slow = Slow()
    session = door.session(*words, streams=slow, keep=keep)
    channel = door.open()
    converse(session, channel)
    wait_for("the command", lambda: [line for line in door.run.processes() if words[-1] in line])
    channel._connection.shutdown(socket.SHUT_RDWR)


def test_a_command_whose_client_is_gone_for_good_is_ended(door: Door) -> None:
    def runs(mark: str) -> bool:
        return bool([line for line in door.run.processes() if mark in line])

    hello_and_go(door, "sh", "-c", "sleep 1111; true", keep=1.0)
    hello_and_go(door, "sh", "-c", "trap '' HUP; sleep 2222; true", keep=1.0)
    hello_and_go(door, "sh", "-c", "sleep 3333; true", keep=None)
    wait_for("SIGHUP", lambda: not runs("1111"), 5)
    assert runs("2222")
    wait_for("SIGKILL", lambda: not runs("2222"), 15)
    assert runs("3333")
    door("pkill", "-f", "sleep 3333")


def test_who_has_not_the_secret_gets_nothing(door: Door) -> None:
    for secret in ("", "wrong", SECRET + "x"):
        with door.dial(secret=secret) as connection:
            assert connection.recv(100) == b""
    for junk in (b"\n", b"{}\n", b"GET / HTTP/1.1\r\n\r\n", b"[" * 5000, os.urandom(5000)):
        with socket.create_connection((door.ip, EXEC_PORT), 5) as connection:
            connection.sendall(junk)
            connection.settimeout(5)
            with contextlib.suppress(ConnectionResetError):
                assert connection.recv(100) == b""
    assert door("true")[0] == 0


def test_nobody_takes_over_anothers_session(door: Door) -> None:
    slow = Slow()
    session = door.session("sh", "-c", "yes", streams=slow)
    channel = door.open()
    converse(session, channel)
    wait_for("the command", lambda: session._welcomed)
    thief = Door(door.run, "eve")
    stolen = thief.session("true")
    stolen._name = session._name
    with pytest.raises(Exception, match="no more"):
        stolen.run()
    session.leave()
    os.write(slow.writer, b"x")


# --- ports ----------------------------------------------------------------------------------------------------------------


def test_a_port_on_loopback_with_half_close(door: Door) -> None:
    script = (
        "import socket; s = socket.create_server(('127.0.0.1', 7001)); print('up', flush=True)\n"
        "while True:\n c, _ = s.accept(); d = b''\n while p := c.recv(65536): d += p\n c.sendall(d[::-1]); c.close()"
    )
    threading.Thread(target=lambda: door("python3", "-c", script), daemon=True).start()

    def connected() -> socket.socket | None:
        connection = door.dial(7001)
        line = connection.recv(3)
        return connection if line == b"ok\n" else None

    with wait_for("the server", connected) as connection:
        data = os.urandom(3 * MIB)
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        back = b""
        while piece := connection.recv(65536):
            back += piece
    assert back == data[::-1]


def test_a_port_where_nothing_listens(door: Door) -> None:
    with door.dial(7999) as connection:
        assert connection.recv(100) == b"refused: Connection refused\n"


# --- images -----------------------------------------------------------------------------------------------------------------


def test_an_image_with_nothing_but_busybox(start_run: Callable[..., RunContainer], scratch_image: str) -> None:
    run = start_run(["/bin/busybox", "sleep", "600"], image=scratch_image, workdir="/")
    door = Door(run)
    assert door("/bin/busybox", "echo", "hello")[1] == b"hello\n"
    assert door("cat", stdin=b"x" * MIB)[1] == b"x" * MIB
    assert door("stty", "size", terminal=(10, 20))[1] == b"10 20\r\n"
    assert door("bash")[0] == 127


def test_it_is_started_again_when_it_has_died(start_run: Callable[..., RunContainer]) -> None:
    run = start_run(["sleep", "600"])
    door = Door(run)
    assert door("true")[0] == 0
    victim = door("sh", "-c", "echo $PPID")[1].decode().strip()
    run.exec("sh", "-c", f"kill -9 {victim}")
    wait_for("its restart", lambda: run.ask_server("start-exec")["state"] == "running")
    wait_for("its answer", lambda: Door(run)("true")[0] == 0)
    assert run.state()["Running"]
