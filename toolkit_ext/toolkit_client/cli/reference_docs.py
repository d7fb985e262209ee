"""``docs/cli.md``, written by the commands themselves: ``python -m toolkit_client.cli.reference_docs docs``.

A test holds the page equal.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from toolkit_client.cli.app import EXIT_CODES, toolkit
from toolkit_client.cli.lazy import LazyGroup
from toolkit_client.job_spec import JobSpec
from toolkit_client.wire import keys_at

__all__ = ["PAGES", "cli_page"]

HEAD = """# The command line

`toolkit` submits jobs, follows them and ends them, moves data, and says who may do what, from a laptop, from the hub's
machine, or from inside a job. `-h` after any command shows what it takes; `toolkit completion bash|zsh|fish` prints a script
that completes commands, options, jobs, and the names of accounts, data, roles, teams and users.

Made from the code by `python -m toolkit_client.cli.reference_docs docs`.

## Signing in

`toolkit login` stores the site's address and a token in `~/.config/toolkit/config.json` (or below `$XDG_CONFIG_HOME`), which only
you can read; `--profile P` keeps several sites apart. `TOOLKIT_URL`, `TOOLKIT_TOKEN` and `TOOLKIT_PROFILE` go before what is
stored. A stored token is sent to the site that it was stored for, and to no other.
"""

OUTPUT = """## Output

Results are on stdout, everything else on stderr. Commands that print things have four options:

- `--field F`: the bare value of one field, for `$(…)`.
- `--fields F,F`: these columns. A path goes into a value: `resources.mem`; of `runs` it means the newest run
  (`runs.exitCode`), of other lists all items (`tags.key`), and a number picks one (`runs.0.exitCode`, `command.0`).
- `--format table|json|csv`.
- `--no-header`: rows only, of a table or of CSV.

A **table** has fixed widths, left-aligned, with one space between columns, so that scripts can cut it at the offsets of the
header's words. A missing value is `-`, a list `[a b c]`, a tag `key=value`, a port `N` or `N:public`, a time in UTC to the
second. There is never colour. Piped, or with `--fields`, a table is whole. On a terminal that is too narrow for the default
columns, times become ages, long commands are cut with `…`, and columns are left out; a line on stderr names them.

**JSON** is one object a line, as the API gives it, or with `--fields` only these, with the path as key. It has every value
exactly.

**CSV** is quoted where it must be (RFC 4180, but with plain line feeds), and has the table's texts. It is made for programs,
so no value is changed to suit a spreadsheet, and a spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a
formula. The default columns cannot begin so, but for the lone `-` of a missing value and the names of files that
`data content ls` lists: a command is `[…]`, other names begin with a letter, a digit or a dot. Some that `--fields` can ask
for may, when who wrote them is hostile (`tags.0.value`, `command.0`): import such files as text.

Characters that would act on the terminal (control characters, reversal of direction) are shown as escapes, for they may come
from other users. `job logs` is the exception: it prints the output byte for byte.
"""

CODES = """## Exit codes

With `--exit-code`, `job logs -f` and `job submit --follow` exit with the job's own code. A command that was given several jobs
goes on after an error, and exits with its code, or with 1 when there were errors of several kinds.

"""

JOB_FILE = """## Job files

`toolkit job submit -f job.yml` takes the spec from YAML, or from JSON in a file whose name ends in `.json`. Flags go before
the file: a flag replaces the file's value; of `environmentVars`, `tags`, `ports` and `data` only those items with the same
name, key, port or mount path; `resources` one by one; a command after the options replaces the file's.
`toolkit job info --job-spec ID` prints the spec of a job in this form.

```yaml
name: train
image: python
command: [python, train.py, --lr, 0.1]
environmentVars: [SEED=1]
resources: {cpu: 2, mem: 8}
maxRunTime: 43200
tags: [{key: sweep, value: 7}]
```

Where the spec has text, a value counts as it is written: `0644`, `12:30` and `yes` are the words that they look like. A file
has one job and at most 1 MiB; mistakes are reported with their line and column.

