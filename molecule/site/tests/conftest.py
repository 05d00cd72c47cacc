"""Playing site.yml and its parts against the scenario's nodes."""
import json
import os
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
WORKSPACE = "/opt/ascend-cluster"


class Site:
    """The project, played on the nodes as a user would."""

    def play(self, playbook, *arguments, inventories=(), **variables):
        """Run a playbook with extra variables; returns the finished process, its output in stdout."""
        words = ["ansible-playbook", playbook, "-i", "molecule/inventory"]
        for inventory in inventories:
            words += ["-i", str(inventory)]
        if variables:
            words += ["-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(PROJECT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0",
                       "ANSIBLE_SSH_ARGS": f"-F {os.environ['MOLECULE_EPHEMERAL_DIRECTORY']}/ssh/config", "COLUMNS": "200"}
        return subprocess.run([*words, *arguments], cwd=PROJECT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False, timeout=900)

    def refused(self, playbook, *arguments, **variables):
        """Run a playbook that must fail; returns its output in one line, folds of the yaml output undone."""
        done = self.play(playbook, *arguments, **variables)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stdout, done.stdout
        return " ".join(done.stdout.replace("''", "'").split())


@pytest.fixture(scope="session")
def site():
    return Site()


def snapshot(host):
    """Every file that the roles make, with size and time: equal means that nothing was changed."""
    with host.sudo():
        return host.check_output(
            f"find {WORKSPACE} /usr/local/Ascend /etc/systemd/system /etc/sysctl.d /etc/security -xdev "
            r"\( -name __pycache__ -o -name '*.pyc' \) -prune -o -type f -printf '%p %s %T@\n' | sort")
