"""click groups whose commands are loaded when they are used, and commands that show an example in their help."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["LazyGroup", "examples"]


def examples(*lines: str) -> str:
    """An epilog with examples, one a line."""
    return "\b\nExample:\n" + "\n".join(f"  {line}" for line in lines)


class LazyGroup(click.Group):
    """A group that knows its commands by name, place (``module:attribute``) and one line of help.

    So the help of the group, and the run of one command, load no other command's module. A command that was made on the
    spot stands for its own place.
    """

    def __init__(
        self,
        *args: Any,
        commands_by_name: Mapping[str, tuple[str | click.Command, str]],
        aliases: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **{"no_args_is_help": False, **options})
        self._places = dict(commands_by_name)
        self._aliases = dict(aliases or {})

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = self._aliases.get(cmd_name, cmd_name)
        if name not in self._places:
            return None
        place = self._places[name][0]
        if isinstance(place, click.Command):
            return place
        module, _, attribute = place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Says which commands there are when there is no such one."""
        name = args[0]
        if not ctx.resilient_parsing and not name.startswith("-") and self.get_command(ctx, name) is None:
            there_are = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"`{ctx.command_path}` has no command {name!r}; it has {there_are}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        # Past the group's own answer, which would load each command for its help.
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=self._places[name][1]) for name in names), *options]

    def aliases_of(self, name: str) -> list[str]:
        """The other names of a command."""
        return sorted(alias for alias, meant in self._aliases.items() if meant == name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._places[name][1]) for name in self.list_commands(ctx)])