"""


def cli_page() -> str:
    """The page: output, exit codes, job files, then each command."""
    codes = "\n".join(f"- `{code}`: {meaning}" for code, meaning in EXIT_CODES.items())
    parts = [HEAD, OUTPUT, CODES + codes + "\n", JOB_FILE + "\n".join(_spec_table()) + "\n", "## Commands\n"]
    parts += ["\n".join(_section(command, context)) + "\n" for command, context in _commands(toolkit, None)]
    return "\n".join(parts)


def _commands(command: click.Command, parent: click.Context | None) -> Iterator[tuple[click.Command, click.Context]]:
    """Each command with a context that knows its path."""
    context = click.Context(command, info_name=command.name, parent=parent, **command.context_settings)
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _commands(inner, context)


def _section(command: click.Command, context: click.Context) -> list[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    lines = [f"### `{context.command_path}`", "", f"`{context.command_path} {usage}`", ""]
    group = context.parent.command if context.parent is not None else None
    names = group.aliases_of(str(command.name)) if isinstance(group, LazyGroup) else []
    if names:
        lines += [f"Also: {', '.join(f'`{name}`' for name in names)}.", ""]
    lines += [_unwrapped(command.help or ""), "", *_options(command, context)]
    example = str(command.epilog or "").partition("Example:\n")[2].partition("\b")[0]
    return [*lines, "```", inspect.cleandoc(example), "```"]


def _options(command: click.Command, context: click.Context) -> list[str]:
    """The table of a command's options. The four of the output are told once for all."""
    options = [option for option in command.params if isinstance(option, click.Option)]
    prints = {str(option.name) for option in options} >= OUTPUT_OPTIONS
    shown = [option for option in options if not (prints and option.name in OUTPUT_OPTIONS)]
    records = [record for option in shown if (record := option.get_help_record(context)) is not None]
    lines = [f"| `{_cell(names)}` | {_cell(' '.join(meaning.split()))} |" for names, meaning in records]
    if lines:
        lines = ["| option | meaning |", "|---|---|", *lines, ""]
    if prints:
        columns = next(str(option.help) for option in options if option.name == "fields").partition("Default: ")[2]
        lines += [f"Output options (see above). Columns: `{columns.removesuffix('.')}`.", ""]
    return lines


def _unwrapped(text: str) -> str:
    """Paragraphs with one line each."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", inspect.cleandoc(text)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _spec_table() -> Iterator[str]:
    yield "| key | meaning |"
    yield "|---|---|"
    schema = JobSpec.model_json_schema(by_alias=True)
    yield from _keys(schema["properties"], "", schema)


def _keys(properties: dict[str, Any], prefix: str, schema: dict[str, Any]) -> Iterator[str]:
    for key, value in properties.items():
        if key == "resources":
            yield from _keys(schema["$defs"]["Resources"]["properties"], "resources.", schema)
            continue
        items = sorted(keys_at(JobSpec, (key,))) if not prefix else []
        shape = f" (items with the keys {', '.join(f'`{name}`' for name in items)})" if items else ""
        default = value.get("default")
        shown = "" if default in (None, "", [], {}) else f"; default: {str(default).lower()}"
        yield f"| `{prefix}{key}` | {_cell(value.get('description', KEYS_WITHOUT_WORDS.get(key, '')))}{shape}{shown} |"


#: Keys whose model leaves the words to its types.
KEYS_WITHOUT_WORDS = {
    "bid": "orders waiting jobs of one class, the highest first",
    "tags": "labels for finding jobs again",
}

#: Parameters that `output_options` adds.
OUTPUT_OPTIONS = {"field", "fields", "no_header", "form"}
PAGES = {"cli.md": cli_page}


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name, page in PAGES.items():
        (folder / name).write_text(page(), encoding="utf-8")
        print(f"wrote {folder / name}")


if __name__ == "__main__":
    main()
