"""Commands that several nouns have in the same form: show things, rename one, archive some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click

from toolkit_client.call import Call
from toolkit_client.cli.lazy import examples
from toolkit_client.cli.output import Output, output_options
from toolkit_client.cli.problems import for_each
from toolkit_client.cli.role_owner import owner_option
from toolkit_client.cli.state import State

__all__ = ["Noun"]

Completer = Callable[[click.Context, click.Parameter, str], list[object]]


@dataclass(frozen=True)
class Noun:
    """What the commands need to know of a kind of thing.

    `own` finds the caller's own thing, which is meant when none is given; without it one has to be given. `in_account`: a
    bare name is looked for in the account that `toolkit --account` chooses. `has_owner`: the calls take an `owner` as well.
    """

    name: str
    columns: Sequence[str]
    complete: Completer
    own: Callable[[State], str] | None = None
    in_account: bool = False
    has_owner: bool = False

    @property
    def metavar(self) -> str:
        return self.name.upper()

    def ref(self, state: State, given: str | None) -> str:
        """The reference that the service is asked with.

        Raises:
            click.UsageError: none was given, and the caller has no such thing of their own.
        """
        if given is not None:
            return state.full_ref(given) if self.in_account else given
        if self.own is None:
            raise click.UsageError(f"which {self.name}? Give its ID or full name")
        return self.own(state)

    def owner_option(self, command: Callable[..., Any]) -> Callable[..., Any]:
        return owner_option(command) if self.has_owner else command

    def asked(self, state: State, call: Callable[..., Call[Any]]) -> Callable[..., Call[Any]]:
        return partial(call, owner=state.role_owner) if self.has_owner else call

    def get(self, call: Callable[..., Call[Any]], help_text: str, *example_lines: str) -> click.Command:
        """``NOUN get [REF…]``."""

        @click.command("get", help=help_text, epilog=examples(*example_lines))
        @click.argument("refs", metavar=f"{self.metavar}…", nargs=-1, shell_complete=self.complete)
        @self.owner_option
        @output_options(self.columns)
        @click.pass_obj
        def get(state: State, refs: tuple[str, ...], output: Output) -> int:
            client = state.client()
            wanted = [self.ref(state, ref) for ref in refs or (None,)]
            asked = self.asked(state, call)
            found, code = for_each(wanted, lambda ref: client.raw(asked(ref)))
            if found:
                output.show(found)
            return code

        return get

    def rename(self, call: Callable[..., Call[Any]], help_text: str, *example_lines: str) -> click.Command:
        """``NOUN set [REF] --name NAME``."""

        @click.command("set", help=help_text, epilog=examples(*example_lines))
        @click.argument("ref", metavar=self.metavar, required=self.own is None, shell_complete=self.complete)
        @click.option("--name", metavar="NAME", required=True, help="The new name, without what stands before it.")
        @self.owner_option
        @output_options(self.columns)
        @click.pass_obj
        def set_(state: State, ref: str | None, name: str, output: Output) -> None:
            asked = self.asked(state, call)
            output.show([state.client().raw(asked(self.ref(state, ref), {"name": name}))])

        return set_

    def each(self, verb: str, call: Callable[..., Call[Any]], help_text: str, *example_lines: str) -> click.Command:
        """``NOUN VERB REF…``: the same call for each; one that fails does not stop the others."""

        @click.command(verb, help=help_text, epilog=examples(*example_lines))
        @click.argument("refs", metavar=f"{self.metavar}…", nargs=-1, required=True, shell_complete=self.complete)
        @self.owner_option
        @output_options(self.columns)
        @click.pass_obj
        def act(state: State, refs: tuple[str, ...], output: Output) -> int:
            client = state.client()
            asked = self.asked(state, call)
            done, code = for_each([self.ref(state, ref) for ref in refs], lambda ref: client.raw(asked(ref)))
            if done:
                output.show(done)
            return code

        return act
