"""The scenario's nodes, for the tests that play the site against them."""
import os

import pytest

from tests.playing import Site


@pytest.fixture(scope="session")
def site():
    return Site(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


@pytest.fixture
def unchanged(site):
    """Compares the nodes before and after a test."""
    before = site.snapshot()
    assert all("env.sh" in files for files in before.values())
    yield
    assert site.snapshot() == before
