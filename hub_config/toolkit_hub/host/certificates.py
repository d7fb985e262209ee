"""Which certificate authorities this machine trusts, for the tools that bring a list of their own. Standard library only."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit_hub.host.steps import SetupError

__all__ = ["ca_bundle", "tool_environment"]

#: Debian and Ubuntu, Fedora and RHEL, openSUSE, Alpine.
SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def ca_bundle() -> Path | None:
    """TOOLKIT_CA_BUNDLE, else the system's; None when there is neither, or the variable is set to nothing.

    Raises `SetupError` when it names no file.
    """
    chosen = os.environ.get("TOOLKIT_CA_BUNDLE")
    if chosen == "":
        return None
    if chosen is not None:
        path = Path(chosen)
        if not path.is_file():
            raise SetupError(
                f"TOOLKIT_CA_BUNDLE names {chosen}, which is no file.", "Name an existing file, or unset it."
            )
        return path
    return next((Path(path) for path in SYSTEM_BUNDLES if Path(path).is_file()), None)


def tool_environment() -> dict[str, str]:
    """Variables that make pip and npm trust what the machine trusts; those that are set already stay as they are."""
    bundle = ca_bundle()
    if bundle is None:
        return {}
    wanted = {"PIP_CERT": str(bundle), "NODE_EXTRA_CA_CERTS": str(bundle)}
    return {name: value for name, value in wanted.items() if name not in os.environ}
