"""The first administrator of a new site, and the token that the log-in line of `make run` uses."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy.exc import SQLAlchemyError

from toolkit_client.errors import ToolkitError
from toolkit_hub.configure import Toolkit
from toolkit_hub.domain.users import ensure_first_admin
from toolkit_hub.host.steps import SetupError
from toolkit_hub.site_secrets import read_secret, write_private
from toolkit_hub.store.engines import shown_url
from toolkit_hub.store.store import Store

__all__ = ["ADMIN", "FirstAdmin", "admin_token", "prepare_store"]

ADMIN = "admin"
#: No letters and digits that look alike: the password is typed from a terminal once.
ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
PASSWORD_LENGTH = 20


@dataclass(frozen=True)
class FirstAdmin:
    """`password` only when the administrator has just been made; later it is in `password_file` alone, if anywhere."""

    name: str
    password: str | None
    password_file: Path


def prepare_store(site: Toolkit) -> FirstAdmin:
    """Bring the database to this version's schema, and make the first administrator where there is no user yet.

    The password's file is written first: a stop in between leaves a file that the next start uses, never an administrator
    whose password nobody knows. Raises `SetupError` when the database cannot be used.
    """
    file = site.state / "admin-password"
    fresh = write_private(file, _new_password() + "\n", replace=False)
    password = read_secret(file)
    try:
        store = Store(site.database_url)
    except ValueError as error:
        if fresh:
            file.unlink()
        raise SetupError(f"{error}.", "Correct it in jupyterhub_config.py, and start again.") from None
    try:
        store.migrate()
        with store.begin() as session:
            made = ensure_first_admin(session, site.organization, ADMIN, password)
    except (SQLAlchemyError, ToolkitError) as error:
        if fresh:
            file.unlink()
        raise SetupError(f"The toolkit's database cannot be used: {error}", _database_hint(site)) from error
    finally:
        store.close()
    if made:
        write_private(site.state / "admin-user", ADMIN + "\n")
    elif fresh:
        # The database is older than this state folder: what was just invented is nobody's password.
        file.unlink()
    return FirstAdmin(ADMIN, password if made else None, file)


def _database_hint(site: Toolkit) -> str:
    return f"Check that {shown_url(site.database_url)} is in reach and may be written (c.Toolkit.database_url), and start again."


def _new_password() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(PASSWORD_LENGTH))


def admin_token(site: Toolkit) -> Path:
    """The file with the administrator's hub token, renewed when the hub does not know it any more.

    Raises `SetupError` when none can be made, as after the administrator has changed the password.
    """
    file = site.state / "admin-token"
    # Straight to the hub on loopback: neither the proxy nor one of the environment (HTTP_PROXY) has a part in it.
    with httpx.Client(base_url=site.hub_url, timeout=30, trust_env=False) as client, _hub_errors():
        if file.exists() and _is_accepted(client, read_secret(file)):
            return file
        write_private(file, _new_token(client, site) + "\n")
    return file


@contextlib.contextmanager
def _hub_errors() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as error:
        raise SetupError(f"The hub does not answer: {error}", "Its log is logs/hub.log in the state folder.") from error


def _is_accepted(client: httpx.Client, token: str) -> bool:
    answer = client.get("/hub/api/user", headers={"Authorization": f"token {token}"})
    return answer.is_success and answer.json().get("name") == ADMIN


def _new_token(client: httpx.Client, site: Toolkit) -> str:
    file = site.state / "admin-password"
    by_hand = f"Sign in at {site.public_url}, and make a token at {site.public_url}/hub/token."
    if not file.exists():
        raise SetupError(f"No token was made for {ADMIN}: the password is not in {file}.", by_hand)
    # With credentials, not with a token: no unit holds a right to make tokens for others.
    body = {"auth": {"username": ADMIN, "password": read_secret(file)}, "note": "toolkit login, made by make run"}
    answer = client.post(f"/hub/api/users/{ADMIN}/tokens", json=body)
    if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise SetupError(
            f"No token was made for {ADMIN}: the password in {file} is not the present one (it was changed).", by_hand
        )
    if not answer.is_success:
        raise SetupError(f"No token was made for {ADMIN}: the hub answered {answer.status_code}.", by_hand)
    return str(answer.json()["token"])
