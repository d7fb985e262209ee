"""The tables of jobs that belong together: arrays, and which job waits for which."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from toolkit_client import urn
from toolkit_hub.store.tables import Account, Base, User, new_id

__all__ = ["JobArray", "JobDependency"]


class JobArray(Base):
    """Jobs that one submission made. It has no state of its own: that is what its jobs' states come to."""

    __tablename__ = "job_arrays"
    __table_args__ = (Index("ix_job_arrays_account_name", "account_id", "name"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    seq: Mapped[int] = mapped_column(BigInteger, doc="number of the event of its submission")
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"))
    creator_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    name: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Integer, doc="how many indices it has")
    at_once: Mapped[int | None] = mapped_column(Integer, doc="how many of its jobs may hold room at once; None: all")
    spec: Mapped[dict[str, Any]] = mapped_column(doc="the JobSpec as submitted, defaults filled in")
    created: Mapped[datetime]
    ended: Mapped[datetime | None] = mapped_column(doc="since when none of its jobs is alive")

    account: Mapped[Account] = relationship(lazy="joined")
    creator: Mapped[User] = relationship(lazy="joined")

    @property
    def urn(self) -> str:
        """As of a job in its account: who may do something to the account's jobs may do it to the array."""
        return urn.job_urn(self.account.organization_id, self.account_id, self.id)


class JobDependency(Base):
    """A job that still waits for another one, or for all jobs of an array; what has come true is removed, so the table is
    small. Only what was there at submit is ever named, so the rows cannot make a circle."""

    __tablename__ = "job_dependencies"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    on_job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"), index=True)
    on_array_id: Mapped[str | None] = mapped_column(ForeignKey("job_arrays.id"), index=True)
    condition: Mapped[str] = mapped_column(String(8), doc="ok: it has to succeed | any: it has to end")
