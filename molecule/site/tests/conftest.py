"""The scenario's nodes, for the tests that play the site against them, and the order of these tests."""
import os

import pytest

from tests.playing import Site

# All tests share two converged nodes, so each finds what those before it left. First what looks at the nodes as site.yml left them,
# then what is refused, then trainings; what leaves nodes behind that nobody would want comes last.
ORDER = (
    "test_site.py",
    "test_remote_executions.py",
    "test_two_stacks.py",
    "test_wrong_input.py",
    "test_checkpoints.py",
    "test_data_share.py",
    "test_resume.py",
    "test_planted_links.py",
    "test_broken_runs.py",
)


@pytest.hookimpl(trylast=True)  # pytest's own sorting, by fixtures, comes before
def pytest_collection_modifyitems(items):
    unlisted = sorted({item.path.name for item in items} - set(ORDER))
    if unlisted:
        raise pytest.UsageError(f"The order of these tests is said in ORDER of molecule/site/tests/conftest.py, which does not list "
                                f"{', '.join(unlisted)}: put each where what it finds on the nodes, and leaves there, fits.")
    items.sort(key=lambda item: ORDER.index(item.path.name))


@pytest.fixture(scope="session")
def site():
    return Site(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"])


@pytest.fixture(scope="module")
def seen(site):
    """The nodes as they were last looked at: nothing happens between two tests of a module."""
    return [site.snapshot()]


@pytest.fixture
def unchanged(site, seen):
    """Compares the nodes before and after a test."""
    before = seen[0]
    assert all("env.sh" in files for files in before.values())
    yield
    seen[0] = site.snapshot()
    assert seen[0] == before


@pytest.fixture(scope="module")
def tidy(site, request):
    """The folder FOLDER of a module, for checkpoints of its tests alone, gone afterwards."""
    folder = request.module.FOLDER
    for node in site.nodes:
        assert site.run(node, f"rm -rf {folder} && install -d -o ascend -g ascend {folder}").returncode == 0
    yield
    for node in site.nodes:
        site.run(node, f"rm -rf {folder}")
