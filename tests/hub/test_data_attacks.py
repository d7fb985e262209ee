"""Users own what is in their volumes, and a job changes it while the gate looks: not one byte outside is read or written."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.hub.data_house import SECRET, DataHouse
from tests.hub.data_house import house as house  # the fixture
from tests.unit.transfer.test_beneath import nest
from toolkit_client.errors import Conflict, NotFound, ToolkitError
from toolkit_client.transfer.compare import Options
from toolkit_client.transfer.pull import pull
from toolkit_client.transfer.push import push
from toolkit_client.transfer.records import CONTENT_TYPE, Encoder
from toolkit_client.transfer.walk import FILE, Entry
from toolkit_hub import clock
from toolkit_hub.domain.data_tickets import TICKET_S, make_ticket
from toolkit_spawner.hardening import CONTAINER_UID

MIB = 1 << 20


def hostile(house: DataHouse) -> dict[str, str]:
    """Links that lead out, of all kinds; where each leads."""
    links = {
        "to-root": "/",
        "to-secret": str(house.outside / "secret"),
        "to-folder": str(house.outside),
        "up": "../../../../../../.." + str(house.outside),
        "proc": "/proc/self/root" + str(house.outside),
        "descriptor": "/proc/self/fd/3",
    }
    for name, target in links.items():
        (house.live / name).symlink_to(target)
        os.lchown(house.live / name, CONTAINER_UID, CONTAINER_UID)
    return links


def test_links_that_lead_out_are_names_and_nothing_else(house: DataHouse, tmp_path: Path) -> None:
    links = hostile(house)
    before = house.fingerprint()
    inside = {name: f"{name}/secret" for name in links} | {"to-secret": "to-secret"}
    for path in inside.values():
        query = f"path={quote(path)}"
        assert house.at(f"file?{query}").status_code == 404
        assert house.at(f"listing?{query}").status_code == 404
        assert house.at("archive", "POST", content=b"", params={"path": path}).status_code in (400, 404)
        upload = house.at(f"upload?{query}&size=1&mtime=1&offset=0", "PUT", content=b"x")
        assert upload.status_code in ((200,) if path == "to-secret" else (404,))
        for what, body in {
            "mkdir": {"paths": [f"{path}/made"]},
            "remove": {"paths": [path]} if "/" in path else {"paths": [f"{path}/x"]},
            "move": {"from": path, "to": "moved"} if "/" in path else {"from": f"{path}/x", "to": "moved"},
        }.items():
            if path == "to-secret" and what == "mkdir":
                continue
            assert house.at(what, "POST", json=body).status_code == 404, (what, body)
    # A link's own place was taken by a file; where it led, nothing changed.
    assert (house.live / "to-secret").read_bytes() == b"x"
    assert not (house.live / "to-secret").is_symlink()
    source = tmp_path / "source"
    for name in links:
        (source / name).mkdir(parents=True, exist_ok=True)
        (source / name / "secret").write_text("pwned")
    push(house.link(), "images", source)
    assert house.fingerprint() == before
    there = tmp_path / "there"
    hostile_again = house.live / "again"
    hostile_again.symlink_to(house.outside)
    pull(house.link(), "images", b"", there)
    assert not (there / "again").exists()
    house.link().json("POST", "images", "remove", body={"paths": ["."]})
    assert os.listdir(house.live) == []
    assert house.fingerprint() == before


class Swapper:
    """A job that puts now a folder with files, now a link that leads out, in the same places, as fast as it can."""

    def __init__(self, house: DataHouse) -> None:
        self._house, self._ended = house, threading.Event()
        self.swaps = 0
        for name in ("x", "inner"):
            folder = house.live / name / "inner"
            folder.mkdir(parents=True)
            (folder / "f").write_bytes(b"mine")
        (house.live / "secret").write_bytes(b"mine")
        for path in house.live.rglob("*"):
            os.lchown(path, CONTAINER_UID, CONTAINER_UID)
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Swapper:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        live, outside = self._house.live, self._house.outside
        pairs = [
            (live / "x", outside),
            (live / "x" / "inner", outside / "inner"),
            (live / "secret", outside / "secret"),
        ]
        while not self._ended.is_set():
            for place, target in pairs:
                aside = live / f".aside-{place.name}"
                with contextlib.suppress(OSError):
                    os.rename(place, aside)
                with contextlib.suppress(OSError):
                    os.symlink(target, place)
                    self.swaps += 1
                with contextlib.suppress(OSError):
                    os.unlink(place)
                with contextlib.suppress(OSError):
                    os.rename(aside, place)
                with contextlib.suppress(OSError):
                    (live / "x" / "inner").mkdir(parents=True)


def test_no_request_reads_or_writes_outside_while_a_job_swaps_names(house: DataHouse, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "x" / "inner").mkdir(parents=True)
    for path in ("x/secret", "x/inner/f", "secret"):
        (source / path).write_bytes(b"pushed")
    before = house.fingerprint()
    answers: list[bytes] = []
    link = house.link()

    def everything(number: int) -> None:
        acts: list[Callable[[], object]] = [
            lambda: push(link, "images", source, options=Options(delete=number % 2 == 0), pauses=()),
            lambda: pull(link, "images", b"", tmp_path / f"there{number}", all_links=True, pauses=()),
            lambda: pull(link, "images", b"x", tmp_path / f"there{number}x", pauses=()),
            lambda: answers.append(house.at("file?path=x/secret").content),
            lambda: answers.append(house.at("file?path=secret").content),
            lambda: answers.append(house.at("archive", "POST", params={"path": "x"}).content),
            lambda: answers.append(house.at("listing?path=x&status=1&digests=1").content),
            lambda: house.at("upload?path=x/secret&size=4&mtime=1&offset=0", "PUT", content=b"evil"),
            lambda: link.json("POST", "images", "mkdir", body={"paths": ["x/inner/deeper/still"]}),
            lambda: link.json(
                "POST", "images", "move", body={"from": "x/inner/f", "to": "x/secret", "overwrite": True}
            ),
            lambda: link.json("POST", "images", "remove", body={"paths": ["x/inner"]}),
        ]
        for act in acts:
            with contextlib.suppress(ToolkitError, httpx.HTTPError):
                act()

    with Swapper(house) as swapper:
        for number in range(8):
            everything(number)
    assert swapper.swaps > 200
    assert house.fingerprint() == before
    assert not any(SECRET in answer for answer in answers)
    for path in tmp_path.glob("there*/**/*"):
        if path.is_file() and not path.is_symlink():
            assert SECRET not in path.read_bytes()


def test_only_names_below_the_data_are_names(house: DataHouse) -> None:
    before = house.fingerprint()
    for path in ("..", "../outside/secret", "a/../../x", "/../x", "..%2f..%2fx", "a%00b"):
        for what in ("file", "listing", "upload"):
            answer = house.at(f"{what}?path={path}&size=1&mtime=1", "GET")
            assert answer.status_code == 400, (path, what, answer.text)
        raw = path.replace("%2f", "/").replace("%00", "\0")
        for what, body in {
            "mkdir": {"paths": [raw]},
            "remove": {"paths": [raw]},
            "move": {"from": "a", "to": raw},
        }.items():
            assert house.at(what, "POST", json=body).status_code == 400, (path, what)
    stream = Encoder().entry(ord("S"), Entry(b"../evil", FILE, 0o644, 1, 0), hashlib.sha256(b"x").digest(), b"x")
    answer = house.at("push", "POST", content=stream, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 400
    assert house.fingerprint() == before
    assert sorted(os.listdir(house.volumes.folder(house.data_id))) == ["live", "staging", "versions"]


def test_noise_in_the_place_of_a_stream_is_refused_in_words(house: DataHouse) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n" * 10, bytes(100), os.urandom(5000), b"[]", b"C\x00\x00\x00\x05hello"):
        for what in ("push", "pull"):
            answer = house.at(what, "POST", content=noise)
            assert answer.status_code == 400, answer.text
            assert "error" in answer.json()
    assert house.at("remove", "POST", content=b"no json").status_code == 400
    assert house.at("remove", "POST", json={"paths": "x"}).status_code == 400
    assert os.listdir(house.staging) == []


def test_a_fifo_does_not_hang_and_a_device_is_not_opened(house: DataHouse) -> None:
    os.mkfifo(house.live / "fifo")
    os.mknod(house.live / "null", 0o20666, os.makedev(1, 3))
    began = time.monotonic()
    assert house.at("file?path=fifo").status_code == 404
    assert house.at("file?path=null").status_code in (403, 404, 503)
    assert house.at("archive", "POST").status_code == 200
    assert house.at("listing?digests=1").status_code == 200
    assert time.monotonic() - began < 20


def test_a_file_of_the_site_is_not_opened_by_rights_either(house: DataHouse) -> None:
    """The second wall: the threads that touch content have the file rights of the jobs' user."""
    (house.live / "roots-own").write_text("of root")
    (house.live / "roots-own").chmod(0o600)
    answer = house.at("file?path=roots-own")
    assert answer.status_code == 409
    assert b"of root" not in answer.content
    assert "the file system does not allow it" in answer.json()["error"]["message"]


