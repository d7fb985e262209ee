"""Rows and transactions. No rules here: those are in `toolkit_hub.domain` and `toolkit_hub.policy`."""

from .store import Store

__all__ = ["Store"]
