"""``toolkit rule``: what you hold, who may do something, and why."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client import access_calls
from toolkit_client.cli.complete import complete_users
from toolkit_client.cli.lazy import LazyGroup, examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["allowed", "ls", "rule", "who_is_allowed", "why"]

HERE = "toolkit_client.cli.rule"

user_option = click.option(
    "--user", metavar="USER", shell_complete=complete_users, help="Of this user; needs user:policy on the user."
)


@click.group(
    cls=LazyGroup,
    commands_by_name={
        "allowed": (f"{HERE}:allowed", "Whether you may do something."),
        "ls": (f"{HERE}:ls", "List the rules that you hold."),
        "who-is-allowed": (f"{HERE}:who_is_allowed", "List who may do something."),
        "why": (f"{HERE}:why", "Show why you may do something, or what is missing."),
    },
    epilog=examples(
        "toolkit rule ls",
        'toolkit rule allowed "data:set@$(toolkit data get images --field urn)"',
        'toolkit rule why "job:exec@$(toolkit job get train --field urn)"',
    ),
)
def rule() -> None:
    """Ask who may do what, and why.

    A question is one action on one resource, `action@urn`, both without wildcards. Names in the URN are read as ids:
    `job:get@acme:account:acme.joe:job:train`. docs/actions.md lists the actions.
    """


@click.command(epilog=examples("toolkit rule ls", "toolkit rule ls --user acme.bob --fields action,named,via,expires"))
@user_option
@output_options(("action", "expression"))
@click.pass_obj
def ls(state: State, user: str | None, output: Output) -> None:
    """List the rules that you hold: by your own policies, your teams and your roles.

    `--fields action,named,via` shows names in the place of ids, and whose policy it is.

    Needs nothing for your own; for --user, user:policy on the user.
    """
    output.show(state.client().raw(access_calls.list_rules(user))["items"])


@click.command(
    epilog=examples(
        'toolkit rule allowed "data:set@$(toolkit data get images --field urn)"',
        "if toolkit rule allowed job:new@acme:account:acme.cocos; then echo yes; fi",
    )
)
@click.argument("question", metavar="ACTION@URN")
@user_option
@click.pass_obj
def allowed(state: State, question: str, user: str | None) -> int:
    """Print `allowed` and exit with 0, or print `denied` and exit with 1.

    Needs nothing for yourself; for --user, user:policy on the user.
    """
    call = access_calls.is_allowed(question) if user is None else access_calls.explain_rule(question, user)
    yes = bool(state.client().raw(call)["allowed"])
    click.echo("allowed" if yes else "denied")
    return 0 if yes else 1


@click.command(
    epilog=examples(
        'toolkit rule who-is-allowed "data:set@$(toolkit data get images --field urn)"',
        "toolkit rule who-is-allowed organization:maintain@acme --fields name,via",
    )
)
@click.argument("question", metavar="ACTION@URN")
@output_options(("type", "name", "id", "via"))
@click.pass_obj
def who_is_allowed(state: State, question: str, output: Output) -> None:
    """List all who may: users, and roles that have a key. `via` is the shortest way by which.

    The list is complete, or there is an error.

    Needs the `get` of the resource.
    """
    output.show(state.client().raw(access_calls.who_is_allowed(question))["items"])


@click.command(
    epilog=examples(
        'toolkit rule why "job:exec@$(toolkit job get train --field urn)"',
        "toolkit rule why data:get@acme:account:acme.joe:data:images --user acme.bob",
    )
)
@click.argument("question", metavar="ACTION@URN")
@user_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["tree", "json"]),
    default="tree",
    help="A tree, or the answer as one JSON object. Default: tree.",
)
@click.pass_obj
def why(state: State, question: str, user: str | None, form: str) -> None:
    """Show why something is allowed: the ways from the user, by teams and roles, to the statements.

    For a no: why, the statements that come nearest, what would have to be granted, and who could grant it. The exit
    code is 0 for both; `rule allowed` tells by its exit code.

    Needs nothing for yourself; for --user, user:policy on the user.
    """
    answer: dict[str, Any] = state.client().raw(access_calls.explain_rule(question, user))
    if form == "json":
        import json

        click.echo(json.dumps(answer, separators=(",", ":")))
        return
    from toolkit_client.cli.rule_tree import tree_lines

    for line in tree_lines(answer):
        click.echo(line)
