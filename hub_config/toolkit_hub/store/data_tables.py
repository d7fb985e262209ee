"""The tables of what data holds: its versions, how much it takes, and where jobs mount it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from toolkit_hub.store.access_tables import Data
from toolkit_hub.store.tables import Base, new_id

__all__ = ["DataQuota", "DataUsage", "DataVersion", "JobMount"]


class DataVersion(Base):
    """A commit: what data held at one moment. Its files lie under its id, so that a number is given only to what is whole."""

    __tablename__ = "data_versions"
    __table_args__ = (UniqueConstraint("data_id", "number", name="uq_data_versions_number"),)

    id: Mapped[str] = mapped_column(String(36), primary_key=True, default=new_id)
    data_id: Mapped[str] = mapped_column(ForeignKey("data.id"))
    number: Mapped[int] = mapped_column(Integer, doc="1, 2, 3 … of each data")
    message: Mapped[str] = mapped_column(Text, default="")
    author: Mapped[str] = mapped_column(String(255), doc="full name of who made it")
    created: Mapped[datetime]
    files: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)

    data: Mapped[Data] = relationship(lazy="joined")


class DataUsage(Base):
    """How much data takes with all of its versions, as of the last walk, and what pushes have added since."""

    __tablename__ = "data_usage"

    data_id: Mapped[str] = mapped_column(ForeignKey("data.id"), primary_key=True)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0, doc="lengths of the live files")
    disk: Mapped[int] = mapped_column(BigInteger, default=0, doc="bytes that live files and versions take on the disk")
    files: Mapped[int] = mapped_column(BigInteger, default=0, doc="live files")
    inodes: Mapped[int] = mapped_column(BigInteger, default=0, doc="what live files, folders and versions take of them")
    as_of: Mapped[datetime | None] = mapped_column(doc="when the walk ended; None: there was none yet")
    added_disk: Mapped[int] = mapped_column(BigInteger, default=0, doc="bytes that pushes have added since")
    added_inodes: Mapped[int] = mapped_column(BigInteger, default=0)


class DataQuota(Base):
    """What the data of one account may take. An account without a row has the site's default."""

    __tablename__ = "data_quotas"

    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    bytes: Mapped[int | None] = mapped_column(BigInteger, doc="on the disk; None: no limit")
    files: Mapped[int | None] = mapped_column(BigInteger, doc="files and folders; None: no limit")


class JobMount(Base):
    """One mount of a job, as it was resolved and allowed at submit; whether it still is, is asked again at each start."""

    __tablename__ = "job_mounts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    data_id: Mapped[str] = mapped_column(ForeignKey("data.id"), index=True)
    version_id: Mapped[str | None] = mapped_column(
        String(36), index=True, doc="of a version; `empty` for the empty one; None: the live content"
    )
    subpath: Mapped[str] = mapped_column(Text, default="", doc="within the data, without a slash before or behind")
    target: Mapped[str] = mapped_column(Text, doc="absolute path in the container")
    writable: Mapped[bool]
    subject_type: Mapped[str] = mapped_column(String(8), doc="user | role: by whose rights it is mounted")
    subject_id: Mapped[str] = mapped_column(String(36))

    data: Mapped[Data] = relationship(lazy="joined")
