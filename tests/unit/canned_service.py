"""A small HTTP server that answers as the remote service would: wire JSON made with the wire models, and faults on request.

It stands for another machine. It keeps no rules: each test says what is there and what goes wrong.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from toolkit_client.errors import NotFound, NotSignedIn, ToolkitError
from toolkit_client.models import Event, Job, JobState, Me, QueueStatus, Resources, Run, User
from toolkit_client.queue_models import QueuedJob

API = "/services/toolkit/api/v1"
TOKEN = "a-token-for-tests"
PASSWORD = "correct horse"
JOB_ID = "5c5bce9b-4657-4836-89d9-01ec780f57db"
CREATED = datetime(2019, 12, 6, 20, 49, 41, 123456, tzinfo=UTC)


def make_job(
    *,
    id: str = JOB_ID,
    name: str | None = None,
    state: JobState = JobState.QUEUING,
    command: list[str] | None = None,
    exit_codes: tuple[int | None, ...] = (None,),
    **other: Any,
) -> Job:
    runs = [
        Run(id=f"run-{index}", job_id=id, index=index, server_name="j", state=state, exit_code=code, created=CREATED)
        for index, code in enumerate(exit_codes)
    ]
    known: dict[str, Any] = {"account": "acme.joe", "creator": "acme.joe", "image": "toolkit-lab"} | other
    return Job(
        id=id,
        urn=f"o:account:a:job:{id}",
        name=name,
        state=state,
        alive=state.alive,
        account_id="a",
        creator_id="u",
        created=CREATED,
        command=command if command is not None else ["code-server", "--host", "0.0.0.0", "--auth", "none"],
        resources=Resources(),
        access_url=f"http://{id}.localhost:8001/",
        lab_url=f"http://{id}-lab.localhost:8001/",
        runs=runs,
        **known,
    )


JOE = {"id": "u", "urn": "o:user:u", "name": "joe", "full_name": "acme.joe", "account": "acme.joe"}
ME = Me(**JOE, organization="acme", organization_id="o", account_id="a", admin=False)


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Service:
    """What the server knows, what it was asked, and what is to go wrong."""

    url: str = ""
    jobs: list[Job] = field(default_factory=list)
    log: bytes = b""
    #: Logs of the runs before the newest.
    earlier_logs: list[bytes] = field(default_factory=list)
    #: Begin and end of the bytes that are not kept.
    log_gap: tuple[int, int] = (0, 0)
    #: Pieces after which a log's connection breaks; one for each connection, then none breaks.
    log_cuts: list[int] = field(default_factory=list)
    #: Whether such an end looks like a regular one.
    clean_cuts: bool = False
    #: Called when a log has been sent to its end; it may wait.
    log_sent: Callable[[], None] = lambda: None
    #: Sent to whoever asks for events.
    events: list[Event] = field(default_factory=list)
    #: What is answered at other places, by method and path: wire models, or lists of them, which become pages.
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    #: What the next requests get instead of an answer: an HTTP status, an error, or None for a dropped connection.
    faults: list[int | ToolkitError | None] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)

    def asked(self, method: str, path: str) -> list[Seen]:
        return [one for one in self.seen if (one.method, one.path) == (method, path)]

    def find(self, ref: str) -> Job:
        for job in self.jobs:
            if ref in (job.id, job.name, f"{job.account}.{job.name}"):
                return job
        raise NotFound(f"there is no job {ref!r}", "`toolkit job ls` lists yours")


def _dump(item: Any) -> Any:
    return item.model_dump(mode="json", by_alias=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: Service

    def log_message(self, *_: Any) -> None:
        """Nothing on the tests' terminal."""

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix(API)
        request = Seen(self.command, path, query, dict(self.headers), json.loads(body) if body else None)
        self.service.seen.append(request)
        try:
            if self.service.faults:
                self._fault(self.service.faults.pop(0))
            elif path.startswith("/hub/api/"):
                self._hub(request)
            elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
                raise NotSignedIn("the token is not known here", "run `toolkit login`")
            else:
                self._api(request)
        except ToolkitError as error:
            self._reply(error.status, error.body())

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _fault(self, fault: int | ToolkitError | None) -> None:
        if isinstance(fault, ToolkitError):
            raise fault
        if fault is None:
            self.close_connection = True
            self.connection.close()
        else:
            self._reply(fault, "<h1>proxy</h1>")

    def _reply(self, status: int, value: Any) -> None:
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _hub(self, request: Seen) -> None:
        forbidden = {"status": 403, "message": "Forbidden"}
        if request.method == "POST":
            good = request.body["auth"] == {"username": "joe", "password": PASSWORD}
            self._reply(201 if good else 403, {"token": TOKEN} if good else forbidden)
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._reply(403, forbidden)
        elif request.method == "DELETE":
            self._reply(204, "")
        else:
            self._reply(200, {"name": "joe", "token_id": "a7"})

    def _api(self, request: Seen) -> None:
        match request.method, request.path.strip("/").split("/"):
            case _, ["jobs", *rest]:
                self._jobs(request, [unquote(part) for part in rest])
            case _ if (request.method, unquote(request.path)) in self.service.answers:
                answer = self.service.answers[request.method, unquote(request.path)]
                self._answer(answer() if callable(answer) else answer)
            case "GET", ["me"]:
                self._reply(200, _dump(ME) | {"addedLater": 1})
            case "POST", ["servers"]:
                self._reply(201, _dump(self.service.jobs[0]))
            case "GET", ["queue"]:
                held = {"cpuTotal": 8, "cpuHeld": 6.5, "memTotal": 32, "memHeld": 4, "gpuTotal": 2, "gpuHeld": 1}
                self._reply(200, _dump(QueueStatus.model_validate({**held, "waiting": 1, "running": 2})))
            case "GET", ["queue", "jobs"]:
                asks: dict[str, Any] = {"gpu": 1, "cpu": 2, "mem": 4, "reason": "waiting for 1 GPU: 1 of 2 in use"}
                mine = {
                    "position": 1,
                    "job": JOB_ID,
                    "name": "train",
                    "account": "acme.joe",
                    "class": "normal",
                    "bid": 3,
                }
                theirs = {"position": 2, "class": "interactive", "bid": 0}
                items = [_dump(QueuedJob.model_validate({**one, **asks})) for one in (mine, theirs)]
                self._reply(200, {"items": items, "next": None})
            case "GET", ["events"]:
                self._events(request)
            case "GET", ["users"]:
                self._reply(200, {"items": [_dump(User(**JOE, created=CREATED))], "next": None})
            case "POST", ["users"]:
                user = User(**JOE | {"name": request.body["name"]}, created=CREATED, admin=request.body["admin"])
                self._reply(201, _dump(user))
            case _:
                self._reply(404, "<h1>not here</h1>")

    def _answer(self, value: Any) -> None:
        page = {"items": [_dump(item) for item in value], "next": None} if isinstance(value, list) else None
        self._reply(200, _dump(value) if page is None else page)

    def _jobs(self, request: Seen, path: list[str]) -> None:
        service = self.service
        match request.method, path:
            case "GET", []:
                start, limit = int(request.query.get("cursor", 0)), int(request.query["limit"])
                following = str(start + limit) if start + limit < len(service.jobs) else None
                items = [_dump(job) for job in service.jobs[start : start + limit]]
                self._reply(200, {"items": items, "next": following})
            case "POST", []:
                spec = request.body
                job = make_job(name=spec.get("name"), command=spec.get("command"))
                service.jobs.insert(0, job)
                self._reply(201, _dump(job))
            case "GET", [ref]:
                self._reply(200, _dump(service.find(ref)) | {"addedLater": 1})
            case "DELETE", [ref]:
                self._reply(200, _dump(service.find(ref).model_copy(update={"state": JobState.CANCELLING})))
            case "PATCH", [ref]:
                self._reply(200, _dump(service.find(ref)) | request.body)
            case "POST", [ref, "retry"]:
                old = service.find(ref)
                self._reply(201, _dump(make_job(id=f"{old.id[:-1]}0", name=old.name, retry_of=old.id)))
            case "GET", [_, "events"]:
                self._events(request)
            case "GET", [ref, "logs"]:
                self._logs(service.find(ref), request)
            case _:
                self._reply(404, "<h1>not here</h1>")

    def _events(self, request: Seen) -> None:
        """One event on each connection, which then ends without warning or, after the last one, as a stream should."""
        after = int(request.headers.get("Last-Event-ID", 0))
        left = [event for event in self.service.events if event.seq > after]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pieces = [b"retry: 1000\n\n: still here\n\n"]
        for event in left[:1]:
            data = f"id: {event.seq}\nevent: {event.type}\ndata: {event.model_dump_json(by_alias=True)}\n\n".encode()
            pieces += [data[:40], data[40:]]
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if left:
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")

    def _logs(self, job: Job, request: Seen) -> None:
        offset = int(request.query.get("offset", 0))
        logs = [*self.service.earlier_logs, self.service.log]
        run = int(request.query.get("run", len(logs) - 1))
        log, (begin, end) = logs[run], self.service.log_gap
        if "tail" in request.query:
            lines = log.splitlines(keepends=True)
            offset = len(b"".join(lines[: -int(request.query["tail"])]))
        if begin <= offset < end:
            offset = end
        cut = self.service.log_cuts.pop(0) if self.service.log_cuts else None
        data = log[offset : begin if offset < begin else None][:cut]
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Toolkit-Run", job.runs[-1].id)
        self.send_header("X-Toolkit-Run-Index", str(run))
        self.send_header("X-Toolkit-Log-Start", str(offset))
        self.send_header("X-Toolkit-Log-End", str(len(log)))
        self.end_headers()
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if cut is None:
            self.service.log_sent()
        if cut is None or self.service.clean_cuts:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True


@contextmanager
def running_service(port: int = 0) -> Iterator[Service]:
    service = Service()
    handler = type("BoundHandler", (Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
