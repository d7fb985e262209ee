"""Runs in the image's build: adds the certificates of a bundle that the system does not have yet to its store."""

import re
import subprocess
import sys
from pathlib import Path

CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s*(.+?)\s*-----END CERTIFICATE-----", re.S)


def certificates(path: Path) -> list[str]:
    return ["".join(body.split()) for body in CERTIFICATE.findall(path.read_text())]


def main(bundle: Path) -> None:
    known = set(certificates(Path("/etc/ssl/certs/ca-certificates.crt")))
    fresh = [body for body in dict.fromkeys(certificates(bundle)) if body not in known]
    for number, body in enumerate(fresh):
        lines = "\n".join(body[at : at + 64] for at in range(0, len(body), 64))
        target = Path(f"/usr/local/share/ca-certificates/toolkit-site-{number}.crt")
        target.write_text(f"-----BEGIN CERTIFICATE-----\n{lines}\n-----END CERTIFICATE-----\n")
    if fresh:
        subprocess.run(["update-ca-certificates"], check=True)


main(Path(sys.argv[1]))
