"""What earlier roles must have made: asked for once in a run, and by each role of what it needs itself."""
import getpass
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def main_of(role):
    path = ROOT / f"roles/{role}/tasks/main.yml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else []


def required_by(role):
    return [task for task in main_of(role) if task.get("ansible.builtin.import_role", {}).get("tasks_from") == "require"]


def play(folder, tasks, *arguments, hosts=("node1",), **variables):
    """Play tasks on pretend nodes, which are this machine; returns status and output in one line."""
    (folder / "play.yml").write_text(json.dumps([{"name": "Play", "hosts": "all", "gather_facts": False, "tasks": tasks}]), encoding="utf-8")
    each = {name: {"ansible_connection": "local", "cluster_workspace": f"{folder}/{name}"} for name in hosts}
    (folder / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": each}}), encoding="utf-8")
    variables = {"cluster_user": getpass.getuser(), "ansible_python_interpreter": sys.executable,
                 "cluster_topology": {"nodes": [{"name": name} for name in hosts]}, **variables}
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_DISPLAY_OK_HOSTS": "true"}
    done = subprocess.run(["ansible-playbook", "-i", str(folder / "hosts.yml"), str(folder / "play.yml"), "-e", json.dumps(variables), *arguments],
                          cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def require(*roles, **more):
    return {"name": "Require", "ansible.builtin.import_role": {"name": "ascend.cluster.cluster", "tasks_from": "require"},
            "vars": {"cluster_required": list(roles), **more}}


def test_every_requirement_is_what_an_earlier_step_makes():
    steps = list(yaml.safe_load((ROOT / "playbooks/nodes.yml").read_text(encoding="utf-8"))[0]["vars"]["nodes_steps"])
    makes = yaml.safe_load((ROOT / "roles/cluster/vars/main.yml").read_text(encoding="utf-8"))["__cluster_makes"]
    for role in ROLES:
        for task in required_by(role):
            needed = task["vars"]["cluster_required"]
            assert set(needed) <= set(makes)
            assert all(steps.index(other) < steps.index(role) for other in needed), role
            assert needed[0] == "node_base", role  # whose user everything belongs to


def test_one_look_serves_all_that_find_what_they_need(tmp_path):
    for path in ("node1/env.sh", "node1/bin/ascend-env", "node1/conda/envs/test/bin/python"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    status, output = play(tmp_path, [require("node_base"), require("node_base", "cann_toolkit"), require("node_base", "cann_toolkit", "conda_env"),
                                     require("node_base", "megatron")])
    assert status == 2
    assert f"node1 lacks {tmp_path}/node1/Megatron-LM/pretrain_gpt.py (made by playbooks/megatron.yml). Run the playbook named" in output
    # The first, and that of the one who lacked something then and may have got it since.
    assert output.count("Require | Look for what earlier roles make]") == 2, output  # those that were skipped do not show


def test_what_was_made_since_is_seen(tmp_path):
    (tmp_path / "node1").mkdir()
    make = {"name": "Make it", "ansible.builtin.file": {"path": f"{tmp_path}/node1/AscendSpeed", "state": "directory", "mode": "0755"}}
    status, output = play(tmp_path, [require("node_base"), make, require("node_base", "ascendspeed")])
    assert status == 0, output


def test_a_missing_user_is_named_with_who_makes_it(tmp_path):
    (tmp_path / "node1").mkdir()
    status, output = play(tmp_path, [require("node_base")], cluster_user="nobody-of-that-name")
    assert status == 2
    assert "node1 lacks user nobody-of-that-name (made by playbooks/node_base.yml)." in output


def test_storage_that_does_not_answer_holds_nobody(tmp_path, monkeypatch):
    """As role data_share meets it when it is to open the server's firewall: it needs none of these files."""
    (tmp_path / "node1/Megatron-LM").mkdir(parents=True)
    (tmp_path / "node1/Megatron-LM/pretrain_gpt.py").touch()
    # A mount whose server is away lets `test` hang until it is killed.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/test").write_text('#!/bin/sh\ncase "$2" in *pretrain_gpt.py) exec sleep 1000 ;; esac\nexec /usr/bin/test "$@"\n')
    (tmp_path / "bin/test").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    status, output = play(tmp_path, [require("node_base"), require("node_base", "megatron")])
    assert status == 2
    assert (f"node1 lacks {tmp_path}/node1/Megatron-LM/pretrain_gpt.py, which does not answer within 10 s: it lies on storage whose server is away "
            "(made by playbooks/megatron.yml)") in output
    assert output.count("Require | Refuse to go on without them] *") == 2, output  # the first went on


@pytest.mark.parametrize(("arguments", "says"), [
    (("--check",), "Check mode stops here for node2"), (("--tags", "preflight"), "The preflight stops here for node2"),
    (("--tags", "preflight,dataset_preflight"), "The preflight stops here for node2"), (("--tags", "preflight,install"), None)])
def test_a_run_that_only_looks_says_what_is_not_there_yet(tmp_path, arguments, says):
    (tmp_path / "node1").mkdir()
    tags = {"tags": ["preflight", "install"]}
    tasks = [{**require("node_base"), **tags}, {"name": "Go on", "ansible.builtin.debug": {"msg": "went on at {{ inventory_hostname }}"}, **tags}]
    status, output = play(tmp_path, tasks, *arguments, hosts=("node1", "node2"))
    assert status == (0 if says else 2), output
    assert ("went on at node2" in output) is False
    assert "went on at node1" in output
    if says:
        assert f"{says}: node2 does not have yet: {tmp_path}/node2 (made by playbooks/node_base.yml)" in output
    else:
        assert f"node2 lacks {tmp_path}/node2 (made by playbooks/node_base.yml)" in output


def test_check_mode_ends_for_all_where_nodes_ask_for_each_other(tmp_path):
    """A bare node among finished ones: the others' tasks would ask for what it was to find out."""
    (tmp_path / "node1").mkdir()
    status, output = play(tmp_path, [require("node_base", cluster_required_together=True), {"name": "Go on", "ansible.builtin.debug": {"msg": "went on"}}],
                          "--check", hosts=("node1", "node2"))
    assert status == 0, output
    assert f"Check mode stops here for all nodes: node2 does not have yet: {tmp_path}/node2" in output
    assert "went on" not in output