# --- browsers -------------------------------------------------------------------------------------------------------------


def test_content_is_never_a_page(house: DataHouse) -> None:
    (house.live / "evil.html").write_text("<script>alert(1)</script>")
    answer = house.at("file?path=evil.html")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    name = 'x"\r\nSet-Cookie: a=b.html'
    (house.live / name).write_text("x")
    answer = house.at(f"file?path={quote(name)}")
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers


def test_only_our_own_page_may_read_answers_in_a_browser(house: DataHouse) -> None:
    for origin in ("http://evil.example", "null", f"http://x.{house.site.jobs_domain}", house.site.data_url):
        answer = house.at("listing", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in answer.headers
        preflight = house.at("upload", "OPTIONS", user=None, headers={"Origin": origin})
        assert "Access-Control-Allow-Methods" not in preflight.headers
    origin = house.site.public_url
    assert house.at("listing", headers={"Origin": origin}).headers["Access-Control-Allow-Origin"] == origin
    refused = house.at("listing", user=None, headers={"Origin": origin})
    assert refused.headers["Access-Control-Allow-Origin"] == origin
    assert (
        "PUT"
        in house.at("upload", "OPTIONS", user=None, headers={"Origin": origin}).headers["Access-Control-Allow-Methods"]
    )


def test_tickets(house: DataHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = house.site.secret("data-ticket-key")
    (house.live / "f").write_text("content")
    good = make_ticket(secret, house.users["alice"], house.data_id)

    def ask(ticket: str, ref: str = "") -> int:
        return house.at("file?path=f", user=None, ref=ref, headers={"Authorization": f"Bearer {ticket}"}).status_code

    assert ask(good) == 200
    other, _ = house.new_data("other")
    assert ask(good, other) == 400
    assert ask(make_ticket(secret, house.users["bob"], house.data_id)) == 404
    assert ask(make_ticket("another secret", house.users["alice"], house.data_id)) == 401
    assert ask(good[:-1] + ("0" if good[-1] != "0" else "1")) == 401
    # By a form, as a page starts a download; and never in an address.
    saved = house.at("file/save", "POST", user=None, data={"ticket": good, "path": "f"})
    assert (saved.status_code, saved.content) == (200, b"content")
    assert house.at(f"file?path=f&ticket={good}", user=None).status_code == 401
    later = clock.now() + timedelta(seconds=TICKET_S + 1)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert ask(good) == 401


# --- single files -----------------------------------------------------------------------------------------------------------


def test_ranges_of_a_file(house: DataHouse) -> None:
    content = os.urandom(3 * MIB + 7)
    (house.live / "f").write_bytes(content)
    for header, start, end in (
        ("bytes=0-9", 0, 10),
        ("bytes=100-", 100, len(content)),
        ("bytes=-5", len(content) - 5, len(content)),
        (f"bytes=10-{len(content) + 99}", 10, len(content)),
    ):
        answer = house.at("file?path=f", headers={"Range": header})
        assert answer.status_code == 206
        assert answer.content == content[start:end]
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(content)}"
    for header in ("bytes=9-3", "lines=1-2", f"bytes={len(content)}-"):
        answer = house.at("file?path=f", headers={"Range": header})
        assert (answer.status_code, answer.content) == (200, content)
    head = house.at("file?path=f", "HEAD")
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(content)), b"")


