"""The test's side of `tests.faults.injection`: which point of which unit fails, what the units passed, and what time it is."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Point:
    """The `occurrence`-th time that a unit does something, as `service commit mark_ended`; or anything, as `service`."""

    line: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.line} #{self.occurrence}"


class FaultPlan:
    """What a site's units are told, by files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def site_values(self) -> str:
        """Lines for the site's ``jupyterhub_config.py``."""
        return (
            f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\n"
            f"from tests.faults.injection import install\ninstall({str(self.folder)!r})"
        )

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Point]]:
        """The points that the units pass while the block runs; the list is filled when it ends."""
        found: list[Point] = []
        with self._planned({}):
            yield found
            seen: Counter[str] = Counter()
            for line in (self.folder / "points").read_text().splitlines():
                seen[line] += 1
                found.append(Point(line, seen[line]))

    @contextlib.contextmanager
    def failing(self, point: Point, fault: str) -> Iterator[None]:
        """The point fails once, if it is reached while the block runs."""
        with self._planned({"point": [point.line, point.occurrence], "fault": fault}):
            yield

    @property
    def fired(self) -> bool:
        return (self.folder / "fired").exists()

    @contextlib.contextmanager
    def _planned(self, plan: dict[str, object]) -> Iterator[None]:
        for name in ("fired", "points"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "points").touch()
        self._tell("plan", json.dumps(plan))
        try:
            yield
        finally:
            (self.folder / "plan").unlink()

    def move_clock(self, seconds: float) -> None:
        """The units read a time that is this much ahead of the machine's."""
        self._tell("clock", str(seconds))

    def _tell(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text)
        os.replace(new, self.folder / name)
