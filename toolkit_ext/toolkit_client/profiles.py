"""Where the site is and who asks: the profile file, and the environment variables that go before it.

``$XDG_CONFIG_HOME/toolkit/config.json`` (default ``~/.config/toolkit/config.json``), for its owner only::

    {"profiles": {"default": {"url": "http://127.0.0.1:8000", "token": "…", "madeHere": true}}}

=====================  ===================================================================
``TOOLKIT_PROFILE``    which profile; default ``default``
``TOOLKIT_URL``        address of the site, before the profile's
``TOOLKIT_TOKEN``      token, before the profile's
=====================  ===================================================================
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from toolkit_client.errors import InvalidRequest

__all__ = [
    "DEFAULT_URL",
    "Profile",
    "checked_url",
    "config_path",
    "find_profile",
    "profile_name",
    "profile_names",
    "remove_profile",
    "save_profile",
]

DEFAULT_URL = "http://127.0.0.1:8000"


class Profile(NamedTuple):
    """A site and a token for it; an empty token means: not signed in.

    `made_here`: `toolkit login` made the token for itself, so that nothing else uses it.
    """

    name: str
    url: str
    token: str
    made_here: bool = False


def config_path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # The XDG specification says to ignore relative paths.
    return (Path(base) if base.startswith("/") else Path.home() / ".config") / "toolkit" / "config.json"


def profile_name(name: str | None = None) -> str:
    """The name of the profile to use: as given, or the environment's, or ``default``."""
    return name or os.environ.get("TOOLKIT_PROFILE", "") or "default"


def find_profile(name: str | None = None, *, url: str | None = None) -> Profile:
    """The profile as the environment changes it; `url` goes before all other addresses.

    A stored token is given to the site it was stored for only, never to another address named in passing.

    Raises:
        InvalidRequest: the address is none, or the profile file cannot be read.
    """
    chosen = profile_name(name)
    stored = _profiles(_read()).get(chosen, {})
    stored_url = str(stored.get("url") or DEFAULT_URL)
    address = checked_url(url or os.environ.get("TOOLKIT_URL", "") or stored_url)
    token = os.environ.get("TOOLKIT_TOKEN", "")
    if not token and address == stored_url:
        token = str(stored.get("token") or "")
    return Profile(chosen, address, token.strip())


def save_profile(profile: Profile) -> Path:
    """Stores a profile, replacing the one of that name; gives the file.

    Raises:
        InvalidRequest: the file or its folder cannot be read or written.
    """
    config = _read()
    stored: dict[str, Any] = {"url": checked_url(profile.url), "token": profile.token}
    _profiles(config)[profile.name] = stored | ({"madeHere": True} if profile.made_here else {})
    return _write(config)


def remove_profile(name: str) -> Profile | None:
    """Forgets a profile; gives what was stored, or None."""
    config = _read()
    stored = _profiles(config).pop(name, None)
    if stored is None:
        return None
    _write(config)
    made_here = stored.get("madeHere") is True
    return Profile(name, str(stored.get("url", "")), str(stored.get("token", "")), made_here)


def checked_url(url: str) -> str:
    """`url` without its last slash; refuses what is no http(s) address of a site.

    Raises:
        InvalidRequest: the text is no address, or has a user name or a query in it.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or "@" in parts.netloc or parts.query or parts.fragment:
        raise InvalidRequest(
            f"not the address of a site: {url!r}",
            "give it as http://HOST:PORT or https://HOST, in TOOLKIT_URL or by `toolkit login --url`",
        )
    return url.rstrip("/")


def profile_names() -> list[str]:
    """The names of the stored profiles."""
    return sorted(_profiles(_read()))


def _profiles(config: dict[str, Any]) -> dict[str, Any]:
    profiles: dict[str, Any] = config.setdefault("profiles", {})
    return profiles


def _read() -> dict[str, Any]:
    path = config_path()
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise InvalidRequest(
            f"cannot read {path}: {problem.strerror}", "it must belong to you, with mode 0600"
        ) from problem
    except ValueError as problem:
        raise InvalidRequest(f"{path} is not JSON: {problem}", "remove it and run `toolkit login` again") from problem
    good = isinstance(config, dict) and isinstance(config.get("profiles", {}), dict)
    if not good or not all(isinstance(stored, dict) for stored in config.get("profiles", {}).values()):
        raise InvalidRequest(f"{path} is no profile file", "remove it and run `toolkit login` again")
    assert isinstance(config, dict)
    return config


def _write(config: dict[str, Any]) -> Path:
    """Replaces the file in one step, so that a reader or a full disk never meets half of it."""
    import tempfile

    path = config_path()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        # mkstemp makes the file with mode 0600, so the token is never readable by others.
        descriptor, temporary = tempfile.mkstemp(prefix=".config-", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(config, file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as problem:
        raise InvalidRequest(
            f"cannot write {path}: {problem.strerror}", "free the disk or fix the folder's owner, or set TOOLKIT_TOKEN"
        ) from problem
    return path