def test_parts_of_an_upload(house: DataHouse) -> None:
    content = os.urandom(2 * MIB)
    query = f"path=in/new.bin&size={len(content)}&mtime=1700000000123"

    def put(offset: int, part: bytes, digest: bytes | None = None) -> tuple[int, dict[str, object]]:
        headers = {"Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:"} if digest else {}
        answer = house.at(f"upload?{query}&offset={offset}", "PUT", content=part, headers=headers)
        return answer.status_code, answer.json()

    assert house.at(f"upload?{query}").json() == {"have": 0}
    half = len(content) // 2
    assert put(0, content[:half], hashlib.sha256(content[:half]).digest()) == (200, {"have": half, "whole": False})
    assert house.at(f"upload?{query}").json() == {"have": half}
    assert put(half + 1, b"x")[0] == 409
    assert put(half, b"y" * 10, hashlib.sha256(b"z" * 10).digest())[0] == 400
    assert house.at(f"upload?{query}").json() == {"have": half}
    assert put(half, content[half:] + b"more")[0] == 400
    assert put(half, content[half:]) == (200, {"have": len(content), "whole": True})
    made = house.live / "in" / "new.bin"
    assert made.read_bytes() == content
    assert made.stat().st_mtime_ns == 1_700_000_000_123_000_000
    assert made.stat().st_uid == CONTAINER_UID
    empty = house.at("upload?path=empty&size=0&mtime=1&offset=0", "PUT", content=b"")
    assert empty.json() == {"have": 0, "whole": True}
    (house.live / "folder").mkdir()
    assert house.at("upload?path=folder&size=1&mtime=1&offset=0", "PUT", content=b"x").status_code == 409


