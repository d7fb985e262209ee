"""``toolkit apps`` and ``toolkit app``: what a job serves, and how one gets there."""

from __future__ import annotations

import os
import re
import socket
import sys
from typing import Any

import click

from toolkit_client import calls
from toolkit_client.cli.complete import complete_apps, complete_living_jobs
from toolkit_client.cli.job_exec import running_job
from toolkit_client.cli.job_logs import INTERRUPTED
from toolkit_client.cli.job_place import JobPlace
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State
from toolkit_client.errors import NotFound

__all__ = ["APP_COLUMNS", "app", "apps", "apps_of"]

APP_COLUMNS = ("name", "needs", "address", "about")
_BIND = re.compile(r"(?:([^:\s]+):)?([0-9]{1,5})")


@click.command(epilog=examples("toolkit apps train", "toolkit apps train --format json", "toolkit apps --last"))
@click.argument("ref", metavar="JOB", required=False, shell_complete=complete_living_jobs)
@click.option("--last", is_flag=True, help="Of the newest job that you created; then there is no JOB.")
@output_options(APP_COLUMNS)
@click.pass_obj
def apps(state: State, ref: str | None, last: bool, output: Output) -> None:
    """List what a job serves: its apps, and the ports that it has declared.

    Each has an address for browsers and for programs with a token, and says which right opens it: `public` is open to
    everybody. `sshd` is reached with `toolkit app JOB sshd`. They are there while the job runs.

    Needs job:get.
    """
    output.show(apps_of(state, state.find_ref(ref, last)))


def apps_of(state: State, ref: str) -> list[dict[str, Any]]:
    """The apps of a job, as plain JSON."""
    found: list[dict[str, Any]] = state.client().raw(calls.list_apps(ref))["items"]
    return found


@click.command(
    epilog=examples(
        "toolkit app -b 9900 mysession jupyter",
        "toolkit app mysession ttyd",
        "toolkit app mysession sshd -b 9922",
        "toolkit app train 6006",
        "toolkit app --browser train 8080",
    )
)
@click.argument("words", metavar="JOB APP", nargs=-1, shell_complete=complete_apps)
@click.option("--last", is_flag=True, help="Of the newest job that you created; then there is only APP.")
@click.option(
    "-b", "--bind", metavar="[HOST:]PORT", help="Where to listen on this machine. Default: a free port of 127.0.0.1."
)
@click.option(
    "--browser", is_flag=True, help="Of a declared port: it is a web server, and browsers go to its own address."
)
@click.option("--no-open", is_flag=True, help="Do not open a browser, also on a terminal.")
@click.option("--no-agent", is_flag=True, help="With sshd: keep your ssh agent to yourself.")
@click.option("--wait", is_flag=True, help="If the job waits in the queue, wait until it runs.")
@click.pass_obj
def app(
    state: State,
    words: tuple[str, ...],
    last: bool,
    bind: str | None,
    browser: bool,
    no_open: bool,
    no_agent: bool,
    wait: bool,
) -> int:
    """Reach an app of a job at a port of this machine, as long as this command runs.

    APP is `jupyter`, `ttyd`, `code-server`, `sshd`, or a port of the job; `toolkit apps JOB` lists them. The local address
    is printed on stdout, takes many connections, and is for your own processes only. Ctrl-C ends it (exit code 130).

    A browser that opens the address of `jupyter`, `ttyd` or `code-server` goes on to the job's own address, signed in by a link
    that works once: no page of a job is ever a page of localhost. Programs (curl, an editor that wants the address of a Jupyter
    server) get their requests passed on there with your token. A port is bytes, as with `job port-forward`; with --browser a
    declared one is an app like those.

    Needs job:exec; for a declared port with --browser job:get.
    """
    ref, name = _split(words, last)
    host, port = _bound(bind)
    try:
        job = running_job(state, ref, last, wait=wait)
        if name == "sshd":
            from toolkit_client.cli.job_forward import serve_sshd

            _warn(host)
            return serve_sshd(state, job, (host, port), agent=not no_agent)
        if name.isdecimal() and not browser:
            return _serve_port(state, job, int(name), host, port)
        return _serve_app(state, job, name, (host, port), open_browser=not no_open)
    except KeyboardInterrupt:
        return INTERRUPTED


