"""``python -m toolkit_hub.gate``: one gate.

With ``--listeners FD,FD`` it serves on sockets that it was given, and writes a byte to the file descriptor ``--ready`` as
soon as it does: so `toolkit_hub.host.gate_keeper` lets one gate follow another.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys

import uvloop

from toolkit_hub.configure import load_settings
from toolkit_hub.gate.listeners import PortBusy
from toolkit_hub.gate.server import serve


def main() -> int:
    """Run the gate until it is told to end; returns the exit status."""
    # No line says where in the code or in which thread it was written, so nobody needs to find out: each request has a line.
    logging._srcfile = None  # as the documentation of `logging` has it ("Optimization")
    logging.logThreads = logging.logMultiprocessing = logging.logProcesses = False
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = argparse.ArgumentParser(prog="python -m toolkit_hub.gate")
    parser.add_argument("--listeners", default="", help="file descriptors of the two listening sockets")
    parser.add_argument("--ready", type=int, help="file descriptor that is told when the gate serves")
    options = parser.parse_args()
    listeners = [socket.socket(fileno=int(number)) for number in options.listeners.split(",") if number] or None

    def tell() -> None:
        if options.ready is not None:
            os.write(options.ready, b"1")
            os.close(options.ready)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(load_settings(), listeners, tell))
    except PortBusy as error:
        print(f"toolkit gate: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
