"""URNs: how a resource is named in access rules. Always ids, never names, so that a rename changes no access.

============================  =========================
resource                      URN
============================  =========================
organization                  ``ORG``
user                          ``ORG:user:ID``
account                       ``ORG:account:ID``
job (of an account)           ``ORG:account:ID:job:ID``
============================  =========================
"""

from __future__ import annotations

__all__ = ["account_urn", "job_urn", "user_urn"]


def user_urn(organization_id: str, user_id: str) -> str:
    return f"{organization_id}:user:{user_id}"


def account_urn(organization_id: str, account_id: str) -> str:
    return f"{organization_id}:account:{account_id}"


def job_urn(organization_id: str, account_id: str, job_id: str) -> str:
    return f"{account_urn(organization_id, account_id)}:job:{job_id}"
