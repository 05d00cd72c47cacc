"""What is looked up on 512 nodes: counted, not timed."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _findings, _shards

from tests import stacks
from tests.unit.test_probe import SETTINGS, judge

ROOT = Path(__file__).parents[2]
NODES = 512
FILTER = '''
import os


def counted(value, name):
    file = os.open(os.path.join(os.environ["COUNTED"], name), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, b"x")
    os.close(file)
    return value


class FilterModule:
    def filters(self):
        return {"counted": counted}
'''


def running():
    """tasks/running.yml of role pretrain without its question to each node, whose answer is in the inventory here."""
    question, *tasks = yaml.safe_load((ROOT / "roles/pretrain/tasks/running.yml").read_text(encoding="utf-8"))
    assert question["ansible.builtin.import_role"] == {"name": "ascend.cluster.cluster", "tasks_from": "job"}
    for task in tasks:
        if "ansible.builtin.import_tasks" in task:
            task["ansible.builtin.import_tasks"] = str(ROOT / "roles/pretrain/tasks" / task["ansible.builtin.import_tasks"])
    return tasks


def test_ranks_and_the_state_of_the_job_are_worked_out_once_for_all_roles(tmp_path):
    (tmp_path / "filter_plugins").mkdir()
    (tmp_path / "filter_plugins/counted.py").write_text(FILTER, encoding="utf-8")
    (tmp_path / "counts").mkdir()
    hosts = {f"node{number}": {"address": f"10.0.{number // 250}.{number % 250 + 1}"} for number in range(NODES)}
    shared = {"ansible_connection": "local", "cluster_address": "{{ address | counted('address') }}",
              "__cluster_job_state": "{{ 'inactive' | counted('job') }}"}
    (tmp_path / "hosts.yml").write_text(json.dumps({"ascend_nodes": {"hosts": hosts, "vars": shared}}), encoding="utf-8")
    topology = {"ansible.builtin.import_role": {"name": "ascend.cluster.cluster", "tasks_from": "topology"}}
    plays = [{"hosts": "ascend_nodes", "gather_facts": False, "tasks": tasks} for tasks in (
        [topology], [topology, topology], [topology, *running()])]
    (tmp_path / "play.yml").write_text(json.dumps(plays), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_FORKS": "16",
                   "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"), "COUNTED": str(tmp_path / "counts")}
    done = subprocess.run(["ansible-playbook", str(tmp_path / "play.yml"), "-i", str(tmp_path / "hosts.yml")], cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Check this run's inputs" not in done.stdout
    counts = {path.name: path.stat().st_size for path in (tmp_path / "counts").iterdir()}
    assert counts["address"] == NODES
    assert counts["job"] == NODES


def judged(number, odd):
    """What the preflight's filter makes of a node with eight NPUs, the odd ones otherwise in all that is compared."""
    npu = {"netmask": "255.255.255.0" if odd else "255.255.0.0", "gateway": "", "tls": int(odd), "mtu": 4096 if odd else 1500, "speed": 200000 - odd}
    facts = {**judge()["facts"], "npus": 8, "npu_name": "910B2" if odd else "910B3", "driver": f"24.{odd}", "firmware": f"7.{odd}", "kernel": f"5.{odd}",
             "system": f"openEuler {odd}", "mtu": f"{1500 + odd}", "memory_gib": 1511 - 100 * odd, "processors": f"{192 - odd}", "clock_offset": 100 * odd,
             "fabric": {str(device): {**npu, "address": f"10.{20 + number // 250}.{number % 250}.{device + 1}"} for device in range(8)}}
    return {"findings": [], "job": "inactive", "facts": facts}


def steps(work):
    """Lines of Python that run, counted."""
    counted = 0

    def trace(_frame, event, _argument):
        nonlocal counted
        counted += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.parametrize("half", [False, True], ids=["all alike", "half of them odd"])
def test_judging_the_nodes_takes_twice_the_steps_for_twice_the_nodes(half):
    def judging(count):
        nodes = {f"node{number}": judged(number, half and number % 2) for number in range(count)}
        return lambda: _findings.report(nodes, [], {**SETTINGS, "nproc_per_node": 8})

    assert steps(judging(64)) < 2.2 * steps(judging(32))


@pytest.mark.parametrize("of_a_node", [_shards.expected_shards, _shards.required_shards])
def test_the_shards_of_one_node_take_the_same_steps_however_many_there_are(of_a_node):
    """Every node's script and settings hold its own: what looked at all ranks for each would grow with the square."""
    plan = {"tensor-model-parallel-size": 2, "expert-model-parallel-size": 2}
    stack = stacks.read("recipe")
    of_a_node(plan, stack, 1, 8, 2, 10)  # what is read once for all is read
    few, many = (steps(lambda nodes=nodes: of_a_node(plan, stack, 1, 8, nodes, 10)) for nodes in (2, NODES))
    assert many == few


def test_of_all_nodes_the_sizes_of_a_checkpoint_are_worked_out_once():
    settings = yaml.safe_load((ROOT / "roles/pretrain/vars/main.yml").read_text(encoding="utf-8"))["__pretrain_supervise"]
    assert "plan_checkpoint" not in json.dumps(settings)
    first = yaml.safe_load((ROOT / "roles/pretrain/tasks/render.yml").read_text(encoding="utf-8"))[0]
    assert first["ansible.builtin.set_fact"]["__pretrain_checkpoint"] == "{{ plan_checkpoint }}" and first["run_once"] is True
