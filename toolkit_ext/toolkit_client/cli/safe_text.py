"""Text of other people on this terminal: what could move the cursor, change colours or hide text is shown escaped."""

from __future__ import annotations

__all__ = ["escape"]


def escape(text: str) -> str:
    """`text` with each character that is not printable as its escape (``\\x1b``, ``\\n``, ``\\u202e``).

    Not printable are control characters, line ends, invisible formatting (such as reversal of direction), lone
    surrogates, and unassigned code points. The result is one line.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )
