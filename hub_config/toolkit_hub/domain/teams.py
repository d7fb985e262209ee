"""Teams: users and other teams that work together, with an account of their own."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from toolkit_client.access_models import NewTeam, RenamePatch
from toolkit_client.access_models import Team as WireTeam
from toolkit_client.errors import NotFound
from toolkit_hub import clock
from toolkit_hub.domain import accounts, defaults, idempotency, resolve
from toolkit_hub.domain.access import Actor, authorise, visible
from toolkit_hub.domain.administrators import administrators_kept, predefined_role
from toolkit_hub.domain.changes import tell
from toolkit_hub.domain.memberships import find_membership, is_living, join
from toolkit_hub.domain.names import check_name, split_name, taken
from toolkit_hub.domain.owners import full_name_of_team
from toolkit_hub.domain.removal import archive_roles_of, strip
from toolkit_hub.store.access_tables import Data, Membership, Role, Team
from toolkit_hub.store.tables import Account, Organization, new_id

__all__ = ["archive_team", "change_team", "create_team", "get_team", "list_teams", "team_to_wire"]


def list_teams(session: Session, actor: Actor) -> list[WireTeam]:
    """The teams that the actor may see, by name."""
    query = select(Team).where(visible(session, actor, "team:get", Team), Team.archived.is_(None))
    _kept = session.get(Organization, actor.organization_id)  # loaded once: each team asks for its name
    return [team_to_wire(session, team) for team in session.scalars(query.order_by(Team.name)).all()]


def get_team(session: Session, actor: Actor, ref: str) -> WireTeam:
    team = resolve.find_team(session, actor, ref)
    authorise(session, actor, "team:get", team.urn)
    return team_to_wire(session, team)


def create_team(
    session: Session, actor: Actor, new: NewTeam, idempotency_key: str | None = None
) -> tuple[WireTeam, bool]:
    """Add a team with its account; the actor administers both. Raises `Conflict` when the name is taken."""
    organization = session.get_one(Organization, actor.organization_id)
    authorise(session, actor, "team:new", organization.urn)
    request = f"POST /teams {new.model_dump_json()}"
    known = idempotency.replayed(session, actor, idempotency_key, request)
    if known is not None:
        return team_to_wire(session, session.get_one(Team, known)), False
    above, name = split_name(new.name)
    if above not in ("", organization.name):
        raise NotFound(f"there is no organization {above[:80]}", f"a team's full name is {organization.name}.NAME")
    check_name("team", name)
    _check_free(session, organization, name)
    team = _add(session, organization, name, actor)
    tell(session, actor, "team:new", "team.created", team.urn, name=name, account=team.account.full_name)
    idempotency.remember(session, actor, idempotency_key, request, team.id)
    return team_to_wire(session, team), True


def _add(session: Session, organization: Organization, name: str, actor: Actor) -> Team:
    """The team's members work in its account; whoever administers the team administers the account."""
    by = actor.full_name
    account = defaults.add_account(session, organization, None, _account_name(session, organization, name), by)
    team = Team(
        id=new_id(),
        organization_id=organization.id,
        account_id=account.id,
        account=account,
        name=name,
        created=clock.now(),
        archived=None,
    )
    session.add(team)
    session.flush()
    admin, user = defaults.add_team_roles(session, organization.id, team.id, team.urn, by)
    join(session, ("role", user.id), ("team", team.id), by)
    join(session, ("role", predefined_role(session, account.id, "user").id), ("team", team.id), by)
    defaults.inherit(session, predefined_role(session, account.id, "admin"), admin, by)
    accounts.give_first_administrator(session, actor, admin)
    return team


def _account_name(session: Session, organization: Organization, name: str) -> str:
    """The team's own name if no account has it, else the nearest one that is free."""
    start = f"{organization.name}."
    query = select(Account.full_name).where(Account.parent_id.is_(None), Account.archived.is_(None))
    used = {full_name.removeprefix(start) for full_name in session.scalars(query)}
    long = f"team-{name}"[:60]
    number = 1
    wanted = [name, long]
    while wanted[-1] in used:
        number += 1
        wanted.append(f"{long}-{number}")
    return name if name not in used else wanted[-1]


def change_team(session: Session, actor: Actor, ref: str, patch: RenamePatch) -> WireTeam:
    """Rename it. Its account keeps its name: that is another thing, with `account set`."""
    team = resolve.find_team(session, actor, ref)
    authorise(session, actor, "team:set", team.urn)
    if patch.name is not None and patch.name != team.name:
        _check_free(session, session.get_one(Organization, team.organization_id), patch.name)
        before, team.name = team.name, patch.name
        session.flush()
        tell(session, actor, "team:set", "team.changed", team.urn, name=patch.name, before=before)
    return team_to_wire(session, team)


def archive_team(session: Session, actor: Actor, ref: str) -> WireTeam:
    """Hide the team and free its name: its members and roles go, and its account too unless that is in use.

    An account that stays keeps its administrators. Raises `Conflict` when the team's members are the last administrators of
    something else.
    """
    team = resolve.find_team(session, actor, ref)
    authorise(session, actor, "team:archive", team.urn)
    shown = team_to_wire(session, team)
    account = team.account
    admin = predefined_role(session, team.id, "admin")
    with administrators_kept(session, [team.id, admin.id], but=[team.id]):
        stays = account.archived is None and _is_used(session, team)
        if stays:
            _hand_on(session, team, predefined_role(session, account.id, "admin"), actor.full_name)
        archive_roles_of(session, team.id)
        strip(session, team.id)
        team.archived = clock.now()
        if not stays and account.archived is None:
            accounts.hide_account(session, account)
    kept = account.full_name if stays else None
    tell(session, actor, "team:archive", "team.archived", team.urn, name=team.name, accountKept=kept)
    return shown.model_copy(update={"archived": team.archived})


def _is_used(session: Session, team: Team) -> bool:
    data = select(Data.id).where(Data.account_id == team.account_id, Data.archived.is_(None)).limit(1)
    return accounts.use_of(session, team.account, but_team=team.id) is not None or session.scalar(data) is not None


def _hand_on(session: Session, team: Team, account_admin: Role, by: str) -> None:
    """Who administered the account by administering the team does so directly from now on."""
    admin = predefined_role(session, team.id, "admin")
    for one in session.scalars(select(Membership).where(Membership.group_id == admin.id)).all():
        if (
            is_living(one)
            and one.member_id != team.id
            and not find_membership(session, account_admin.id, one.member_id)
        ):
            member = (one.member_type, one.member_id)
            join(session, ("role", account_admin.id), member, by, inherited=one.inherited, expires=one.expires)


def _check_free(session: Session, organization: Organization, name: str) -> None:
    query = select(Team.id).where(Team.organization_id == organization.id, Team.name == name, Team.archived.is_(None))
    if session.scalar(query) is not None:
        raise taken("team", f"{organization.name}.{name}")


def team_to_wire(session: Session, team: Team) -> WireTeam:
    full_name = full_name_of_team(session, team)
    return WireTeam(
        id=team.id,
        urn=team.urn,
        name=team.name,
        full_name=full_name,
        organization=full_name.partition(".")[0],
        account=team.account.full_name,
        account_id=team.account_id,
        created=team.created,
        archived=team.archived,
    )
