"""Handing a connection to ssh where it is TLS, or where the program that asks wants bytes: with real sockets and processes."""

from __future__ import annotations

import array
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DATA = bytes(range(256)) * 8192
CLIENT = """
import sys
from toolkit_client.exec.channel import Channel
from toolkit_client.exec.ssh_proxy import carry_standard, give_socket, wants_socket
from toolkit_client.transfer.connection import connected_socket
channel = Channel(connected_socket(sys.argv[1]))
assert channel.exchange(b"hello\\n", 10) == b"welcome\\n"
give_socket(channel) if wants_socket() else carry_standard(channel)
"""


def certificate(folder: Path) -> Path:
    """Signed by itself. The client connects with localhost by its number."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(True, None), True)
        .sign(key, hashes.SHA256())
    )
    place = folder / "localhost.pem"
    place.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return place


@pytest.fixture(params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """One visitor: says welcome and, in the same breath, the first words of what comes next; then echoes until the end."""
    pem = certificate(tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listener.accept()[0] as plain:
            connection: socket.socket = plain
            if request.param == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(pem)
                connection = context.wrap_socket(plain, server_side=True)
            assert connection.recv(100) == b"hello\n"
            connection.sendall(b"welcome\nfirst words;")
            left = len(DATA)
            while left and (piece := connection.recv(65536)):
                connection.sendall(piece)
                left -= len(piece)
            connection.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"{request.param}://localhost:{listener.getsockname()[1]}", pem
    thread.join(20)
    listener.close()
    assert not thread.is_alive()


def run(server: tuple[str, Path], stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    url, pem = server
    command = [sys.executable, "-c", CLIENT, url]
    return subprocess.Popen(command, stdin=stdin, stdout=stdout, env={"SSL_CERT_FILE": str(pem), "PATH": "/usr/bin"})


def read_all(connection: socket.socket) -> bytes:
    found = b""
    while piece := connection.recv(1 << 16):
        found += piece
    return found


def test_ssh_gets_a_socket(server: tuple[str, Path]) -> None:
    """As its ProxyUseFdpass has it: the process ends, and the socket works on, from the first byte of what was not read."""
    ours, theirs = socket.socketpair()
    process = run(server, theirs.fileno(), theirs.fileno())
    theirs.close()
    with ours:
        ours.settimeout(30)
        _, found, _, _ = ours.recvmsg(1, 64)
        assert process.wait(20) == 0
        number = array.array("i", found[0][2])[0]
    with socket.socket(fileno=number) as given:
        given.settimeout(30)
        sender = threading.Thread(target=given.sendall, args=(DATA,))
        sender.start()
        assert read_all(given) == b"first words;" + DATA
        sender.join()


def test_others_get_bytes(server: tuple[str, Path]) -> None:
    process = run(server, subprocess.PIPE, subprocess.PIPE)
    assert process.communicate(DATA, timeout=60)[0] == b"first words;" + DATA
    assert process.returncode == 0
