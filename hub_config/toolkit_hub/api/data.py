"""``/data``."""

from __future__ import annotations

from toolkit_client.access_models import Data, DataHostAddress, DataPatch, NewData
from toolkit_client.models import Page
from toolkit_hub.api.routing import Call, Parameter, Route
from toolkit_hub.domain import data

__all__ = ["ROUTES"]


async def list_(call: Call) -> Page[Data]:
    found = await call.context.store.read(data.list_data, call.actor, call.query("account"))
    return Page[Data](items=found)


async def create(call: Call) -> Data:
    new, key = call.body(NewData), call.idempotency_key()
    return call.made(await call.context.store.write(data.create_data, call.actor, new, key))


async def get(call: Call) -> Data:
    return await call.context.store.read(data.get_data, call.actor, call.path_arguments["data"])


async def change(call: Call) -> Data:
    reference, changes = call.path_arguments["data"], call.body(DataPatch)
    return await call.context.store.write(data.change_data, call.actor, reference, changes)


async def archive(call: Call) -> Data:
    return await call.context.store.write(data.archive_data, call.actor, call.path_arguments["data"])


async def transfer(call: Call) -> DataHostAddress:
    context = call.context
    near = context.places.data_url() if call.for_jobs else None
    return DataHostAddress(url=near or context.settings.data_url)


ROUTES = [
    Route("GET", "/transfer", "Where the content of data goes in and out", None, transfer, answer=DataHostAddress),
    Route(
        "GET",
        "/data",
        "The data that you may see",
        "data:get",
        list_,
        answer=Page[Data],
        parameters=(Parameter("account", "only of this account: id or full name"),),
    ),
    Route("POST", "/data", "Create data", "data:new", create, NewData, Data, 201, idempotent_key=True),
    Route("GET", "/data/{data}", "Data, by id, full name, or name in your home account", "data:get", get, answer=Data),
    Route("PATCH", "/data/{data}", "Rename data", "data:set", change, DataPatch, Data),
    Route(
        "DELETE",
        "/data/{data}",
        "Archive data: it is hidden, and its name is free",
        "data:archive",
        archive,
        answer=Data,
    ),
]
