"""How commands take jobs: by ID or name, or by ``--last``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

__all__ = ["one_job", "several_jobs"]

Command = Callable[..., Any]
Completer = Callable[[click.Context, click.Parameter, str], list[object]]
last_option = click.option("--last", is_flag=True, help="The newest job, or array, that you created.")


def one_job(complete: Completer) -> Callable[[Command], Command]:
    """Adds an argument `ref` and the flag `last`; `State.find_ref` says which job they mean."""

    def decorate(command: Command) -> Command:
        return click.argument("ref", metavar="ID", required=False, shell_complete=complete)(last_option(command))

    return decorate


def several_jobs(complete: Completer) -> Callable[[Command], Command]:
    """Adds an argument `refs` and the flag `last`; `State.find_refs` says which jobs they mean."""

    def decorate(command: Command) -> Command:
        return click.argument("refs", metavar="ID…", nargs=-1, shell_complete=complete)(last_option(command))

    return decorate
