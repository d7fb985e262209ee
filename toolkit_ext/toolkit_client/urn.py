"""URNs: how a resource is named in access rules. Always ids, never names, so that a rename changes no access.

============================  ==========================
resource                      URN
============================  ==========================
organization                  ``ORG``
user                          ``ORG:user:ID``
team                          ``ORG:team:ID``
account                       ``ORG:account:ID``
job, data of an account       ``ORG:account:ID:job:ID``, ``ORG:account:ID:data:ID``
role of an organization       ``ORG:role:ID``
role of a team, an account    ``ORG:team:ID:role:ID``, ``ORG:account:ID:role:ID``
============================  ==========================
"""

from __future__ import annotations

__all__ = ["account_urn", "data_urn", "job_urn", "role_urn", "team_urn", "user_urn"]


def user_urn(organization_id: str, user_id: str) -> str:
    return f"{organization_id}:user:{user_id}"


def team_urn(organization_id: str, team_id: str) -> str:
    return f"{organization_id}:team:{team_id}"


def account_urn(organization_id: str, account_id: str) -> str:
    return f"{organization_id}:account:{account_id}"


def job_urn(organization_id: str, account_id: str, job_id: str) -> str:
    return f"{account_urn(organization_id, account_id)}:job:{job_id}"


def data_urn(organization_id: str, account_id: str, data_id: str) -> str:
    return f"{account_urn(organization_id, account_id)}:data:{data_id}"


def role_urn(organization_id: str, owner_type: str, owner_id: str, role_id: str) -> str:
    """`owner_type` is ``organization``, ``team`` or ``account``."""
    owner = organization_id if owner_type == "organization" else f"{organization_id}:{owner_type}:{owner_id}"
    return f"{owner}:role:{role_id}"
