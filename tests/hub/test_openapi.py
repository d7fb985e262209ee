"""The OpenAPI document: valid, complete, readable, and true: generated requests are answered as it says."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import checks

from tests.support.running_site import RunningSite
from toolkit_client.errors import Conflict
from toolkit_client.models import JobSpec
from toolkit_hub.api.openapi import openapi_document
from toolkit_hub.api.routing import API_PREFIX
from toolkit_hub.policy.actions import ACTIONS
from toolkit_hub.service import ROUTES

#: Streams do not end by themselves, and a generated `follow=true` would wait for one.
STREAMED = r"/events$|/logs$"
_PAGE = "/services/toolkit/api/"


def test_the_document_is_valid_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(openapi_document(ROUTES)).validate()


def test_the_document_has_all_of_the_spec() -> None:
    document = openapi_document(ROUTES)
    spec = document["components"]["schemas"]["JobSpec"]
    assert set(spec["properties"]) == {field.alias or name for name, field in JobSpec.model_fields.items()}
    posts = [operation["post"] for operation in document["paths"].values() if "post" in operation]
    keyed = [post for post in posts if "Idempotency-Key" in {item["name"] for item in post["parameters"]}]
    assert {post["operationId"] for post in keyed} >= {"post_jobs", "post_jobs_job_retry", "post_servers", "post_users"}


def test_each_operation_names_its_action_and_who_may_come_with_what() -> None:
    document = openapi_document(ROUTES)
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert operation.get("x-action") == route.action
        if route.action:
            assert operation["x-dangerous"] == ACTIONS[route.action].dangerous
            schemes = {name for choice in operation["security"] for name in choice}
            assert schemes == set(document["components"]["securitySchemes"])
        if route.status == 201:
            assert route.idempotent_key or route.path == "/locks", "what makes something may be sent again"


@pytest.mark.engine
def test_the_page_shows_each_operation_and_model(site: RunningSite) -> None:
    page = httpx.get(site.url + _PAGE)
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    document = openapi_document(ROUTES)
    ids = set(re.findall(r'<section id="([^"]+)"', page.text))
    operations = {item["operationId"] for methods in document["paths"].values() for item in methods.values()}
    assert ids == operations | set(document["components"]["schemas"])
    assert set(re.findall(r'href="#([^"]+)"', page.text)) <= set(re.findall(r'\sid="([^"]+)"', page.text))
    assert "<script" not in page.text
    assert not re.search(r"\sstyle=|\son\w+=", page.text), "nothing that the page's own policy forbids"


def schema_of(site: RunningSite) -> Any:
    schema = schemathesis.openapi.from_dict(openapi_document(ROUTES))
    schema.config.update(base_url=f"{site.url}{API_PREFIX}")
    return schema


@pytest.mark.engine
@pytest.mark.parametrize(
    ("method", "path"),
    [(route.method, route.path) for route in ROUTES if not re.search(STREAMED, route.path)],
)
def test_generated_requests_are_answered_as_documented(site: RunningSite, method: str, path: str) -> None:
    """No answer is a server error; each has a documented status, type and shape."""
    operation = schema_of(site)[path][method]
    headers = {"Authorization": f"Bearer {site.token('schema')}"}
    wanted = [
        checks.not_a_server_error,
        schemathesis.checks.CHECKS.get_one("content_type_conformance"),
        schemathesis.checks.CHECKS.get_one("response_schema_conformance"),
        schemathesis.checks.CHECKS.get_one("status_code_conformance"),
    ]

    @settings(max_examples=12, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        reply = case.call(headers=headers, timeout=20)
        case.validate_response(reply, checks=wanted)

    ask()
    with site.client("schema") as client:
        for job in client.jobs.list(state="alive", mine=True, limit=200):
            with contextlib.suppress(Conflict):  # it has ended by itself meanwhile
                client.jobs.kill(job.id)
