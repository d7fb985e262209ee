"""The doctor without the service: ``python -m toolkit_hub.host.doctor [--format table|json]``, on the site's machine.

The same checks as `toolkit admin doctor`. Exit code 0: nothing is a problem; 1: something is.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from toolkit_client.admin_models import Checkup, FindingState
from toolkit_hub.doctor import Patient, examine
from toolkit_hub.host.site import load_site
from toolkit_hub.host.steps import SetupError, show_failure
from toolkit_hub.store import Store
from toolkit_spawner.docker_api import Engine

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m toolkit_hub.host.doctor", description="Check this machine's site, whether its units run or not."
    )
    parser.add_argument("--format", choices=["table", "json"], default="table")
    options = parser.parse_args(arguments)
    try:
        site = load_site()
        store = Store(site.database_url)
    except SetupError as error:
        show_failure(error)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    engine = Engine()
    try:
        found = asyncio.run(examine(Patient(site, store, engine)))
    finally:
        engine.close()
        store.close()
    if options.format == "json":
        print(found.model_dump_json(by_alias=True))
    else:
        _print(found)
    return 1 if found.state == FindingState.PROBLEM else 0


def _print(found: Checkup) -> None:
    width = max(len(item.check) for item in found.items)
    for item in found.items:
        print(f"{item.state:<8} {item.check:<{width}} {_plain(item.message)}")
        if item.hint:
            print(f"{'':8} {'':{width}} -> {_plain(item.hint)}")


def _plain(text: str) -> str:
    """Without control characters: what programs said must not drive the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


if __name__ == "__main__":
    sys.exit(main())
