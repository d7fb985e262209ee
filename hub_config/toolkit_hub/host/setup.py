"""Set-up of this machine, step by step; a step that has been done costs milliseconds.

``python -m toolkit_hub.host.setup [--for-tests] [--only engine|network|packages|proxy|runtime|tests]``
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from toolkit_hub.configure import Toolkit
from toolkit_hub.host.certificates import ca_bundle, tool_environment
from toolkit_hub.host.engine import ensure_engine
from toolkit_hub.host.network import apply as apply_network
from toolkit_hub.host.packages import FOR_TESTS, NEEDED, Package, ensure_packages
from toolkit_hub.host.site import load_site
from toolkit_hub.host.steps import Console, Say, SetupError, run_command, show_failure
from toolkit_hub.proxy import NODE_DIR, PROGRAM, find_program
from toolkit_hub.site_secrets import private_dir
from toolkit_spawner.docker_api import Engine, EngineRefused, EngineUnavailable
from toolkit_spawner.runtime.build import build_all
from toolkit_spawner.runtime.errors import RuntimeBuildError

__all__ = ["main", "set_up"]

OLDEST_NODE = 20
#: Two set-ups at once would both install packages and build images: the second waits. One lock for the machine.
LOCK = Path("/run/lock/toolkit-setup.lock")

Step = tuple[str, str, Callable[[Say], str]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m toolkit_hub.host.setup", description="Set this machine up.")
    parser.add_argument(
        "--for-tests", action="store_true", help="also what `make test` needs: Chromium, PostgreSQL, Prometheus"
    )
    parser.add_argument(
        "--only", choices=["engine", "network", "packages", "proxy", "runtime", "tests"], help="only this step"
    )
    options = parser.parse_args(arguments)
    try:
        site = load_site()
    except SetupError as error:
        show_failure(error)
        return 1
    console = Console(private_dir(site.state) / "setup.log")
    try:
        with _alone(console):
            set_up(site, console, for_tests=options.for_tests, only=options.only)
    except SetupError as error:
        show_failure(error, console.log_path)
        return 1
    except KeyboardInterrupt:
        print("\nSet-up was interrupted; the next start goes on from here.", file=sys.stderr)
        return 130
    finally:
        console.close()
    return 0


def set_up(site: Toolkit, console: Console, *, for_tests: bool = False, only: str | None = None) -> None:
    """Do the steps in order. Raises the first `SetupError`."""
    engine = Engine()
    try:
        for key, name, work in _steps(site, engine, for_tests or only == "tests"):
            if only in (None, key):
                console.run(name, work)
    finally:
        engine.close()


def _steps(site: Toolkit, engine: Engine, for_tests: bool) -> list[Step]:
    steps: list[Step] = [
        ("packages", "System packages", lambda say: _packages(NEEDED, say)),
        ("engine", "Docker Engine", lambda say: ensure_engine(engine, say)),
        ("network", "Network of the jobs", lambda say: apply_network(site, engine)),
        ("proxy", "Proxy", install_proxy),
        ("runtime", "Images and job runtime", lambda say: _build_runtime(site, engine, say)),
    ]
    if for_tests:
        steps.append(("tests", "Packages for the tests", lambda say: _packages(FOR_TESTS, say)))
    return steps


def _packages(wanted: Sequence[Package], say: Say) -> str:
    installed = ensure_packages(wanted, say)
    return "installed " + ", ".join(installed) if installed else ", ".join(package.name for package in wanted)


def install_proxy(say: Say) -> str:
    """The pinned proxy program in the source tree. Raises `SetupError` without Node.js of a fitting age."""
    lock, installed = NODE_DIR / "package-lock.json", NODE_DIR / "node_modules" / ".package-lock.json"
    if not lock.exists():  # installed from a wheel: the program comes from PATH
        program = find_program()
        if program is None:
            raise SetupError(f"{PROGRAM} is not installed.", f"npm install -g {PROGRAM}@5")
        return program
    node = node_version()
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        if shutil.which("npm") is None:
            raise SetupError("npm, which comes with Node.js, is not on PATH.", _node_hint())
        argv = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=http"]
        hint = "Check that npm reaches its package registry from here (proxy: HTTPS_PROXY, certificates: TOOLKIT_CA_BUNDLE)."
        run_command(argv, say, hint, cwd=NODE_DIR, env=tool_environment())
        os.utime(installed)
    return f"{PROGRAM} on Node.js {node}"


def node_version() -> str:
    """Of the `node` on PATH. Raises `SetupError` when it is missing or too old."""
    try:
        answer = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise SetupError("Node.js is missing; the proxy runs on it.", _node_hint()) from error
    found = re.match(r"v(\d+)", answer)
    if found is None or int(found[1]) < OLDEST_NODE:
        raise SetupError(f"Node.js {answer} is too old for the proxy.", _node_hint())
    return answer.lstrip("v")


def _node_hint() -> str:
    return (
        f"Install Node.js {OLDEST_NODE} or newer with npm (https://nodejs.org/en/download; on Debian 13 and Ubuntu 25.04 or "
        "newer: apt-get install nodejs npm), and start again."
    )


def _build_runtime(site: Toolkit, engine: Engine, say: Say) -> str:
    try:
        build_all(site.runtime_dir, engine, say, ca_bundle())
    except RuntimeBuildError as error:
        raise SetupError(f"{error}", "") from error
    except EngineUnavailable as error:
        raise SetupError(f"{error}", "Is there memory and disk space? Start again: what is built is kept.") from error
    except EngineRefused as error:
        raise SetupError(f"Docker Engine refuses: {error}", "Start again: what is built is kept.") from error
    return str(site.runtime_dir)


@contextlib.contextmanager
def _alone(console: Console) -> Iterator[None]:
    """Hold the machine's set-up lock."""
    if not LOCK.parent.is_dir():
        yield
        return
    handle = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            console.print("  ...     another set-up is at work on this machine; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    sys.exit(main())
