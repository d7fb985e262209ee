"""How the pages show what other people have named: file names are any bytes, and may want to look like something else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import groupby
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from toolkit_client.transfer.paths import text_of_path
from toolkit_hub import clock

__all__ = ["Piece", "in_query", "pieces", "size_words", "when_words"]


class Piece(NamedTuple):
    """A piece of a name: as it is, or `escaped`, which the page marks so that nobody takes it for the name's own letters."""

    text: str
    escaped: bool


def pieces(name: bytes) -> list[Piece]:
    """A name to show: what is no printable character (bytes that are no text, line ends, what turns the direction of writing) is
    escaped, so that a name is one line and reads in the order in which it is written."""
    return [
        Piece("".join(text for text, _ in group), escaped)
        for escaped, group in groupby(_characters(text_of_path(name)), key=lambda one: one[1])
    ]


def _characters(text: str) -> Iterator[tuple[str, bool]]:
    for character in text:
        if character.isprintable():
            yield character, False
        elif "\udc80" <= character <= "\udcff":
            yield f"\\x{ord(character) - 0xDC00:02x}", True
        else:
            yield character.encode("unicode_escape", "surrogatepass").decode("ascii"), True


def in_query(path: bytes) -> str:
    """A path as a value in an address's query."""
    return quote_from_bytes(path, safe="/")


def size_words(size: int) -> str:
    """`0 bytes`, `1 byte`, `1.5 KiB`, `12 GiB`."""
    if size < 1024:
        return f"{size} byte{'' if size == 1 else 's'}"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB"):
        value /= 1024
        # 1023.96 KiB would be shown as 1024.
        if value < 999.5 or unit == "PiB":
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def when_words(time: datetime) -> str:
    """`10:42 UTC` of today, another day with its date."""
    return f"{time:%H:%M} UTC" if time.date() == clock.now().date() else f"{time:%Y-%m-%d %H:%M} UTC"
