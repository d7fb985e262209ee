"""Tables that only ever grow: the database itself refuses to change or remove a row, whoever asks.

Made by migrations. SQLite drops the triggers of a table with the table: a migration that makes one anew calls `protect` again.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

__all__ = ["REFUSAL", "protect", "statements", "unprotect"]

#: What the database answers, after the table's name.
REFUSAL = "is append-only: its rows are neither changed nor removed"

_SQLITE = (
    "CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{table} {refusal}'); END",
    "CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} BEGIN SELECT RAISE(ABORT, '{table} {refusal}'); END",
    # INSERT OR REPLACE removes the row that was there without asking the trigger of removals.
    "CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN EXISTS (SELECT 1 FROM {table} WHERE {key} = NEW.{key})"
    " BEGIN SELECT RAISE(ABORT, '{table} {refusal}'); END",
)
_POSTGRESQL = (
    "CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN RAISE EXCEPTION '{table} {refusal}' USING ERRCODE = 'restrict_violation'; END $$",
    "CREATE TRIGGER {table}_no_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_refuse()",
    "CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
)
_UNDO = {
    "sqlite": tuple(f"DROP TRIGGER {{table}}_no_{what}" for what in ("update", "delete", "replace")),
    "postgresql": (
        "DROP TRIGGER {table}_no_truncate ON {table}",
        "DROP TRIGGER {table}_no_change ON {table}",
        "DROP FUNCTION {table}_refuse()",
    ),
}


def statements(dialect: str, table: str, key: str) -> list[str]:
    """The DDL that makes `table`, with the primary key `key`, append-only; `dialect` is ``sqlite`` or ``postgresql``."""
    templates = _SQLITE if dialect == "sqlite" else _POSTGRESQL
    return [text.format(table=_name(table), key=_name(key), refusal=REFUSAL) for text in templates]


def protect(connection: Connection, table: str = "audit_log", key: str = "seq") -> None:
    """Make a table append-only, in the connection's transaction."""
    for statement in statements(connection.dialect.name, table, key):
        connection.exec_driver_sql(statement)


def unprotect(connection: Connection, table: str = "audit_log") -> None:
    """Take it back, for a downgrade."""
    for template in _UNDO[connection.dialect.name]:
        connection.exec_driver_sql(template.format(table=_name(table)))


def _name(text: str) -> str:
    if not re.fullmatch(r"[a-z_]+", text):
        raise ValueError(f"{text!r} is no name of a table or column")
    return text
