"""``--owner``: what a role belongs to, where its name fits an account and a team."""

from __future__ import annotations

from typing import Any

import click

from toolkit_client.cli.state import State

__all__ = ["owner_option"]


def _keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
    # A half-written command line that is to be completed has no state.
    state = context.find_object(State)
    if state is not None:
        state.role_owner = value


#: Sets `State.role_owner`. A team's account has the team's name, unless it was renamed, so this is not rare.
owner_option = click.option(
    "--owner",
    type=click.Choice(["organization", "team", "account"]),
    expose_value=False,
    callback=_keep,
    help="Where the name fits an account and a team: which of them the role belongs to. Default: the account.",
)
