"""Wire models of access for the tests of the commands: an account's, a team's, a role's …"""

from __future__ import annotations

from typing import Any

from tests.unit.canned_service import CREATED, Service
from toolkit_client.access_models import Account, Data, Member, Policy, Role, Team
from toolkit_client.models import User

ROLE_ID = "a7202d30-4b45-479f-8b43-67cfe6214e11"
USER_ID = "60e9ca7a-4808-50de-b612-3e0fe92db027"
STATEMENT = "data:*@o:account:a:data:d"
READER = "acme.joe.reader"


def make_role(name: str = "reader", parent: str = "acme.joe", parent_type: Any = "account") -> Role:
    return Role(
        id=ROLE_ID,
        urn=f"o:account:a:role:{ROLE_ID}",
        name=name,
        full_name=f"{parent}.{name}",
        organization="acme",
        parent=parent,
        parent_type=parent_type,
        created=CREATED,
    )


def make_member(name: str, kind: Any = "user") -> Member:
    return Member(id=USER_ID, name=name, full_name=f"acme.{name}", type=kind, created=CREATED)


def make_account(name: str, parent: str | None) -> Account:
    full_name = f"{parent or 'acme'}.{name}"
    return Account(
        id="a", urn="o:account:a", name=name, full_name=full_name, organization="acme", parent=parent, created=CREATED
    )


TEAM = Team(
    id="t",
    urn="o:team:t",
    name="cocos",
    full_name="acme.cocos",
    organization="acme",
    account="acme.cocos",
    account_id="a",
    created=CREATED,
)
POLICY = Policy(id="p", policy=STATEMENT, created=CREATED)
IMAGES = Data(
    id="d",
    urn="o:account:a:data:d",
    name="images",
    full_name="acme.joe.images",
    account="acme.joe",
    account_id="a",
    creator="acme.joe",
    created=CREATED,
)
JOE = User(id="u", urn="o:user:u", name="joe", full_name="acme.joe", account="acme.joe", created=CREATED)


def sent(service: Service) -> tuple[str, str, Any]:
    last = service.seen[-1]
    return last.method, last.path, last.body
