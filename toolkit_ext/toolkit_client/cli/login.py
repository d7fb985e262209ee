"""``toolkit login`` and ``toolkit logout``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.safe_text import escape
from toolkit_client.cli.state import State, read_secret
from toolkit_client.errors import InvalidRequest, ToolkitError
from toolkit_client.profiles import Profile, find_profile, profile_name, remove_profile, save_profile

__all__ = ["login", "logout"]


@click.command(
    epilog=examples(
        "toolkit login --url http://127.0.0.1:8000 --token @.toolkit/admin-token",
        "toolkit login --token - < token-file",
        "toolkit login --username joe --password-stdin < password-file",
    )
)
@click.option("--url", metavar="U", help="Address of the site, as http://127.0.0.1:8000.")
@click.option(
    "--token", metavar="T", help="The token itself, @FILE to read it from a file, or - to read it from stdin."
)
@click.option("--username", metavar="NAME", help="Sign in by name and password instead; the token lasts 12 hours.")
@click.option("--password-stdin", is_flag=True, help="Read the password from the first line of stdin.")
@click.pass_obj
def login(state: State, url: str | None, token: str | None, username: str | None, password_stdin: bool) -> None:
    """Sign in to a site and remember it, under the name that `toolkit --profile` gives.

    The token is checked first, and stored in a file that only you can read. A token written on the command line can be
    read there by the machine's other users while the command runs, and stays in your shell's history; @FILE and - avoid
    both.
    """
    if (token is None) == (username is None):
        raise click.UsageError("sign in with either --token or --username")
    if password_stdin and username is None:
        raise click.UsageError("--password-stdin goes with --username")
    site = find_profile(state.profile, url=url).url
    if username is not None:
        from toolkit_client.hub_tokens import new_token

        given = new_token(site, username, read_secret("password", from_stdin=password_stdin))
    else:
        given = _given_token(str(token))
    user = _check(site, given)
    path = save_profile(Profile(profile_name(state.profile), site, given, made_here=username is not None))
    click.echo(f"signed in at {site} as {escape(user['fullName'])}; stored in {path}")
    _warn(site)


@click.command(epilog=examples("toolkit logout", "toolkit --profile lab logout", "toolkit logout --revoke"))
@click.option("--revoke", is_flag=True, help="Revoke the token also if it was given to `login`, not made by it.")
@click.pass_obj
def logout(state: State, revoke: bool) -> None:
    """Forget the stored site and token, and revoke the token at the site.

    A token that `login --token` was given may be in use elsewhere: it is revoked with --revoke only. The stored copy is
    removed in any case, also when the site does not answer.
    """
    name = profile_name(state.profile)
    stored = remove_profile(name)
    if stored is None:
        click.echo(f"nothing was stored as {name}")
    else:
        click.echo(f"signed out of {escape(stored.url)}")
        if stored.made_here or revoke:
            _revoke(stored)
        elif stored.token:
            print(f"the token itself stays valid; {_by_hand(stored)} ends it", file=sys.stderr)
    if os.environ.get("TOOLKIT_TOKEN"):
        print("TOOLKIT_TOKEN is still set and signs you in", file=sys.stderr)


def _revoke(stored: Profile) -> None:
    """Ends a token at its hub, or says how to."""
    from toolkit_client.hub_tokens import revoke_token

    try:
        known = revoke_token(stored.url, stored.token)
    except ToolkitError as problem:
        print(f"the token was not revoked: {escape(problem.message)}; {_by_hand(stored)} ends it", file=sys.stderr)
        return
    print("the token was revoked" if known else "the token had ended already", file=sys.stderr)


def _by_hand(stored: Profile) -> str:
    return f"{escape(stored.url)}/hub/token"


def _check(site: str, token: str) -> dict[str, Any]:
    """Who the token speaks for; raises NotSignedIn if nobody."""
    from toolkit_client.client import Client

    with Client(site, token) as client:
        user: dict[str, Any] = client.raw(calls.get_me())
    return user


def _given_token(text: str) -> str:
    """The token that ``T``, ``@FILE`` or ``-`` stands for.

    Raises:
        InvalidRequest: the file cannot be read, or what was read is no token.
    """
    if text == "-":
        token = sys.stdin.readline().strip()
    elif text.startswith("@"):
        try:
            token = Path(text[1:]).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            reason = getattr(problem, "strerror", None) or "it is not text"
            raise InvalidRequest(
                f"cannot read the token from {text[1:]}: {reason}", "name a file with the token in it"
            ) from problem
    else:
        token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise InvalidRequest("that is no token: a token is one line of letters and digits", "copy it again, all of it")
    return token


def _warn(site: str) -> None:
    if os.environ.get("TOOLKIT_TOKEN"):
        print("TOOLKIT_TOKEN is set and goes before what was stored now", file=sys.stderr)
    if site.startswith("http:") and urlsplit(site).hostname not in ("localhost", "127.0.0.1", "::1"):
        print("warning: http carries the token unencrypted to that site; use https", file=sys.stderr)
