"""A row of the bench: one measured value beside a reference that was taken in the same run, and how far it may be from it."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.running_site import REPOSITORY, RunningSite

RESULTS = REPOSITORY / "build" / "bench.json"


@dataclass(frozen=True)
class Row:
    """`value` and `reference` are medians of `n` in `unit`, unless the name says otherwise. `reach` bounds `ratio`, or, where
    there is no reference, `value` itself; for a row that counts an addition it bounds value minus reference."""

    name: str
    value: float
    unit: str
    reference: float | None
    ratio: float | None
    reach: str
    ok: bool
    n: int

    def line(self) -> str:
        reference = "-" if self.reference is None else f"{self.reference:.3f}"
        ratio = "-" if self.ratio is None else f"{self.ratio:.2f}x"
        words = "ok" if self.ok else "MISSED"
        return (
            f"{self.name:<44} {self.value:>9.3f} {self.unit:<5} reference {reference:>9}  {ratio:>7}  reach {self.reach:<9} "
            f"n={self.n:<5} {words}"
        )


Bench = Callable[[RunningSite], Row]


def ratio_row(name: str, values: list[float], references: list[float], reach: float) -> Row:
    """Medians in seconds, and the one over the other."""
    value, reference = statistics.median(values), statistics.median(references)
    ratio = value / reference
    return Row(name, value, "s", reference, ratio, f"<= {reach}x", ratio <= reach, len(values))


def rate_row(name: str, amount: float, unit: str, values: list[float], references: list[float], reach: float) -> Row:
    """Of the same amount in some seconds each: the rates of the medians, and the one over the other."""
    value, reference = amount / statistics.median(values), amount / statistics.median(references)
    ratio = value / reference
    return Row(name, value, unit, reference, ratio, f">= {reach}x", ratio >= reach, len(values))


def percentile(values: list[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def write(rows: list[Row], path: Path = RESULTS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(f"wrote {path}", file=sys.stderr)
