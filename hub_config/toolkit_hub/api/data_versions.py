"""``/data/{data}/versions`` and ``/data/{data}/size``."""

from __future__ import annotations

from toolkit_client.data_models import Commit, DataSize, DataVersion, NewVersion
from toolkit_client.errors import ServiceUnavailable
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import data_usage, data_versions

__all__ = ["ROUTES"]

#: Seconds that a request waits for a measurement. When it takes longer the answer is of the one before: `asOf` tells.
PATIENCE_S = 15.0
#: By the state of the commit.
STATUS = {"made": 201, "running": 202, "unchanged": 200}


async def commit(call: Call) -> Commit:
    new, key = call.body(NewVersion), call.idempotency_key()
    made = await call.context.commits.commit(call.actor, call.path_arguments["data"], new, key)
    call.status = STATUS[made.state]
    return made


async def list_(call: Call) -> Page[DataVersion]:
    limit = call.number("limit", data_versions.PAGE, 1, data_versions.PAGE) or data_versions.PAGE
    below = call.number("cursor", None, 1, 2**31)
    found, following = await call.context.store.read(
        data_versions.list_versions, call.actor, call.path_arguments["data"], limit=limit, below=below
    )
    return Page[DataVersion](items=found, next=following)


async def get(call: Call) -> DataVersion:
    reference, version = call.path_arguments["data"], call.path_arguments["version"]
    return await call.context.store.read(data_versions.get_version, call.actor, reference, version)


async def size(call: Call) -> DataSize:
    reference = call.path_arguments["data"]
    data_id, known = await call.context.store.read(data_usage.size_of, call.actor, reference)
    if not call.flag("measure"):
        return known
    try:
        await call.context.usage.measure(data_id, PATIENCE_S)
    except OSError as error:
        raise ServiceUnavailable(
            f"the data could not be measured: {error.strerror}", "try again in a moment"
        ) from error
    return (await call.context.store.read(data_usage.size_of, call.actor, reference))[1]


ROUTES = [
    Route(
        "POST",
        "/data/{data}/versions",
        "Commit: keep what the data holds now as its next version. 201: made; 200: nothing has changed since the last one; "
        "202: it takes longer, send the same again with the same Idempotency-Key",
        "data:set",
        commit,
        NewVersion,
        Commit,
        201,
        idempotent_key=True,
        lasts=True,
    ),
    Route(
        "GET",
        "/data/{data}/versions",
        "The versions of data, the newest first",
        "data:get",
        list_,
        answer=Page[DataVersion],
        parameters=(
            Parameter("limit", "at most so many", {"type": "integer", "minimum": 1, "maximum": data_versions.PAGE}),
            Parameter("cursor", "`next` of the page before"),
        ),
    ),
    Route(
        "GET",
        "/data/{data}/versions/{version}",
        "One version, by its number or as `latest`",
        "data:get",
        get,
        answer=DataVersion,
    ),
    Route(
        "GET",
        "/data/{data}/size",
        "How much data takes, with all of its versions, as of the last look at it",
        "data:get",
        size,
        answer=DataSize,
        parameters=(
            Parameter(
                "measure",
                "look now; when that takes long, the answer is of the last look, and asking again waits on",
                {"type": "boolean"},
            ),
        ),
    ),
]
