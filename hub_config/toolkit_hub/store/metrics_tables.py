"""The tables of what runs have used over time, in steps of several lengths. Times are seconds since the epoch, to be short.

Keyed by run, step and time, in that order: what one run used is one piece of the table.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Float, ForeignKey, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from toolkit_hub.store.tables import Base

__all__ = ["DeviceSample", "RunSample"]

#: SQLite keeps such a table in the order of its key, and the key once.
_BY_KEY = {"sqlite_with_rowid": False}


class RunSample(Base):
    """What a run used in one step: the mean and the highest of the readings. None: unknown."""

    __tablename__ = "run_samples"
    __table_args__ = _BY_KEY

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True, doc="seconds")
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True, doc="begin of the step")
    cpu: Mapped[float | None] = mapped_column(Float, doc="cores")
    cpu_max: Mapped[float | None] = mapped_column(Float)
    memory: Mapped[int | None] = mapped_column(BigInteger, doc="bytes")
    memory_max: Mapped[int | None] = mapped_column(BigInteger)
    disk_read: Mapped[int | None] = mapped_column(BigInteger, doc="bytes in a second")
    disk_read_max: Mapped[int | None] = mapped_column(BigInteger)
    disk_write: Mapped[int | None] = mapped_column(BigInteger)
    disk_write_max: Mapped[int | None] = mapped_column(BigInteger)
    net_received: Mapped[int | None] = mapped_column(BigInteger)
    net_received_max: Mapped[int | None] = mapped_column(BigInteger)
    net_sent: Mapped[int | None] = mapped_column(BigInteger)
    net_sent_max: Mapped[int | None] = mapped_column(BigInteger)


class DeviceSample(Base):
    """What a device did in one step while a run held it."""

    __tablename__ = "device_samples"
    __table_args__ = _BY_KEY

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    step: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    device: Mapped[str] = mapped_column(String(128), primary_key=True, doc="UUID")
    use: Mapped[float | None] = mapped_column(Float, doc="percent")
    use_max: Mapped[float | None] = mapped_column(Float)
    memory: Mapped[int | None] = mapped_column(BigInteger, doc="bytes")
    memory_max: Mapped[int | None] = mapped_column(BigInteger)
    temperature: Mapped[float | None] = mapped_column(Float, doc="degrees Celsius")
    temperature_max: Mapped[float | None] = mapped_column(Float)
