"""A busy port is named, with who holds it and the way to other ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from traitlets.config import Config

from toolkit_hub.configure import Toolkit
from toolkit_hub.host.ports import check_ports, is_free
from toolkit_hub.host.steps import SetupError

LISTEN = """
import socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
sys.stdin.read()
"""


def site_at(base: int, state: Path) -> Toolkit:
    return Toolkit(config=Config({"Toolkit": {"base_port": base, "state_dir": str(state)}}))


def free_base() -> int:
    return next(base for base in range(23000, 60000, 10) if all(is_free("127.0.0.1", base + n) for n in range(6)))


def test_free_ports_pass(tmp_path: Path) -> None:
    check_ports(site_at(free_base(), tmp_path))


@pytest.mark.parametrize(("offset", "name"), [(0, "proxy"), (5, "hub")])
def test_busy_port_is_named_with_its_holder(tmp_path: Path, offset: int, name: str) -> None:
    base = free_base()
    argv = [sys.executable, "-c", LISTEN, str(base + offset)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"listening\n"
        with pytest.raises(SetupError) as caught:
            check_ports(site_at(base, tmp_path))
        holder.communicate()
    assert f"Port {base + offset} ({name}) is in use by process {holder.pid} (" in caught.value.what
    assert "TOOLKIT_PORT=" in caught.value.hint
    assert f"TOOLKIT_PORT={base} " not in caught.value.hint
