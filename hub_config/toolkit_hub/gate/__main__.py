"""``python -m toolkit_hub.gate``: the gate as a unit of its own."""

from __future__ import annotations

import asyncio
import logging
import sys

import uvloop

from toolkit_hub.configure import load_settings
from toolkit_hub.gate.server import PortBusy, serve


def main() -> int:
    """Run the gate until it is told to end; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(load_settings()))
    except PortBusy as error:
        print(f"toolkit gate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