def _split(words: tuple[str, ...], last: bool) -> tuple[str | None, str]:
    if len(words) != (1 if last else 2):
        raise click.UsageError(
            "which job, and which app of it? Write JOB APP, or --last APP; `toolkit apps JOB` lists them"
        )
    name = words[-1]
    if name.isdecimal() and not (name.isascii() and len(name) <= 5 and 0 < int(name) < 65536):
        raise click.UsageError(f"a port is a number from 1 to 65535, not {name[:40]!r}")
    return None if last else words[0], name


def _bound(text: str | None) -> tuple[str, int]:
    """Address and port to listen on."""
    found = _BIND.fullmatch(text or "0")
    port = int(found[2]) if found else -1
    host = "127.0.0.1" if not found or found[1] in (None, "localhost") else found[1]
    try:
        socket.inet_aton(host)
        good = host.count(".") == 3
    except OSError:
        good = False
    if not good or not 0 <= port < 65536:
        raise click.UsageError(
            f"-b takes PORT or HOST:PORT, with an IPv4 address of this machine, not {str(text)[:60]!r}"
        )
    return host, port


def _is_loopback(host: str) -> bool:
    return host.startswith("127.")


def _warn(host: str) -> None:
    if not _is_loopback(host):
        print(
            f"warning: everybody who reaches {host} acts as you in this job, as long as this command runs",
            file=sys.stderr,
        )


def _tell(text: str) -> None:
    print(f"toolkit: {escape(text)}", file=sys.stderr)


def _serve_port(state: State, job: dict[str, Any], remote: int, host: str, port: int) -> int:
    from toolkit_client.exec.forward import Forward, listen

    listener = listen(port, host)
    _warn(host)
    print(f"{host}:{listener.getsockname()[1]}", flush=True)
    print(f"leads to port {remote} of job {escape(job['name'] or job['id'])}; Ctrl-C ends it", file=sys.stderr)
    Forward(listener, JobPlace(state, job).of(f"tcp/{remote}"), state.signed_in().token, _tell).serve()
    return 1


def _serve_app(state: State, job: dict[str, Any], name: str, at: tuple[str, int], *, open_browser: bool) -> int:
    if not _is_loopback(at[0]):
        raise click.UsageError(
            f"{name} is served on this machine's loopback only: your token goes with each request, and everybody who reaches "
            f"{at[0]} would be you. `toolkit apps` has the address that others open with rights of their own"
        )
    from toolkit_client.exec.app_forward import AppForward
    from toolkit_client.exec.forward import listen

    place = AppPlace(JobPlace(state, job), name)
    place.address()
    listener = listen(at[1], at[0])
    # A browser, and whoever checks the name that it was called by, knows this machine as localhost.
    address = f"http://localhost:{listener.getsockname()[1]}/"
    forward = AppForward(listener, place.address, state.signed_in().token, _tell, visit=place.visit, name=name)
    print(address, flush=True)
    print(f"leads to {name} of job {escape(job['name'] or job['id'])}; Ctrl-C ends it", file=sys.stderr)
    if open_browser:
        _open(address)
    forward.serve()
    return 1


class AppPlace:
    """Where one app of a job is now."""

    def __init__(self, job: JobPlace, name: str) -> None:
        self._job, self._name = job, name
        self._run, self._address = "", ""

    def address(self) -> str:
        """Raises `NotFound` for an app that the job does not have, `Gone` when the job has ended."""
        run = str(self._job.now()["runs"][-1]["id"])
        if run != self._run:
            found = {str(app["name"]): app for app in self._job.request(calls.list_apps(self._job.job_id))["items"]}
            if self._name not in found:
                raise NotFound(
                    f"this job has no app {self._name[:40]!r}",
                    f"there are: {', '.join(found)}; other ports are declared at submit (`--port N`)",
                )
            self._run, self._address = run, str(found[self._name]["address"])
        return self._address

    def visit(self, target: str) -> str:
        """A one-time address for a path below the app, or for its first page."""
        self._job.now()
        call = calls.new_visit(self._job.job_id, self._name, target if target != "/" else "")
        return str(self._job.request(call)["url"])


def _open(address: str) -> None:
    """Show it in a browser, if there is a person and a browser. The address has no secret: it is seen in lists of processes."""
    has_screen = sys.platform in ("darwin", "win32") or any(
        os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")
    )
    if not sys.stdout.isatty() or not (has_screen or os.environ.get("BROWSER")):
        return
    import threading
    import webbrowser

    # Some browsers stay in the foreground.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
