"""The fixture that the tests of access share."""

from __future__ import annotations

import pytest

from tests.unit.access.house import House
from tests.unit.conftest import People


@pytest.fixture
def house(people: People) -> House:
    """admin, alice and bob of `acme`, on SQLite and on PostgreSQL."""
    return House(people.store)
