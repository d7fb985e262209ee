"""Tables, JSON lines, CSV and bare values, of plain JSON objects.

Tables are cut by scripts at the header's column offsets: fixed width, left-aligned, one space between columns, no colour.
A missing value is ``-``, a list of words ``[a b c]``, a time is in UTC to the second. Values may have been chosen by other
users, so characters that would act on the terminal are escaped; JSON has them exactly, as ``\\u`` escapes.

On a terminal a table of the default columns is fitted to its width (`toolkit_client.cli.terminal`); piped, it never is.

CSV is for programs: values stand in it as they are, quoted where they must be. The default columns cannot begin with what
a spreadsheet takes for a formula (``=``, ``+``, ``@``), but for the names of files; a column that `--fields` asks for can, if
its writer is hostile.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from functools import wraps
from typing import Any

import click

from toolkit_client.cli.safe_text import escape
from toolkit_client.errors import InvalidRequest

__all__ = ["JOB_COLUMNS", "SUBMIT_COLUMNS", "Output", "output_options", "table_lines", "value_at"]

SUBMIT_COLUMNS = ("id", "state", "name", "created", "command", "runs.exitCode")
JOB_COLUMNS = ("id", "state", "name", "account", "creator", "created", "command", "runs.exitCode", "accessUrl")
TIMES = frozenset(
    {
        "archived",
        "asOf",
        "cancelled",
        "created",
        "deadline",
        "ended",
        "expires",
        "lastUsed",
        "mtime",
        "queued",
        "started",
        "time",
    }
)
#: Lists of which a path means the last item: the newest run is the one that is asked for. Of other lists it means all.
NEWEST_LAST = frozenset({"runs"})
MISSING = "-"


class Output:
    """How a command's objects are to be printed.

    Args:
        columns: what is shown unless the user says.
        blank: columns that stay empty where there is no value, instead of ``-``.
    """

    def __init__(
        self,
        columns: Sequence[str],
        *,
        field: str | None = None,
        fields: str | None = None,
        header: bool = True,
        form: str = "table",
        blank: frozenset[str] = frozenset(),
    ) -> None:
        self._columns = _split_fields(fields) if fields is not None else list(columns)
        self._chosen = fields is not None
        self._field = field
        self._header = header
        self._form = form
        self._blank = blank

    @property
    def is_asked_for(self) -> bool:
        """Whether the user has said how it is to be printed; a command that has better words of its own prints those if not."""
        return self._chosen or self._field is not None or self._form != "table"

    def show(self, items: Iterable[Any], *, err: bool = False) -> None:
        """Prints the objects; `err` sends them to stderr."""
        if self.is_plain_table and not err and sys.stdout.isatty():
            self._show_fitted(list(items))
            return
        for line in self.lines(list(items)):
            click.echo(line, err=err)

    def stream(self, items: Iterable[Any]) -> None:
        """Prints objects as they come, of which there may be millions; a table of them is never fitted to a terminal."""
        write = sys.stdout.write
        if self._field is not None or self._form == "json":
            field = self._field
            for item in items:
                write((self._json(item) if field is None else self._bare(item, field)) + "\n")
            return
        rows = map(self.cells, items)
        if self._form == "csv":
            import csv

            writer = csv.writer(sys.stdout, lineterminator="\n")
            if self._header:
                writer.writerow(self._columns)
            writer.writerows(rows)
            return
        from toolkit_client.cli.long_table import long_table

        for line in long_table(self._columns, rows, header=self._header):
            write(line)

    def with_columns(self, columns: Sequence[str]) -> Output:
        """The same for other objects: with these columns, unless the user said which."""
        changed = copy(self)
        changed._columns = self._columns if self._chosen else list(columns)
        return changed

    @property
    def asked_for(self) -> Sequence[str] | None:
        """The fields that are printed; None: all that there are."""
        if self._field is not None:
            return [self._field]
        return None if self._form == "json" and not self._chosen else self._columns

    @property
    def is_plain_table(self) -> bool:
        """Whether it is the table that a command prints when nobody says what is wanted."""
        return self._form == "table" and not self._chosen and self._field is None

    def fitted_lines(self, items: list[Any]) -> list[str]:
        """The lines of the table, fitted to the terminal."""
        return self._fitted(items)[0]

    def _fitted(self, items: list[Any]) -> tuple[list[str], list[str]]:
        from toolkit_client.cli.terminal import fitted, terminal_width

        columns, rows, hidden = fitted(self._columns, self._rows(items), terminal_width())
        return table_lines(columns, rows, header=self._header), hidden

    def _show_fitted(self, items: list[Any]) -> None:
        lines, hidden = self._fitted(items)
        for line in lines:
            click.echo(line)
        if hidden and sys.stderr.isatty():
            print(f"hint: no room for {', '.join(hidden)}; --fields, or a pipe, shows them", file=sys.stderr)

    def lines(self, items: list[Any]) -> Iterable[str]:
        if self._field is not None:
            return [self._bare(item, self._field) for item in items]
        if self._form == "json":
            return [self._json(item) for item in items]
        rows = self._rows(items)
        if self._form == "csv":
            return _csv_lines([self._columns, *rows] if self._header else rows)
        return table_lines(self._columns, rows, header=self._header)

    def cells(self, item: Any) -> list[str]:
        """The texts of one object's columns."""
        return [self._text(item, column) for column in self._columns]

    def _rows(self, items: list[Any]) -> list[list[str]]:
        return [self.cells(item) for item in items]

    def _bare(self, item: Any, column: str) -> str:
        return json.dumps(value_at(item, column)) if self._form == "json" else self._text(item, column)

    def _json(self, item: Any) -> str:
        shown = {column: value_at(item, column) for column in self._columns} if self._chosen else item
        # Escaping all but ASCII keeps direction marks and the like from the terminal; readers of JSON get them back.
        return json.dumps(shown, separators=(",", ":"))

    def _text(self, item: Any, column: str) -> str:
        known = item.get(column) if isinstance(item, dict) else None
        if known and type(known) is str and column not in TIMES:
            return escape(known)  # the short way, which lists of thousands need
        value = value_at(item, column, strict=self._chosen or self._field is not None)
        if value is None or value == "":
            return "" if column in self._blank and self._field is None else MISSING
        if isinstance(value, str) and column.rpartition(".")[2] in TIMES:
            return escape(_to_the_second(value))
        return escape(_plain(value))


