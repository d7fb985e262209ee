"""``toolkit team``."""

from __future__ import annotations

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_teams
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.members import members_of
from toolkit_client.cli.nouns import Noun
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.owner_roles import roles_of
from toolkit_client.cli.policies import policies_of
from toolkit_client.cli.state import State

__all__ = ["team"]

COLUMNS = ("id", "name", "organization", "account")
TEAM = Noun("team", COLUMNS, complete_teams)


@click.command(epilog=examples("toolkit team new acme.cocos", "toolkit team new cocos --field id"))
@click.argument("name")
@output_options(COLUMNS)
@click.pass_obj
def new(state: State, name: str, output: Output) -> None:
    """Create the team NAME (acme.cocos, or cocos), with an account of its own that its members may use.

    You become its administrator. Its members, users and teams, are added with `toolkit team member add`.

    Needs team:new on the organization.
    """
    output.show([state.client().raw(access_calls.create_team({"name": name}))])


@click.command(epilog=examples("toolkit team ls", "toolkit team ls --fields fullName,account"))
@output_options(COLUMNS)
@click.pass_obj
def ls(state: State, output: Output) -> None:
    """List the teams that you may see.

    Needs team:get on what is listed.
    """
    output.show(state.client().raw(access_calls.list_teams())["items"])


COMMANDS: dict[str, tuple[str | click.Command, str]] = {
    "archive": (
        TEAM.each(
            "archive",
            access_calls.archive_team,
            "Archive teams: their members lose what they had by them, and the names are free again. A team's account is "
            "archived with it unless it is in use.\n\nNeeds team:archive.",
            "toolkit team archive acme.cocos",
        ),
        "Archive teams.",
    ),
    "get": (
        TEAM.get(
            access_calls.get_team,
            "Show teams, one a line.\n\nNeeds team:get.",
            "toolkit team get acme.cocos",
            "toolkit team get acme.cocos --field account",
        ),
        "Show teams.",
    ),
    "ls": (ls, "List teams."),
    "member": (members_of("team", "team", "acme.cocos"), "List and change who is in a team."),
    "new": (new, "Create a team."),
    "policy": (policies_of("team", "acme.cocos"), "List and change the policies of a team."),
    "role": (roles_of("team", None), "List the roles of a team, and who has them."),
    "set": (
        TEAM.rename(
            access_calls.change_team,
            "Rename a team. Its account keeps its name (`toolkit account set`); ids, URNs and rights stay.\n\nNeeds team:set.",
            "toolkit team set acme.cocos --name coconuts",
        ),
        "Rename a team.",
    ),
}


@click.group(
    cls=LazyGroup,
    commands_by_name=COMMANDS,
    epilog=examples(
        "toolkit team new acme.cocos", "toolkit team member add acme.cocos --user acme.alice", "toolkit team ls"
    ),
)
def team() -> None:
    """Create, list, rename and archive teams, and say who is in them.

    A team is named by its ID or its name, with the organization before it or without. Its members are users and teams;
    they hold what the team holds.
    """
