"""`toolkit data push|pull|content` and `vfolder`, in this process, with a real gate at the other end.

Where that is, the site's service tells; here a server that knows only this stands for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hub.gate_house import House
from tests.unit.canned_service import TOKEN, Service, running_service
from tests.unit.cli.conftest import Cli, process
from toolkit_client.access_models import DataHostAddress, NewData
from toolkit_hub.domain.data import create_data


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"), recheck_s=5)
    scopes = ["access:servers!user=alice", "access:services!service=toolkit"]
    made.hub.tokens[TOKEN] = {"kind": "user", "name": "alice", "scopes": scopes}
    yield made
    made.stop()


@pytest.fixture
def service(house: House) -> Iterator[Service]:
    with running_service() as running:
        running.answers["GET", "/transfer"] = DataHostAddress(url=house.site.data_url)
        yield running


@pytest.fixture
def cli(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> Cli:
    for name in ("TOOLKIT_PROFILE", "TOOLKIT_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("TOOLKIT_URL", service.url)
    monkeypatch.setenv("TOOLKIT_TOKEN", TOKEN)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Cli(capsysbinary, monkeypatch)


@pytest.fixture
def images(house: House, request: pytest.FixtureRequest) -> str:
    """The name of data of its own for each test."""
    name = f"images-{abs(hash(request.node.name)) % 10**9}"
    with house.store.begin() as session:
        create_data(session, house.actor(session, "alice"), NewData(name=name))
    return name


@pytest.fixture
def photos(cli: Cli) -> Path:
    """A folder `photos`, as the how-to has it."""
    root = Path("photos")
    for name in (".DS_Store", "AAA/one 2019.txt", "AAA/two.txt", "BBB/.DS_Store", "BBB/BBB-1/.DS_Store"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def test_push_list_and_remove(cli: Cli, images: str, photos: Path) -> None:
    cli("data", "push", images, "photos")
    assert cli.err.startswith("pushed 5 files, 68 B in ")
    assert cli("data", "content", "ls", images).splitlines() == [
        "name                status",
        ".DS_Store           new",
        "AAA                 new",
        "AAA/one 2019.txt    new",
        "AAA/two.txt         new",
        "BBB                 new",
        "BBB/.DS_Store       new",
        "BBB/BBB-1           new",
        "BBB/BBB-1/.DS_Store new",
    ]
    cli("data", "push", images, "photos")
    assert cli.err.startswith("pushed 0 files, 0 B in ")
    assert cli.err.endswith("; 5 unchanged\n")
    cli("data", "content", "rm", images, "AAA", "none", code=5)
    cli("data", "content", "rm", images, "AAA")
    assert cli.err == "removed 3 files and folders\n"
    assert cli("data", "content", "ls", images, "--no-header", "--field", "name").split() == [
        ".DS_Store", "BBB", "BBB/.DS_Store", "BBB/BBB-1", "BBB/BBB-1/.DS_Store",
    ]  # fmt: skip
    cli("data", "content", "rm", images, ".")
    assert cli("data", "content", "ls", images) == "name status\n"


def test_listings_in_all_forms(cli: Cli, images: str, photos: Path) -> None:
    (photos / "link").symlink_to("AAA/two.txt")
    (photos / "new\nline\x1b").write_text("x")
    os.utime(photos / "AAA" / "two.txt", (1e9, 1e9))
    cli("data", "push", images, "photos")
    fields = "name,status,kind,size,mtime,mode,target"
    (row,) = cli("data", "content", "ls", images, "AAA/two.txt", "--fields", fields, "--no-header").splitlines()
    assert row.split() == ["AAA/two.txt", "new", "file", "11", "2001-09-09T01:46:40Z", "0644", "-"]
    rows = [json.loads(line) for line in cli("data", "content", "ls", images, "--format", "json").splitlines()]
    by_name = {row["name"]: row for row in rows}
    assert by_name["link"]["target"] == "AAA/two.txt"
    assert (by_name["AAA"]["kind"], by_name["AAA"]["size"]) == ("folder", None)
    assert "new\nline\x1b" in by_name
    assert "new\\nline\\x1b" in cli("data", "content", "ls", images)
    assert cli("data", "content", "ls", images, "BBB", "--flat", "--format", "csv").splitlines() == [
        "name,status", "BBB/.DS_Store,new", "BBB/BBB-1,new",
    ]  # fmt: skip
    cli("data", "content", "ls", images, "--fields", "name,nonsense", code=2)
    assert "there is no field 'nonsense'" in cli.err
    cli("data", "content", "ls", images, "none", code=5)
    cli("data", "content", "ls", "no-such-data", code=5)
    assert "mode" not in cli("data", "content", "ls", f"{images}@empty")


def test_a_tree(cli: Cli, images: str, photos: Path) -> None:
    cli("data", "push", images, "photos")
    assert cli("data", "content", "tree", images).splitlines() == [
        ".",
        "|-- .DS_Store",
        "|-- AAA",
        "|   |-- one 2019.txt",
        "|   `-- two.txt",
        "`-- BBB",
        "    |-- .DS_Store",
        "    `-- BBB-1",
        "        `-- .DS_Store",
        "",
        "3 folders, 5 files",
    ]
    assert cli("data", "content", "tree", images, "BBB", "-L", "1").splitlines()[:3] == [
        "BBB", "|-- .DS_Store", "`-- BBB-1",
    ]  # fmt: skip


def test_changes_of_names_and_reading(cli: Cli, images: str, photos: Path) -> None:
    cli("data", "push", images, "photos")
    cli("data", "content", "mkdir", images, "new/deep", "AAA")
    cli("data", "content", "mv", images, "AAA/two.txt", "new")
    cli("data", "content", "mv", images, "AAA/one 2019.txt", "new/two.txt", code=1)
    assert "--force" in cli.err
    cli("data", "content", "mv", images, "AAA/one 2019.txt", "new/two.txt", "--force")
    cli("data", "content", "mv", images, ".DS_Store", "new/deep/", "--force")
    assert cli("data", "content", "cat", images, "new/two.txt", "new/deep/.DS_Store") == "AAA/one 2019.txt.DS_Store"
    cli("data", "content", "cat", images, "new", code=5)
    for words in (["rm", "AAA"], ["mkdir", "x"], ["mv", "new", "old"]):
        cli("data", "content", words[0], f"{images}@1", *words[1:], code=2)
        assert "a version never changes" in cli.err


def test_pull_in_all_forms(cli: Cli, images: str, photos: Path) -> None:
    cli("data", "push", images, "photos")

    def there(folder: str) -> set[str]:
        return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}

    cli("data", "pull", images, "./AAA", ".")
    assert cli.err.startswith("pulled 2 files, 27 B in ")
    assert there("AAA") == {"one 2019.txt", "two.txt"}
    cli("data", "pull", images, "BBB/", "out")
    assert there("out") == {".DS_Store", "BBB-1/.DS_Store"}
    cli("data", "pull", images, "AAA:a", "out", "--delete")
    assert there("out") == {".DS_Store", "BBB-1/.DS_Store", "a/one 2019.txt", "a/two.txt"}
    cli("data", "pull", images, "AAA/two.txt", "out/three.txt")
    cli("data", "pull", images, "AAA/two.txt")
    assert Path("out/three.txt").read_text() == Path("two.txt").read_text() == "AAA/two.txt"
    cli("data", "pull", images, "--", ".", "all")
    assert there("all") == there("photos")
    cli("data", "pull", images, ".", "all", "--exclude", "AAA", "--format", "json")
    sums = json.loads(cli.out)
    assert (sums["files"], sums["unchanged"]) == (0, 3)
    assert cli("data", "pull", images, "--exclude", "BBB", ".", "none", "-n").splitlines()[0] == "would fetch .DS_Store"
    assert not Path("none").exists()
    cli("data", "pull", images, "nothing", ".", code=5)
    cli("data", "pull", images, "AAA", "two.txt", code=2)
    cli("data", "pull", "./remote", ".", code=2)
    assert "first say which data" in cli.err


def test_links_that_point_outside_need_a_word(cli: Cli, images: str) -> None:
    Path("photos").mkdir()
    Path("photos/passwd").symlink_to("/etc/passwd")
    cli("data", "push", images, "photos")
    cli("data", "pull", images, ".", "out", code=1)
    assert "error: passwd: a link that points out of it" in cli.err
    assert not os.path.lexists("out/passwd")
    cli("data", "pull", images, ".", "out", "--links")
    assert os.readlink("out/passwd") == "/etc/passwd"


def test_push_options(cli: Cli, images: str, photos: Path) -> None:
    cli("data", "push", images, "photos:2024", "photos/AAA/two.txt", "photos/AAA/two.txt:x/", "-q", "--exclude", "AAA")
    assert (cli.out, cli.err) == ("", "")
    names = cli("data", "content", "ls", images, "--field", "name").split("\n")
    assert names[:2] == ["2024", "2024/.DS_Store"]
    assert {"two.txt", "x/two.txt"} < set(names)
    assert "2024/AAA" not in names
    assert set(cli("data", "push", images, "photos", "--delete", "-n").splitlines()) >= {
        "would remove 2024/", "would send AAA/two.txt",
    }  # fmt: skip
    cli("data", "push", images, "photos", "--delete", "--format", "json")
    sums = json.loads(cli.out)
    assert (sums["files"], sums["removed"], sums["dryRun"], sums["problemCount"]) == (5, sums["removed"], False, 0)
    assert "2024" not in cli("data", "content", "ls", images)
    (photos / "AAA" / "two.txt").write_text("aaa/TWO.txt")
    os.utime(photos / "AAA" / "two.txt", (1e9, 1e9))
    cli("data", "push", images, "photos", "-q")
    (photos / "AAA" / "two.txt").write_text("AAA/two.txt")
    os.utime(photos / "AAA" / "two.txt", (1e9, 1e9))
    cli("data", "push", images, "photos", "--checksum")
    assert cli.err.startswith("pushed 1 file, 11 B")
    cli("data", "push", f"{images}@latest", "photos", code=2)
    assert "a version never changes" in cli.err
    cli("data", "push", images, "nothing", code=2)


def test_what_cannot_be_sent_is_named_and_the_rest_is_sent(cli: Cli, images: str, photos: Path) -> None:
    for number in range(25):
        os.mkfifo(photos / f"fifo\x1b{number:02}")
    cli("data", "push", images, "photos", "--commit", code=1)
    lines = cli.err.splitlines()
    assert lines[1] == "error: fifo\\x1b00: neither a file nor a folder nor a link: left out"
    assert "error: and 5 more like these" in lines
    assert lines[0] == "warning: no version was made, for not everything was sent"
    assert lines[-1].startswith("pushed 5 files, ")


def test_names_that_are_no_text(cli: Cli, images: str) -> None:
    raw = os.fsencode("photos") + b"/\xff\xfe"
    Path("photos").mkdir()
    Path(os.fsdecode(raw)).write_bytes(b"x")
    cli("data", "push", images, "photos")
    name = os.fsdecode(b"\xff\xfe")
    assert json.loads(cli("data", "content", "ls", images, "--format", "json"))["name"] == name
    assert cli("data", "content", "cat", images, name) == "x"
    cli("data", "pull", images, name, "out/")
    assert os.listdir(b"out") == [b"\xff\xfe"]
    cli("data", "content", "rm", images, name)
    cli("data", "get", name, code=2)


def test_the_other_names(cli: Cli, images: str, photos: Path) -> None:
    Path("authorized_keys").write_text("ssh-rsa AAAA")
    cli("vfolder", "upload", images, "authorized_keys")
    cli("data", "upload", "--id", images, "photos")
    cli("data", "upload", "--id", images, code=2)
    cli("data", "upload", images, code=2)
    cli("vfolder", "mkdir", images, "dir")
    cli("vfolder", "mv", images, "authorized_keys", "dir")
    cli("vfolder", "rm", images, "AAA")
    names = cli("vfolder", "ls", images, "--field", "name").split()
    assert {"dir/authorized_keys", "BBB/.DS_Store"} < set(names)
    assert "AAA" not in names
    cli("vfolder", "download", images, "dir/authorized_keys", "BBB", "-o", "down")
    assert Path("down/authorized_keys").exists()
    assert Path("down/BBB/.DS_Store").exists()


def test_inside_a_job_it_says_to_mount(
    cli: Cli, images: str, service: Service, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOOLKIT_JOB_ID", "5c5bce9b-4657-4836-89d9-01ec780f57db")
    service.answers["GET", "/transfer"] = DataHostAddress(url="http://127.0.0.1:9")
    for words in (["push", images, "photos"], ["pull", images], ["content", "ls", images]):
        cli("data", *words, code=1)
        assert "mount it: `toolkit job submit --data NAME:/path" in cli.err


def test_ctrl_c_says_how_to_go_on(house: House, cli: Cli, images: str) -> None:
    with Path("big").open("wb") as file:
        for _ in range(128):
            file.write(os.urandom(2**20))
    with process("data", "push", images, "big") as pushing:
        deadline = time.monotonic() + 20
        while not half_sent(house):
            assert time.monotonic() < deadline
            assert pushing.poll() is None, "it was through before it could be interrupted"
            time.sleep(0.005)
        pushing.send_signal(signal.SIGINT)
        out, err = pushing.communicate(timeout=30)
    assert (pushing.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == "interrupted; run the same again: it goes on from there"
    cli("data", "push", images, "big", "--format", "json")
    assert json.loads(cli.out)["moved"] < 128 * 2**20
    cli("data", "pull", images, "big", "back")
    assert Path("back").read_bytes() == Path("big").read_bytes()


def half_sent(house: House) -> bool:
    """Whether some MiB of a file are on the other side."""
    for folder, _, names in os.walk(house.site.data_root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                if name.startswith("p-") and os.stat(f"{folder}/{name}").st_size > 2**22:
                    return True
    return False


def on_a_terminal(*words: str, typed: bytes = b"", code: int = 0) -> bytes:
    """What a command shows on its terminal."""
    here, there = pty.openpty()
    command = [sys.executable, "-m", "toolkit_client.cli", *words]
    with subprocess.Popen(command, stdin=there, stdout=subprocess.PIPE, stderr=there) as running:
        os.close(there)
        os.write(here, typed)
        shown = b""
        with contextlib.suppress(OSError):  # when the other end is closed
            while piece := os.read(here, 65536):
                shown += piece
        assert running.wait(30) == code
    os.close(here)
    return shown


def test_on_a_terminal_it_asks_before_it_removes(cli: Cli, images: str, photos: Path) -> None:
    cli("data", "push", images, "photos")
    words = ("data", "content", "rm", images, "AAA", ".DS_Store")
    assert b"Remove AAA, .DS_Store from " in on_a_terminal(*words, typed=b"n\n", code=1)
    assert "AAA" in cli("data", "content", "ls", images)
    on_a_terminal(*words, typed=b"y\n")
    assert "AAA" not in cli("data", "content", "ls", images)
    assert b"Remove" not in on_a_terminal(*words[:4], ".", "-y")


def test_small_commands_load_little(cli: Cli, images: str) -> None:
    """The API's client takes longer to load than they take to run."""
    script = (
        "import sys; from toolkit_client.cli.app import run; code = run(sys.argv[1:]); print(*sys.modules); exit(code)"
    )
    command = [sys.executable, "-c", script, "data", "content", "ls", images]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    assert not {"httpx", "pydantic", "asyncio"} & set(loaded.split())


def test_a_terminal_gets_a_bar(cli: Cli, images: str) -> None:
    block = os.urandom(64 * 2**20)
    with Path("big").open("wb") as file:
        for _ in range(8):  # hashing alone takes it longer than the bar waits between two pictures
            file.write(block)
    shown = on_a_terminal("data", "push", images, "big")
    last = shown.decode().replace("\r\n", "\n").rpartition("\x1b[K")[2]
    assert last.startswith("pushed 1 file, 512 MiB in ")
    assert b"% [" in shown
    assert b"0/1 files, " in shown
