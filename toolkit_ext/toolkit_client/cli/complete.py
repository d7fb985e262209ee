"""What a shell completes: jobs from the service, profiles from the file. Whatever goes wrong, nothing is said: an error in the
middle of a half-written command line helps nobody."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["complete_ended_jobs", "complete_jobs", "complete_living_jobs", "complete_profiles", "complete_states"]

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
    from click.shell_completion import CompletionItem

    from toolkit_client.errors import ToolkitError

    try:
        jobs = _newest_jobs(context, state)
    except ToolkitError:
        return []
    found: dict[str, str] = {}
    for job in jobs:
        words = [job["name"], job["id"] if incomplete or not job["name"] else None]
        told = " ".join([job["state"].lower(), *(job["command"] or [])])[:60]
        found.update({word: told for word in words if word and word.startswith(incomplete) and word not in found})
    return [CompletionItem(word, help=_one_line(told)) for word, told in found.items()]


def _newest_jobs(context: click.Context, state: str) -> list[dict[str, Any]]:
    """Plain JSON of the newest jobs; none without a token. Raises ToolkitError."""
    from toolkit_client import calls
    from toolkit_client.client import Client
    from toolkit_client.profiles import find_profile

    given = context.find_root().params
    profile, account = find_profile(given.get("profile")), given.get("account")
    if not profile.token:
        return []
    with Client(profile.url, profile.token, timeout=PATIENCE, retry_pauses=()) as client:
        wanted = calls.list_jobs(limit=LOOKED_AT, state=state, account=account, mine=account is None)
        items: list[dict[str, Any]] = client.raw(wanted)["items"]
    return items


def _one_line(text: str) -> str:
    """What the shells' protocols can carry: no line ends or tabs, and nothing that acts on the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
