"""Clean-up: takes away what the site's rules no longer keep. What is due is said by `toolkit_hub.domain.retention`."""

from __future__ import annotations

from .collector import Collector
from .sweep import Ground

__all__ = ["Collector", "Ground"]
