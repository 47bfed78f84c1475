"""Options, and where the large collections lie that some tests read."""

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--crash-kills", default="5", help="random kills of a running ingest")
    parser.addoption("--crash-repeats", default="1", help="kills at each named point of the write order")


@pytest.fixture(scope="session")
def collections() -> Path:
    """Real folders, retrieval sets and hostile files: TEST_COLLECTIONS, or `shared/data` beside the checkout."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    found = Path(os.environ.get("TEST_COLLECTIONS", beside))
    if not found.is_dir():
        pytest.skip(f"no test collections at {found}; set TEST_COLLECTIONS to their folder")
    return found
