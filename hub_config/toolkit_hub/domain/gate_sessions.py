"""How a browser gets into one job host and stays there: a code that works once, then a session that ends after a day.

Both are bound to one host of one job, so that neither opens another job's host. The store keeps only their SHA-256 hashes:
who reads the database cannot come in with what he finds.

A *host* is the ``Host`` header of the job host, with its port where the site uses one: ``ID-lab.localhost:8001``.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from toolkit_hub import clock
from toolkit_hub.store.tables import GateSession, LoginCode

__all__ = [
    "ANY_BROWSER",
    "CODE_LIFE",
    "SESSION_LIFE",
    "create_code",
    "create_session",
    "end_session",
    "end_sessions",
    "session_user",
    "take_code",
    "visitor_of_code",
]

#: In the place of a browser's state, of a code that was made for no certain browser. No browser's state has a space.
ANY_BROWSER = "any browser"

#: A code only has to survive one redirect.
CODE_LIFE = timedelta(seconds=30)
#: Afterwards the browser passes by the hub's log-in again; with a living log-in the visitor does not notice.
SESSION_LIFE = timedelta(days=1)


def create_code(session: Session, *, user_id: str, job_id: str, host: str, state: str) -> str:
    """A code with which the browser that holds `state` may come in at `host` as this user, once, within `CODE_LIFE`."""
    now = clock.now()
    session.execute(delete(LoginCode).where(LoginCode.expires <= now))
    code = secrets.token_urlsafe(32)
    session.add(
        LoginCode(
            code_hash=_hash(code),
            user_id=user_id,
            job_id=job_id,
            host=host.lower(),
            state_hash=_hash(state),
            expires=now + CODE_LIFE,
        )
    )
    return code


def take_code(session: Session, code: str, host: str, state: str) -> tuple[str, str] | None:
    """(user id, job id) of a code that is good for this host and this browser.

    A code that is shown is used up, even when it is refused: a second try by somebody else finds nothing.
    """
    row = session.execute(
        delete(LoginCode)
        .where(LoginCode.code_hash == _hash(code))
        .returning(LoginCode.user_id, LoginCode.job_id, LoginCode.host, LoginCode.state_hash, LoginCode.expires)
    ).one_or_none()
    if row is None or row.expires <= clock.now():
        return None
    if row.host != host.lower() or row.state_hash != _hash(state):
        return None
    return row.user_id, row.job_id


def visitor_of_code(session: Session, code: str, host: str, state: str) -> str | None:
    """Id of the user whom a code would let in, which is not used up by that."""
    return session.scalar(
        select(LoginCode.user_id).where(
            LoginCode.code_hash == _hash(code),
            LoginCode.host == host.lower(),
            LoginCode.state_hash == _hash(state),
            LoginCode.expires > clock.now(),
        )
    )


def create_session(session: Session, *, user_id: str, job_id: str, host: str) -> str:
    """The key of a new session, for the browser's cookie; it opens `host` and nothing else for `SESSION_LIFE`."""
    now = clock.now()
    session.execute(delete(GateSession).where(GateSession.expires <= now))
    key = secrets.token_urlsafe(32)
    session.add(
        GateSession(key_hash=_hash(key), user_id=user_id, job_id=job_id, host=host.lower(), expires=now + SESSION_LIFE)
    )
    return key


def session_user(session: Session, key: str, host: str) -> str | None:
    """Id of the user whose living session at `host` this key belongs to."""
    return session.scalar(
        select(GateSession.user_id).where(
            GateSession.key_hash == _hash(key), GateSession.host == host.lower(), GateSession.expires > clock.now()
        )
    )


def end_session(session: Session, key: str, host: str) -> None:
    """End the one session that this key belongs to."""
    session.execute(delete(GateSession).where(GateSession.key_hash == _hash(key), GateSession.host == host.lower()))


def end_sessions(session: Session, user_id: str) -> None:
    """Sign the user out of every job host, codes under way included."""
    session.execute(delete(GateSession).where(GateSession.user_id == user_id))
    session.execute(delete(LoginCode).where(LoginCode.user_id == user_id))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
