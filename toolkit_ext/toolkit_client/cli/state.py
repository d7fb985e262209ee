"""What all commands share: the chosen profile and account, the connection, and how things are named."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal

import click

from toolkit_client import calls
from toolkit_client.errors import InvalidRequest, NotFound, NotSignedIn
from toolkit_client.profiles import Profile, find_profile

if TYPE_CHECKING:
    from toolkit_client.client import Client

__all__ = ["State", "is_id", "read_secret"]


class State:
    """The context object of the commands."""

    def __init__(self, profile: str | None, account: str | None) -> None:
        self.profile = profile
        self.account = account
        #: What a role belongs to, where its name fits several; see `role_owner.owner_option`.
        self.role_owner: Literal["organization", "team", "account"] | None = None
        self._client: Client | None = None

    def client(self) -> Client:
        """The connection to the site; made at the first use.

        Raises:
            NotSignedIn: there is no token for the site.
        """
        if self._client is None:
            found = self.signed_in()
            from toolkit_client.client import Client

            self._client = Client(found.url, found.token)
        return self._client

    def signed_in(self) -> Profile:
        """The site and the token for it.

        Raises:
            NotSignedIn: there is no token for the site.
        """
        found = find_profile(self.profile)
        if not found.token:
            raise NotSignedIn(
                f"you are not signed in at {found.url} (profile {found.name})",
                f"run `toolkit login --url {found.url} --token @FILE`, or set TOOLKIT_TOKEN",
            )
        return found

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def full_ref(self, ref: str) -> str:
        """A bare name means a thing in the chosen account; without one the service takes the home account.

        The names of data may begin with a dot.
        """
        if self.account and "." not in ref.removeprefix(".") and not is_id(ref.partition(":")[0]):
            return f"{self.account}.{ref}"
        return ref

    def me(self) -> dict[str, Any]:
        """Who the caller is, as plain JSON."""
        found: dict[str, Any] = self.client().raw(calls.get_me())
        return found

    def own_account(self) -> str:
        """The chosen account, or the caller's home account."""
        return self.account or str(self.me()["accountId"])

    def newest_job(self) -> dict[str, Any]:
        """The newest job that the caller created; the array, if it is one of an array's.

        Raises:
            NotFound: there is none.
        """
        page = self.client().raw(calls.list_jobs(limit=1, mine=True, state="all"))
        if not page["items"]:
            raise NotFound("you have not created a job yet", "`toolkit job submit -- CMD…` creates one")
        job: dict[str, Any] = page["items"][0]
        if job["arrayId"] and not job["retryOf"]:
            job = self.client().raw(calls.get_job(job["arrayId"]))
        return job

    def find_ref(self, ref: str | None, last: bool, *, or_last: bool = False) -> str:
        """The job that a command was given: by ID or name, or by ``--last``.

        Raises:
            click.UsageError: neither or both were given; with `or_last`, neither means ``--last``.
        """
        if ref is not None and last:
            raise click.UsageError("give either a job or --last, not both")
        if ref is not None:
            return self.full_ref(ref)
        if not last and not or_last:
            raise click.UsageError("which job? Give its ID or name, or --last for the newest one that you created")
        return str(self.newest_job()["id"])

    def find_refs(self, refs: tuple[str, ...], last: bool) -> list[str]:
        """The jobs that a command was given, each once; see `find_ref`."""
        if not refs:
            return [self.find_ref(None, last)]
        return list(dict.fromkeys(self.find_ref(ref, last) for ref in refs))

    def job(self, ref: str | None, last: bool, *, or_last: bool = False) -> dict[str, Any]:
        """The job that a command was given, as plain JSON; see `find_ref`."""
        if ref is None and (last or or_last):
            return self.newest_job()
        job: dict[str, Any] = self.client().raw(calls.get_job(self.find_ref(ref, last)))
        return job


def is_id(ref: str) -> bool:
    """Whether something is named by its id, a UUID."""
    return len(ref) == 36 and ref.count("-") == 4


def read_secret(what: str, *, from_stdin: bool) -> str:
    """A secret from the first line of stdin, or asked for on the terminal without showing it.

    Raises:
        InvalidRequest: stdin is empty.
        click.UsageError: there is no terminal to ask on.
    """
    if from_stdin:
        secret = sys.stdin.readline().rstrip("\r\n")
        if not secret:
            raise InvalidRequest(f"no {what} came from stdin", f"write the {what} and a line end to stdin")
        return secret
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask for the {what} on: use --password-stdin")
    return str(click.prompt(what.capitalize(), hide_input=True, err=True))