def test_a_folder_as_an_archive(house: DataHouse) -> None:
    (house.live / "d" / "sub").mkdir(parents=True)
    files = {"d/a": b"a" * 1000, "d/sub/" + "n" * 200: os.urandom(MIB + 3), "d/ü\n": b"", "d/sub/e": b"x" * 512}
    for name, content in files.items():
        (house.live / name).write_bytes(content)
    (house.live / "d" / "out").symlink_to(house.outside)
    answer = house.at("archive", "POST", params={"path": "d"})
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        found = {member.name: member for member in archive.getmembers()}
        assert set(found) == {"d", "d/sub", "d/out", *files}
        for name, content in files.items():
            taken = archive.extractfile(found[name])
            assert taken is not None
            assert taken.read() == content
        assert found["d/out"].issym()
    assert house.at("archive", "POST", params={"path": "d/a"}).status_code == 400


def test_names_are_changed_within_the_data(house: DataHouse) -> None:
    link = house.link()
    link.json("POST", "images", "mkdir", body={"paths": ["a/b/c", "a/b"]})
    (house.live / "a" / "f").write_text("f")
    (house.live / "g").write_text("g")
    link.json("POST", "images", "move", body={"from": "a/f", "to": "new/place/f"})
    assert (house.live / "new" / "place" / "f").read_text() == "f"
    with pytest.raises(Conflict, match="there is a file 'g' already"):
        link.json("POST", "images", "move", body={"from": "new/place/f", "to": "g"})
    link.json("POST", "images", "move", body={"from": "new/place/f", "to": "g", "overwrite": True})
    assert (house.live / "g").read_text() == "f"
    for body in ({"from": "a", "to": "a/b/x"}, {"from": ".", "to": "x"}, {"from": "a"}):
        assert house.at("move", "POST", json=body).status_code == 400
    with pytest.raises(NotFound):
        link.json("POST", "images", "remove", body={"paths": ["g", "none"]})
    assert (house.live / "g").exists()  # nothing went, for one of them was not there
    assert link.json("POST", "images", "remove", body={"paths": ["a", "g"]})["removed"] == 4
    assert house.at("mkdir", "POST", json={"paths": ["new/place"]}).status_code == 200


def test_five_thousand_folders_within_each_other_are_listed_and_removed(house: DataHouse) -> None:
    nest(house.live, 5000)
    subprocess.run(["chown", "-R", "-h", str(CONTAINER_UID), str(house.live)], check=True)
    assert house.at("listing", timeout=60).status_code == 200
    assert house.link().json("POST", "images", "remove", body={"paths": ["d"]})["removed"] == 5001
    assert os.listdir(house.live) == []
