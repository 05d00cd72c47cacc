"""Two nodes of their own with the real training code, made for these tests and removed after them; and the code alone, to be asked about plans."""
import importlib
import os
import shutil
import subprocess

import pytest

from rehearsal import artifacts, containers
from tests.playing import PROJECT, Site
from tests.upstream import plans

STACK = plans.STACK
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


@pytest.fixture(scope="session")
def ask():
    """Runs the asking program with the real code as the roles leave it, at the commits whose options are recorded."""
    folder = FOLDER / f"plans-{STACK}"
    shutil.rmtree(folder, ignore_errors=True)
    checkouts = []
    for (name, commit), (url, _) in zip(plans.DATA["options"]["of"].items(), artifacts.repositories(STACK).values()):
        checkouts.append(folder / name)
        subprocess.run(["git", "clone", "--quiet", "--no-checkout", url, checkouts[-1]], check=True)
        subprocess.run(["git", "checkout", "--quiet", commit], cwd=checkouts[-1], check=True)
    importlib.import_module(f"tests.upstream.plans_{STACK}").leave_as_roles_do(*checkouts)
    path = os.pathsep.join(map(str, (PROJECT / "rehearsal/npu_on_cpu", *checkouts, PROJECT)))

    def run(*words, questions=""):
        done = subprocess.run([PROJECT / ".rehearsal/plans/bin/python", "-W", "ignore", PROJECT / f"tests/upstream/real_{STACK}.py", *words],
                              input=questions, text=True, stdout=subprocess.PIPE, check=True, cwd=folder,
                              env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
        return done.stdout
    return run
