"""``toolkit me``."""

from __future__ import annotations

import click

from toolkit_client import calls
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.state import State

__all__ = ["me"]


@click.command(epilog=examples("toolkit me", "toolkit me --field account"))
@output_options(("id", "name", "organization", "account", "admin"))
@click.pass_obj
def me(state: State, output: Output) -> None:
    """Show who you are: the user that your token speaks for."""
    output.show([state.client().raw(calls.get_me())])
