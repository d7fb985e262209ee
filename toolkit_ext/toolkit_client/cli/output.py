"""Tables, JSON lines, CSV and bare values, of plain JSON objects.

Tables are cut by scripts at the header's column offsets: fixed width, left-aligned, one space between columns, no colour.
A missing value is ``-``, a list of words ``[a b c]``, a time is in UTC to the second. Values may have been chosen by other
users, so characters that would act on the terminal are escaped.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any

import click

from toolkit_client.cli.safe_text import escape
from toolkit_client.errors import InvalidRequest

__all__ = ["JOB_COLUMNS", "SUBMIT_COLUMNS", "Output", "output_options", "table_lines", "value_at"]

SUBMIT_COLUMNS = ("id", "state", "name", "created", "command", "runs.exitCode")
JOB_COLUMNS = ("id", "state", "name", "account", "creator", "created", "command", "runs.exitCode", "accessUrl")
TIMES = frozenset({"created", "queued", "started", "ended", "cancelled"})
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

    def show(self, items: Iterable[Any], *, err: bool = False) -> None:
        """Prints the objects; `err` sends them to stderr."""
        for line in self.lines(list(items)):
            click.echo(line, err=err)

    def lines(self, items: list[Any]) -> Iterable[str]:
        if self._field is not None:
            return [self._text(item, self._field) for item in items]
        if self._form == "json":
            return [self._json(item) for item in items]
        rows = [[self._text(item, column) for column in self._columns] for item in items]
        if self._form == "csv":
            return _csv_lines([self._columns, *rows] if self._header else rows)
        return table_lines(self._columns, rows, header=self._header)

    def _json(self, item: Any) -> str:
        shown = {column: value_at(item, column) for column in self._columns} if self._chosen else item
        # Escaping all but ASCII keeps direction marks and the like from the terminal; readers of JSON get them back.
        return json.dumps(shown, separators=(",", ":"))

    def _text(self, item: Any, column: str) -> str:
        value = value_at(item, column, strict=self._chosen or self._field is not None)
        if value is None or value == "":
            return "" if column in self._blank and self._field is None else MISSING
        if isinstance(value, str) and column.rpartition(".")[2] in TIMES:
            return escape(_to_the_second(value))
        return escape(_plain(value))


def value_at(item: Any, path: str, *, strict: bool = True) -> Any:
    """The value at a path as ``resources.cpu``; of a list (``runs.exitCode``) the last one's, the newest run's.

    Raises:
        InvalidRequest: the object has no such field, and `strict` asks to say so.
    """
    value = item
    for part in path.split("."):
        if isinstance(value, list):
            value = value[-1] if value else None
        if value is None:
            return None
        if not isinstance(value, dict) or part not in value:
            if not strict:
                return None
            known = ", ".join(sorted(value)) if isinstance(value, dict) else "none"
            raise InvalidRequest(f"there is no field {path!r}", f"fields at {part!r}: {known}")
        value = value[part]
    return value


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
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list) and not any(isinstance(part, (dict, list)) for part in value):
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
        @click.option("--field", metavar="F", help="Print the bare value of one field, as `urn` or `runs.exitCode`.")
        @click.option("--fields", metavar="F,F", help=f"Columns to print. Default: {','.join(columns)}.")
        @click.option("--no-header", is_flag=True, help="Print no column names.")
        @click.option(
            "--format",
            "form",
            type=click.Choice(["table", "json", "csv"]),
            default="table",
            help="`json` prints one object a line.",
        )
        @wraps(command)
        def with_output(
            *args: Any, field: str | None, fields: str | None, no_header: bool, form: str, **rest: Any
        ) -> Any:
            output = Output(columns, field=field, fields=fields, header=not no_header, form=form, blank=blank)
            return command(*args, output=output, **rest)

        return with_output

    return decorate
