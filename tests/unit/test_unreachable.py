"""A node that is not reached while the training is started: the others are stopped, and it is named."""
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]


def tasks_of(tasks):
    for task in tasks or []:
        yield task
        for inner in ("block", "rescue", "always"):
            yield from tasks_of(task.get(inner))


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=lambda path: f"{path.parts[-3]}/{path.name}")
def test_who_goes_on_over_an_unreachable_node_ignores_errors_too(path):
    """Else any_errors_fatal ends the play there; but for stacks.yml, whose play has none."""
    for task in tasks_of(yaml.safe_load(path.read_text(encoding="utf-8"))):
        if task.get("ignore_unreachable") and path.name != "stacks.yml":
            assert task.get("ignore_errors") is True, f"{path}: {task['name']}"


def test_the_launch_says_which_node_could_not_start_it(tmp_path):
    gone = {"ansible_host": "127.0.0.1", "ansible_port": 9, "ansible_ssh_common_args": "-o ConnectTimeout=5"}
    (tmp_path / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": {"node1": gone, "node2": gone}}}), encoding="utf-8")
    (tmp_path / "play.yml").write_text(json.dumps([
        {"name": "Launch", "hosts": "ascend_nodes", "gather_facts": False, "any_errors_fatal": True,
         "vars": {"cluster_nodes": ["node1", "node2"], "cluster_unit": "no-such-unit-of-a-test.service"},
         "tasks": [{"name": "Launch", "ansible.builtin.import_tasks": str(ROOT / "roles/pretrain/tasks/launch.yml")}]}]), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", str(tmp_path / "play.yml"), "-i", str(tmp_path / "hosts.yml")], cwd=ROOT, env=environment,
                          capture_output=True, text=True, check=False)
    output = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "node1, node2 could not start the training, so it was stopped everywhere" in output
    assert "look for a job left running: playbooks/stop.yml" in output
