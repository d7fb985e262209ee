"""Accounts: a tree below the organization that owns jobs, data and roles."""

from __future__ import annotations

from sqlalchemy import String, func, literal, select, update
from sqlalchemy.orm import Session

from toolkit_client.access_models import Account as WireAccount
from toolkit_client.access_models import AccountPatch, NewAccount
from toolkit_client.errors import Conflict, InvalidRequest
from toolkit_hub import clock
from toolkit_hub.domain import defaults, idempotency, resolve
from toolkit_hub.domain.access import Actor, authorise, visible
from toolkit_hub.domain.administrators import predefined_role
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.memberships import groups_above, join
from toolkit_hub.domain.names import MAX_FULL_NAME, check_name, split_name, taken
from toolkit_hub.domain.removal import archive_roles_of
from toolkit_hub.domain.submission import ALIVE
from toolkit_hub.store.access_tables import Data, Role, Team
from toolkit_hub.store.tables import Account, Job, Organization, User

__all__ = [
    "account_for",
    "account_to_wire",
    "archive_account",
    "change_account",
    "check_free",
    "create_account",
    "follow_names",
    "get_account",
    "give_first_administrator",
    "hide_account",
    "list_accounts",
    "rename_account",
    "use_of",
]


def account_for(session: Session, actor: Actor, reference: str | None) -> Account:
    """The account that `reference` means: its id, its full name, or its name in the organization; None: the home account.

    Raises `NotFound`. Asks no rights: the caller does, for its own action.
    """
    if reference is not None:
        return resolve.find_account(session, actor, reference)
    home = session.get(Account, actor.home_account_id) if actor.home_account_id else None
    if home is None or home.archived is not None:
        raise InvalidRequest(f"{actor.full_name} has no home account", "name an account, with --account")
    return home


def list_accounts(session: Session, actor: Actor, parent: str | None = None) -> list[WireAccount]:
    """The accounts that the actor may see, by name; with `parent` its children alone."""
    query = select(Account).where(visible(session, actor, "account:get", Account), Account.archived.is_(None))
    above = None
    if parent is not None:
        if parent in (actor.organization_id, actor.organization_name):
            query = query.where(Account.parent_id.is_(None))
        else:
            above = resolve.find_account(session, actor, parent)
            query = query.where(Account.parent_id == above.id)
    found = session.scalars(query.order_by(Account.full_name)).all()
    if above is not None and not found:
        # Who sees nothing below it may still see it.
        authorise(session, actor, "account:get", above.urn)
    return [account_to_wire(account) for account in found]


def get_account(session: Session, actor: Actor, ref: str) -> WireAccount:
    account = resolve.find_account(session, actor, ref)
    authorise(session, actor, "account:get", account.urn)
    return account_to_wire(account)


def create_account(
    session: Session, actor: Actor, new: NewAccount, idempotency_key: str | None = None
) -> tuple[WireAccount, bool]:
    """Add an account below the one that its full name begins with; a bare name: below the actor's home account.

    Raises `Conflict` when the name is taken or the tree would get too deep.
    """
    organization = session.get_one(Organization, actor.organization_id)
    above, name = split_name(new.name)
    parent = None
    if above not in (organization.name, organization.id):
        parent = account_for(session, actor, above or None)
    place = parent.urn if parent else organization.urn
    authorise(session, actor, "account:new", place)
    request = f"POST /accounts {new.model_dump_json()}"
    known = idempotency.replayed(session, actor, idempotency_key, request)
    if known is not None:
        return account_to_wire(session.get_one(Account, known)), False
    check_name("account", name)
    check_free(session, f"{parent.full_name if parent else organization.name}.{name}")
    account = defaults.add_account(session, organization, parent, name, actor.full_name)
    give_first_administrator(session, actor, predefined_role(session, account.id, "admin"))
    tell(session, actor, "account:new", "account.created", account.urn, name=account.full_name)
    idempotency.remember(session, actor, idempotency_key, request, account.id)
    return account_to_wire(account), True


def give_first_administrator(session: Session, actor: Actor, admin: Role) -> None:
    """Make the actor a member of a new `admin` role, unless they are in it by inheritance.

    A key or a job is nobody who could be a member: what they make has the organization's administrators.
    """
    if actor.subject.type == "user":
        if admin.id not in groups_above(session, [actor.user_id]):
            join(session, ("role", admin.id), ("user", actor.user_id), actor.full_name)
    elif admin.id not in groups_above(session, actor.subject.roots):
        above = predefined_role(session, admin.organization_id, "admin")
        if admin.id not in groups_above(session, [above.id]):
            defaults.inherit(session, admin, above, actor.full_name)


