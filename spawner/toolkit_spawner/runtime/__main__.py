"""``python -m toolkit_spawner.runtime [selftest]``: build what the jobs of this site need, and try it in images of all kinds."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from toolkit_spawner.docker_api import Engine, EngineUnavailable
from toolkit_spawner.runtime.build import build_all
from toolkit_spawner.runtime.errors import RuntimeBuildError
from toolkit_spawner.runtime.selftest import run_selftest

#: The system's own CA bundle, where the common distributions keep it.
SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


def ca_bundle() -> Path | None:
    """TOOLKIT_CA_BUNDLE, or the system's. Its certificates that Debian has too are left out of the image."""
    named = os.environ.get("TOOLKIT_CA_BUNDLE")
    if named is not None:
        return Path(named) if named else None
    return next((Path(path) for path in SYSTEM_BUNDLES if Path(path).is_file()), None)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m toolkit_spawner.runtime")
    parser.add_argument("action", nargs="?", choices=("build", "selftest"), default="build")
    action = parser.parse_args().action
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:5.0f} s] {line}", flush=True)

    runtime_dir = Path(os.environ.get("TOOLKIT_STATE", ".toolkit")).absolute() / "runtime"
    engine = Engine()
    try:
        build_all(runtime_dir, engine, say, ca_bundle())
        say(f"images and runtime folder are up to date ({runtime_dir / 'current'})")
        if action == "selftest" and not run_selftest(engine, runtime_dir / "current", say, runtime_dir):
            return 1
    except (RuntimeBuildError, EngineUnavailable, OSError) as error:
        print(f"toolkit: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
