"""``/teams``."""

from __future__ import annotations

from toolkit_client.access_models import NewTeam, RenamePatch, Team
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Route
from toolkit_hub.domain import teams

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Team]:
    return Page[Team](items=await call.context.store.read(teams.list_teams, call.actor))


async def create(call: Call) -> Team:
    new, key = call.body(NewTeam), call.idempotency_key()
    return call.made(await call.context.store.write(teams.create_team, call.actor, new, key))


async def get(call: Call) -> Team:
    return await call.context.store.read(teams.get_team, call.actor, call.path_arguments["team"])


async def change(call: Call) -> Team:
    reference, changes = call.path_arguments["team"], call.body(RenamePatch)
    return await call.context.store.write(teams.change_team, call.actor, reference, changes)


async def archive(call: Call) -> Team:
    return await call.context.store.write(teams.archive_team, call.actor, call.path_arguments["team"])


ROUTES = [
    Route("GET", "/teams", "The teams that you may see", "team:get", list_, answer=Page[Team]),
    Route(
        "POST",
        "/teams",
        "Create a team with an account of its own",
        "team:new",
        create,
        NewTeam,
        Team,
        201,
        idempotent_key=True,
    ),
    Route("GET", "/teams/{team}", "A team, by id or name", "team:get", get, answer=Team),
    Route("PATCH", "/teams/{team}", "Rename a team", "team:set", change, RenamePatch, Team),
    Route(
        "DELETE",
        "/teams/{team}",
        "Archive a team, and its account unless that is in use",
        "team:archive",
        archive,
        answer=Team,
    ),
]
