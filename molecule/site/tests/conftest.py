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


@pytest.fixture(scope="module")
def tidy(site, request):
    """The folder FOLDER of a module, for checkpoints of its tests alone, gone afterwards."""
    folder = request.module.FOLDER
    for node in site.nodes:
        assert site.run(node, f"rm -rf {folder} && install -d -o ascend -g ascend {folder}").returncode == 0
    yield
    for node in site.nodes:
        site.run(node, f"rm -rf {folder}")
