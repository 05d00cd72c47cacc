"""Two nodes of their own with the real training code: made for these tests, removed after them."""
import os

import pytest

from rehearsal import artifacts, containers
from tests.playing import PROJECT, Site

STACK = os.environ.get("STACK", "recipe")
FOLDER = PROJECT / ".rehearsal/upstream"


@pytest.fixture(scope="session")
def site():
    artifacts.build("real", [STACK])
    # As many NPUs as the largest plan of these tests wants.
    containers.up(npus=8, folder=FOLDER / "ssh", name="ascend-upstream")
    try:
        yield Site(FOLDER, ["-e", f"cluster_stack={STACK}", "-e", "@rehearsal/plans/real.yml"])
    finally:
        containers.down(FOLDER / "ssh")


@pytest.fixture(scope="session")
def trained(site):
    """The whole site, to its end; its output."""
    status, output = site.play("site.yml")
    assert status == 0, output
    return output
