"""A scenario's nodes, for the tests that play the site against them, and the order of these tests."""
import os

import pytest

from tests.playing import Site

# A scenario's tests share two converged nodes, so each finds what those before it left. First what looks at the nodes as site.yml left
# them, then what is refused, then trainings; what leaves nodes behind that nobody would want comes last.
ORDER = {
    "site": ("test_site.py", "test_remote_executions.py", "test_npus.py", "test_two_stacks.py", "test_wrong_input.py", "test_checkpoints.py",
             "test_data_share.py", "test_runs.py"),
    "faults": ("test_resume.py", "test_new_run.py", "test_broken_runs.py", "test_planted_links.py"),
}


@pytest.hookimpl(trylast=True)  # pytest's own sorting, by fixtures, comes before
def pytest_collection_modifyitems(items):
    """In the order of their scenario, molecule/<scenario>/tests."""
    placed = {f"{scenario}/{name}": place for scenario, names in ORDER.items() for place, name in enumerate(names)}
    keys = [f"{item.path.parts[-3]}/{item.path.name}" for item in items]
    unlisted = sorted({key for key in keys if key.split("/")[0] in ORDER} - set(placed))
    if unlisted:
        raise pytest.UsageError(f"The order of these tests is said in ORDER of molecule/conftest.py, which does not list "
                                f"{', '.join(unlisted)}: put each where what it finds on the nodes, and leaves there, fits.")
    items[:] = [item for _, item in sorted(zip(keys, items), key=lambda pair: placed.get(pair[0], 0))]


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
