"""The site's list of images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.conftest import People
from toolkit_client.errors import InvalidRequest
from toolkit_hub.domain.images import check_image, image_meant, may_pull
from toolkit_hub.domain.site import Amount, Site

SITE = Site(Amount(4, 8), "toolkit-lab", Amount(1, 1), 2, "http", "localhost:8001", "http://127.0.0.1:8000", 10)


@pytest.mark.parametrize("image", ["anything", "toolkit-lab", "registry.example.org/a/b:1"])
def test_without_a_list_all_that_is_here_may_run_and_only_the_default_is_pulled(image: str) -> None:
    check_image(SITE, image)
    assert may_pull(SITE, image) == (image == "toolkit-lab")


@pytest.mark.parametrize(
    ("image", "listed"),
    [
        ("python", True),
        ("python:3.12", True),
        ("python-evil", False),
        ("other/python:3", False),
        ("registry.example.org/team/x:1", True),
        ("registry.example.org.evil/team/x:1", False),
        ("toolkit-lab", True),
        ("toolkit-lab:other", False),
        ("sha256:" + "0" * 64, False),
    ],
)
def test_a_list_names_what_may_run_and_be_pulled(image: str, listed: bool) -> None:
    site = replace(SITE, allowed_images=("python:*", "registry.example.org/team/*"))
    assert may_pull(site, image) == listed
    if listed:
        check_image(site, image)
    else:
        with pytest.raises(InvalidRequest, match="not allowed on this site"):
            check_image(site, image)


def test_an_empty_list_leaves_the_default_image(people: People) -> None:
    people.site = replace(people.site, allowed_images=())
    people.submit("alice")
    with pytest.raises(InvalidRequest, match="not allowed"):
        people.submit("alice", image="toolkit-base:bookworm")


def test_short_names() -> None:
    names = {"python": "toolkit-lab", "torch": "registry.example.org/ml/torch:2.5"}
    site = replace(SITE, image_names=names, allowed_images=())
    assert [image_meant(site, written) for written in ("", "python", "torch", "python:latest", "other")] == [
        "toolkit-lab",
        "toolkit-lab",
        "registry.example.org/ml/torch:2.5",
        "python:latest",
        "other",
    ]
    check_image(site, image_meant(site, "torch"))
    assert may_pull(site, image_meant(site, "torch"))
    with pytest.raises(InvalidRequest):
        check_image(site, image_meant(site, "python:latest"))
