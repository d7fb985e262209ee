"""``toolkit organization``."""

from __future__ import annotations

import click

from toolkit_client import access_calls
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.nouns import Noun
from toolkit_client.cli.owner_roles import roles_of
from toolkit_client.cli.state import State

__all__ = ["organization"]


def _own(state: State) -> str:
    return str(state.me()["organizationId"])


def _complete_nothing(_context: click.Context, _parameter: click.Parameter, _incomplete: str) -> list[object]:
    """Who is in one organization sees no other, and may leave its name out."""
    return []


ORGANIZATION = Noun("organization", ("id", "name", "created"), _complete_nothing, own=_own)
COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "get": (
        ORGANIZATION.get(
            access_calls.get_organization,
            "Show the organization; without ORGANIZATION your own.\n\nNeeds organization:get.",
            "toolkit organization get",
            "toolkit organization get --field urn",
        ),
        "Show the organization.",
    ),
    "role": (roles_of("organization", _own), "List the organization's roles, and who has them."),
    "set": (
        ORGANIZATION.rename(
            access_calls.change_organization,
            "Rename the organization. All full names follow; ids, URNs and rights stay.\n\nNeeds organization:set.",
            "toolkit organization set --name acme",
        ),
        "Rename the organization.",
    ),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples("toolkit organization get", "toolkit organization role ls --fields id,name"),
)
def organization() -> None:
    """Show and rename the organization, and say who administers it.

    Its roles are `admin`, whose members may do everything, and `user`, which every user has.
    """
