"""``toolkit completion``."""

from __future__ import annotations

import click

from toolkit_client.cli.lazy import examples

__all__ = ["completion"]

#: The environment variable by which the scripts ask `toolkit` what fits; click derives it from the program's name.
VARIABLE = "_TOOLKIT_COMPLETE"


@click.command(
    epilog=examples(
        "toolkit completion bash > ~/.local/share/bash-completion/completions/toolkit",
        "toolkit completion zsh > ~/.zfunc/_toolkit",
        "toolkit completion fish > ~/.config/fish/completions/toolkit.fish",
        "source <(toolkit completion bash)",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that teaches a shell to complete commands, options, and your jobs' names and ids.

    For zsh, ~/.zfunc must be in fpath before compinit runs. Bash must be 4.4 or newer.
    """
    from click.shell_completion import ShellComplete, get_completion_class

    from toolkit_client.cli.app import toolkit

    found = get_completion_class(shell)
    assert found is not None
    # The class's own `source()` would start a bash to look at its version.
    click.echo(ShellComplete.source(found(toolkit, {}, "toolkit", VARIABLE)))
