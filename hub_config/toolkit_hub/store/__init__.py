"""Rows and transactions. No rules here: those are in `toolkit_hub.domain` and `toolkit_hub.policy`."""

from . import (  # all tables of one metadata, whichever module is imported first
    access_tables,
    data_tables,
    metrics_tables,
    order_tables,
)
from .store import Store

__all__ = ["Store", "access_tables", "data_tables", "metrics_tables", "order_tables"]
