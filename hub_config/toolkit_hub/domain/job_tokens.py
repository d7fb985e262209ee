"""The token of a run: it may look at and change its own job, and what the job's role may; where the job carries its creator's
rights, it acts as the creator (`domain.access.actor_by_key`).

It is derived from the run's secret, so it is stored nowhere, and ends with the run.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.models import ALIVE_STATES
from toolkit_hub.store.tables import Run

__all__ = ["JOB_TOKEN_PREFIX", "job_token", "run_of_token"]

JOB_TOKEN_PREFIX = "tkj_"  # noqa: S105 - what tokens begin with, not one
_TOKEN = re.compile(r"tkj_(j[a-z2-7]{26})_([0-9a-f]{64})")


def job_token(run: Run) -> str:
    return f"{JOB_TOKEN_PREFIX}{run.server_name}_{_proof(run.secret)}"


def run_of_token(session: Session, token: str) -> tuple[str, bool] | None:
    """(job id, whether the run is alive) of a token that is right; None for any other text."""
    match = _TOKEN.fullmatch(token)
    if match is None:
        return None
    query = select(Run.job_id, Run.secret, Run.state).where(Run.server_name == match[1])
    run = session.execute(query).one_or_none()
    if run is None or not hmac.compare_digest(_proof(run.secret), match[2]):
        return None
    return run.job_id, run.state in ALIVE_STATES


def _proof(secret: str) -> str:
    """Not the secret itself: whoever has the token must not be able to pass for the gate."""
    return hmac.new(secret.encode(), b"toolkit job token", hashlib.sha256).hexdigest()