def value_at(item: Any, path: str, *, strict: bool = True) -> Any:
    """The value at a path as ``resources.cpu``.

    Of runs (``runs.exitCode``) it is the newest one's, of other lists (``tags.key``) the list of all; a number picks one
    (``runs.0.exitCode``, ``command.0``).

    Raises:
        InvalidRequest: the object has no such field, and `strict` asks to say so.
    """
    try:
        return _value_below(item, path.split("."), "")
    except KeyError as problem:
        if not strict:
            return None
        _, place, known = problem.args
        hint = f"fields{f' of {place!r}' if place else ''}: {', '.join(sorted(known)) or 'none'}"
        raise InvalidRequest(f"there is no field {path!r}", hint) from None


def _value_below(value: Any, parts: list[str], parent: str) -> Any:
    """Raises KeyError with the part, its parent and the names that are there."""
    if not parts or value is None:
        return value
    part, rest = parts[0], parts[1:]
    if isinstance(value, list):
        if part.removeprefix("-").isdecimal():
            index = int(part)
            return _value_below(value[index], rest, part) if -len(value) <= index < len(value) else None
        if parent in NEWEST_LAST:
            return _value_below(value[-1], parts, "") if value else None
        return [_value_below(inner, parts, "") for inner in value]
    if not isinstance(value, dict) or part not in value:
        raise KeyError(part, parent, list(value) if isinstance(value, dict) else [])
    return _value_below(value[part], rest, part)


def table_lines(columns: Sequence[str], rows: Sequence[Sequence[str]], *, header: bool = True) -> list[str]:
    """The lines of a table; the last column is not padded."""
    everything = [columns, *rows]
    widths = [max(len(row[index]) for row in everything) for index in range(len(columns) - 1)]
    shown = everything if header else rows
    return [
        " ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in shown
    ]


def _csv_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().splitlines()


def _plain(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict) and value.keys() == {"key", "value"}:
        return str(value["key"]) if value["value"] is None else f"{value['key']}={value['value']}"
    if isinstance(value, dict) and value.keys() == {"port", "public"}:
        return f"{value['port']}:public" if value["public"] else str(value["port"])
    if isinstance(value, list) and not any(
        _plain(part)[:1] in ("{", "[") for part in value if not isinstance(part, str)
    ):
        return "[" + " ".join(_plain(part) for part in value) + "]"
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _to_the_second(time: str) -> str:
    """``2019-12-06T20:49:41.123456Z`` without its fraction; times on the wire are in UTC."""
    return time[:19] + "Z" if len(time) > 19 and time[10] == "T" else time


def _split_fields(fields: str) -> list[str]:
    columns = [field.strip() for field in fields.split(",")]
    if not all(columns):
        raise click.UsageError(f"--fields takes names with commas between them, as `id,name`; not {fields!r}")
    return columns


def output_options(
    columns: Sequence[str], *, blank: frozenset[str] = frozenset()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Adds --field, --fields, --no-header and --format; the command gets them as `output`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @click.option(
            "--field",
            metavar="F",
            help="Print the bare value of one field, as `urn` or `runs.exitCode` (the newest run's).",
        )
        @click.option("--fields", metavar="F,F", help=f"Columns to print. Default: {','.join(columns)}.")
        @click.option("--no-header", is_flag=True, help="Print no column names.")
        @click.option(
            "--format",
            "form",
            type=click.Choice(["table", "json", "csv"]),
            default="table",
            help="A table, one JSON object a line, or CSV. Default: table.",
        )
        @wraps(command)
        def with_output(
            *args: Any, field: str | None, fields: str | None, no_header: bool, form: str, **rest: Any
        ) -> Any:
            if field is not None and fields is not None:
                raise click.UsageError("give either --field or --fields")
            output = Output(columns, field=field, fields=fields, header=not no_header, form=form, blank=blank)
            return command(*args, output=output, **rest)

        return with_output

    return decorate
