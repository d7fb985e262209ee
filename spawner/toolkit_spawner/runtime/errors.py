"""The error that a build of the runtime ends with."""

from __future__ import annotations

__all__ = ["RuntimeBuildError"]


class RuntimeBuildError(Exception):
    """A part could not be built; the text says what, why and what to do next."""