def change_account(session: Session, actor: Actor, ref: str, patch: AccountPatch) -> WireAccount:
    """Rename it. The full names of all that is below follow; ids, and so every right, stay."""
    account = resolve.find_account(session, actor, ref)
    authorise(session, actor, "account:set", account.urn)
    if patch.name is not None and patch.name != account.name:
        before = account.full_name
        rename_account(session, account, patch.name)
        tell(session, actor, "account:set", "account.changed", account.urn, name=account.full_name, before=before)
    return account_to_wire(account)


def rename_account(session: Session, account: Account, name: str) -> None:
    """Raises `Conflict` when another account has the name."""
    above = account.full_name[: -len(account.name) - 1]
    full_name = f"{above}.{name}"
    check_free(session, full_name)
    follow_names(session, account.id, account.full_name, full_name)
    account.name, account.full_name = name, full_name
    session.flush()


def follow_names(session: Session, root_id: str, before: str, after: str) -> None:
    """Give the account and all below it full names that begin with `after` in the place of `before`."""
    tree = select(Account.id).where(Account.id == root_id).cte("tree", recursive=True)
    tree = tree.union_all(select(Account.id).join(tree, Account.parent_id == tree.c.id))
    within = Account.id.in_(select(tree.c.id))
    grown = len(after) - len(before)
    longest = session.scalar(select(func.max(func.length(Account.full_name))).where(within)) or 0
    if longest + grown > MAX_FULL_NAME:
        raise InvalidRequest(
            f"with that name the full name of an account below would have {longest + grown} characters, "
            f"and {MAX_FULL_NAME} are allowed",
            "choose a shorter name",
        )
    moved = literal(after) + func.substr(Account.full_name, len(before) + 1, type_=String)
    session.execute(
        update(Account).where(within).values(full_name=moved).execution_options(synchronize_session="fetch")
    )


def archive_account(session: Session, actor: Actor, ref: str) -> WireAccount:
    """Hide the account with its roles and data, and free its name. Raises `Conflict` while something in it is in use."""
    account = resolve.find_account(session, actor, ref)
    authorise(session, actor, "account:archive", account.urn)
    used = use_of(session, account)
    if used:
        raise Conflict(f"the account {account.full_name} is in use: {used[0]}", used[1])
    hide_account(session, account)
    tell(session, actor, "account:archive", "account.archived", account.urn, name=account.full_name)
    return account_to_wire(account)


def hide_account(session: Session, account: Account) -> None:
    """Archive the account, its roles and its data. The caller has looked that it is not in use."""
    archive_roles_of(session, account.id)
    now = clock.now()
    session.execute(update(Data).where(Data.account_id == account.id, Data.archived.is_(None)).values(archived=now))
    account.archived = now
    session.flush()


def use_of(session: Session, account: Account, *, but_user: str = "", but_team: str = "") -> tuple[str, str] | None:
    """Why the account cannot be archived now, and what to do; None: it can. `but_…` go together with it."""
    jobs = session.scalar(select(func.count()).where(Job.account_id == account.id, Job.state.in_(ALIVE))) or 0
    if jobs:
        return f"it has {jobs} living job{'s' * (jobs > 1)}", "kill them, or wait for their end"
    child = select(Account.full_name).where(Account.parent_id == account.id, Account.archived.is_(None)).limit(1)
    if below := session.scalar(child):
        return f"there is {below} below it", "archive the accounts below first"
    home = select(User).where(
        User.home_account_id == account.id, User.archived.is_(None), User.kind == "person", User.id != but_user
    )
    if user := session.scalars(home.limit(1)).first():
        return f"it is the home of {user.full_name}", "archive or offboard the user instead"
    team = select(Team.name).where(Team.account_id == account.id, Team.archived.is_(None), Team.id != but_team)
    if name := session.scalar(team.limit(1)):
        return f"it is the account of the team {name}", "archive the team instead"
    return None


def check_free(session: Session, full_name: str) -> None:
    """Raises `Conflict` when an account has this full name, `InvalidRequest` when it is too long."""
    if len(full_name) > MAX_FULL_NAME:
        raise InvalidRequest(
            f"the full name has {len(full_name)} characters, and {MAX_FULL_NAME} are allowed", "choose a shorter name"
        )
    query = select(Account.id).where(Account.full_name == full_name, Account.archived.is_(None))
    if session.scalar(query) is not None:
        raise taken("account", full_name)


def account_to_wire(account: Account) -> WireAccount:
    return WireAccount(
        id=account.id,
        urn=account.urn,
        name=account.name,
        full_name=account.full_name,
        organization=account.full_name.partition(".")[0],
        parent=account.full_name[: -len(account.name) - 1],
        created=account.created,
        archived=account.archived,
    )
