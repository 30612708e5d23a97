"""What the tests of all hosts share."""

from __future__ import annotations

from typing import Any

import pytest

from lib_rankopt.hosts.base import GenerationRequest
from tests.hosts.conformance import RequestOf


@pytest.fixture
def request_of() -> RequestOf:
    def make(**changes: Any) -> GenerationRequest:
        return GenerationRequest(**{"prompt": "a red fox", "seeds": (1,), "steps": 4, **changes})

    return make
