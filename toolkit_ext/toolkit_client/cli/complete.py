"""What a shell completes: jobs, accounts, roles … from the service, profiles from the file. Whatever goes wrong, nothing is
said: an error in the middle of a half-written command line helps nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from toolkit_client.call import Call

__all__ = [
    "complete_accounts",
    "complete_apps",
    "complete_data",
    "complete_ended_jobs",
    "complete_jobs",
    "complete_living_jobs",
    "complete_profiles",
    "complete_roles",
    "complete_states",
    "complete_teams",
    "complete_users",
]

#: Seconds that a completion may take; the user's fingers are waiting.
PATIENCE = 1.0
#: Jobs that are looked at: the newest ones.
LOOKED_AT = 100
STATES = (
    "alive",
    "all",
    "queuing",
    "queued",
    "running",
    "succeeded",
    "failed",
    "cancelling",
    "cancelled",
    "interrupted",
)
#: States in which a job can be retried.
ENDED = "succeeded,failed,cancelled,interrupted"


def complete_jobs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    return _jobs(context, incomplete, "all")


def complete_living_jobs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    return _jobs(context, incomplete, "alive")


def complete_ended_jobs(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    return _jobs(context, incomplete, ENDED)


def complete_apps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[object]:
    """A job, and then one of its apps."""
    if context.params.get("words") or context.params.get("last"):
        names = ("jupyter", "ttyd", "code-server", "sshd")
        return [name for name in names if name.startswith(incomplete)]
    return complete_living_jobs(context, parameter, incomplete)


def complete_accounts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    from toolkit_client import access_calls

    return _names(context, incomplete, access_calls.list_accounts())


def complete_teams(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    from toolkit_client import access_calls

    return _names(context, incomplete, access_calls.list_teams())


def complete_roles(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    from toolkit_client import access_calls

    return _names(context, incomplete, access_calls.list_roles())


def complete_users(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    from toolkit_client import calls

    return _names(context, incomplete, calls.list_users())


def complete_data(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[object]:
    from toolkit_client import access_calls

    return _names(context, incomplete, access_calls.list_data(context.find_root().params.get("account")))


def complete_profiles(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    from toolkit_client.errors import ToolkitError
    from toolkit_client.profiles import profile_names

    try:
        return [name for name in profile_names() if name.startswith(incomplete)]
    except ToolkitError:
        return []


def complete_states(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{state}" for state in STATES if state.startswith(last)]


def _jobs(context: click.Context, incomplete: str, state: str) -> list[object]:
    """Names and ids of the caller's jobs, or of the account's, each with its state; names where there are some."""
    from toolkit_client import calls

    account = context.find_root().params.get("account")
    wanted = calls.list_jobs(limit=LOOKED_AT, state=state, account=account, mine=account is None)

    def words(job: dict[str, Any]) -> list[str | None]:
        return [job["name"], job["id"] if incomplete or not job["name"] else None]

    return _offered(context, incomplete, wanted, words, lambda job: [job["state"].lower(), *(job["command"] or [])])


def _names(context: click.Context, incomplete: str, wanted: Call[Any]) -> list[object]:
    """Full names; once something is written, bare names and ids as well."""

    def words(thing: dict[str, Any]) -> list[str | None]:
        return [thing["fullName"], *([thing["name"], thing["id"]] if incomplete else [])]

    return _offered(context, incomplete, wanted, words, lambda thing: [thing["id"]])


def _offered(
    context: click.Context,
    incomplete: str,
    wanted: Call[Any],
    words: Callable[[dict[str, Any]], list[str | None]],
    told: Callable[[dict[str, Any]], list[str]],
) -> list[object]:
    """The words for each thing that the service lists, each with what is told of it; each word once."""
    from click.shell_completion import CompletionItem

    from toolkit_client.errors import ToolkitError

    try:
        things = _listed(context, wanted)
    except ToolkitError:
        return []
    found: dict[str, str] = {}
    for thing in things:
        about = " ".join(told(thing))[:60]
        good = (word for word in words(thing) if word and word.startswith(incomplete) and word not in found)
        found.update(dict.fromkeys(good, about))
    return [CompletionItem(word, help=_one_line(about)) for word, about in found.items()]


def _listed(context: click.Context, wanted: Call[Any]) -> list[dict[str, Any]]:
    """Plain JSON of what a call lists; nothing without a token. Raises ToolkitError."""
    from toolkit_client.client import Client
    from toolkit_client.profiles import find_profile

    profile = find_profile(context.find_root().params.get("profile"))
    if not profile.token:
        return []
    with Client(profile.url, profile.token, timeout=PATIENCE, retry_pauses=()) as client:
        items: list[dict[str, Any]] = client.raw(wanted)["items"]
    return items


def _one_line(text: str) -> str:
    """What the shells' protocols can carry: no line ends or tabs, and nothing that acts on the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
