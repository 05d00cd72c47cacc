"""Every inventory has variables of its own: two clusters side by side, the sample and the rehearsal."""
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "ANSIBLE_FORCE_COLOR": "0"}
VAULT = "secret: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  3161\n"


@pytest.fixture
def project(tmp_path):
    """A copy of what Ansible reads, whose site.yml shows a variable instead."""
    for name in ("inventory", "playbooks", "group_vars", "molecule"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True)
    for name in ("site.yml", "ansible.cfg"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "playbooks/site.yml").write_text(json.dumps([
        {"name": "Show", "hosts": "ascend_nodes", "gather_facts": False, "connection": "local", "tasks": [
            {"name": "Show it", "ansible.builtin.debug": {"msg": "seen={{ plan_seed | default('none') }} secret={{ secret | default('none') }}"}}]}]),
        encoding="utf-8")
    return tmp_path


def run(project, *words):
    return subprocess.run(words, cwd=project, env={**ENVIRONMENT, "ANSIBLE_CONFIG": str(project / "ansible.cfg")}, capture_output=True, text=True, check=False)


def shown(project, inventory, playbook="site.yml"):
    done = run(project, "ansible-playbook", playbook, "-i", inventory)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_sample_sees_the_roots_group_vars_from_wherever(project):
    (project / "group_vars/all/mine.yml").write_text("plan_seed: 5\n", encoding="utf-8")
    for inventory, playbook in (("inventory/ascend", "site.yml"), ("inventory/ascend/hosts.yml", "playbooks/site.yml")):
        assert shown(project, inventory, playbook).count("seen=5") == 2


def test_two_clusters_side_by_side_have_settings_of_their_own(project):
    command = "cp -rL inventory/ascend inventory/second"
    assert command in (ROOT / "inventory/ascend/hosts.yml").read_text(encoding="utf-8")
    subprocess.run(command.split(), cwd=project, check=True)
    (project / "group_vars/all/plan.yml").write_text("plan_seed: 1\n", encoding="utf-8")
    (project / "inventory/second/group_vars/all/plan.yml").write_text("plan_seed: 2\n", encoding="utf-8")
    assert shown(project, "inventory/ascend").count("seen=1") == 2
    assert shown(project, "inventory/second").count("seen=2") == 2
    (project / "inventory/second/group_vars/all/plan.yml").unlink()
    assert shown(project, "inventory/second").count("seen=none") == 2


@pytest.mark.parametrize("inventory", ["inventory/rehearsal", "molecule/inventory", "molecule/nfs/inventory"])
def test_nothing_of_the_site_reaches_a_rehearsal(project, inventory):
    (project / "group_vars/all/plan.yml").write_text("plan_seed: 1\nplan_no_such: 1\n", encoding="utf-8")
    (project / "group_vars/all/vault.yml").write_text(VAULT, encoding="utf-8")
    (project / ".rehearsal/ssh").mkdir(parents=True)
    (project / ".rehearsal/ssh/nodes.json").write_text(json.dumps({f"node{n}": {"address": f"192.0.2.{n}"} for n in (1, 2)}), encoding="utf-8")
    assert shown(project, inventory).count("seen=none secret=none") == 2
    # The very file stops the sample, which has no password here.
    assert run(project, "ansible-playbook", "site.yml", "-i", "inventory/ascend").returncode != 0
