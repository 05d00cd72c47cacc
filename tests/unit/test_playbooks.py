"""No playbook ends with status 0 having done nothing."""
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PLAYBOOKS = ["site.yml", *sorted(f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml"))]
HERE = {"ansible_connection": "local", "ansible_become": False}


def play(folder, inventory, playbook, *arguments):
    (folder / "hosts.yml").write_text(json.dumps(inventory), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", playbook, "-i", str(folder / "hosts.yml"), *arguments], cwd=ROOT, env=environment, capture_output=True,
                          text=True, check=False)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_the_group_is_named_in_plays_and_in_role_cluster_alone():
    for path in [*ROOT.glob("playbooks/*.yml")]:
        for each in yaml.safe_load(path.read_text(encoding="utf-8")):
            if "hosts" in each:
                assert each["hosts"] == ("all:localhost" if path.name == "nodes.yml" else "ascend_nodes"), path
    for path in [*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("templates/*"), *ROOT.glob("plugins/*/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert ("groups[" in text or "groups." in text) == (path == ROOT / "roles/cluster/vars/main.yml"), path


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_a_limit_without_any_node_is_refused(tmp_path, playbook):
    inventory = {"ascend_nodes": {"hosts": {"node1": HERE, "node2": HERE}}, "others": {"hosts": {"storage": HERE}}}
    status, output = play(tmp_path, inventory, playbook, "--limit", "storage")
    assert status == 2, output
    assert ("None of the 2 nodes of the inventory group ascend_nodes is left by --limit storage: expected at least one node. Add the nodes to that group "
            "(inventory/ascend/hosts.yml shows how) or map your own onto it (`ascend_nodes: {children: {my_group: {}}}`), give the right inventory with -i, "
            "or another --limit. Nothing has been changed.") in output
    assert output.count("TASK [") == 1


@pytest.mark.parametrize(("inventory", "arguments", "said"), [
    ({"ascend_nodes": {"hosts": {}}}, (), "The inventory group ascend_nodes is empty: expected at least one node."),
    ({}, (), "The inventory group ascend_nodes is not there: expected at least one node."),
    ({"others": {"hosts": {"storage": HERE}}}, (), "The inventory group ascend_nodes is not there: expected at least one node."),
    ({"mine": {"hosts": {"node1": HERE}, "vars": {"cluster_group": "mine"}}}, (),
     "cluster_group is set, and is not read any more: the group of the nodes is always ascend_nodes. Take cluster_group out of where it is set, and map your "
     "own group onto that one in the inventory: `ascend_nodes: {children: {mine: {}}}`. Nothing has been changed."),
    ({"ascend_nodes": {"hosts": {"node1": HERE}}}, ("-e", "cluster_group=ascend_nodes"), "cluster_group is set, and is not read any more"),
])
@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/stop.yml"])
def test_a_group_that_is_not_there_is_refused(tmp_path, inventory, arguments, said, playbook):
    status, output = play(tmp_path, inventory, playbook, *arguments)
    assert status == 2, output
    assert said in output
    assert output.count("TASK [") == 1


def test_a_site_maps_its_own_group_onto_that_one(tmp_path):
    """In its order, which gives the ranks."""
    inventory = {"mine": {"hosts": {f"node{number}": {**HERE, "ansible_host": f"192.0.2.{number}"} for number in (3, 1, 2)}},
                 "ascend_nodes": {"children": {"mine": {}}}, "others": {"hosts": {"storage": HERE}}}
    show = tmp_path / "show.yml"
    show.write_text(json.dumps([
        {"ansible.builtin.import_playbook": str(ROOT / "playbooks/nodes.yml")},
        {"hosts": "ascend_nodes", "gather_facts": False, "tasks": [
            {"ansible.builtin.import_role": {"name": "ascend.cluster.cluster"}, "vars": {"__cluster_guard": False}},
            {"ansible.builtin.debug": {"msg": "{{ cluster_nodes | join('-') }} master {{ cluster_master }}"}, "run_once": True}]}]), encoding="utf-8")
    status, output = play(tmp_path, inventory, str(show))
    assert status == 0, output
    assert "msg: node3-node1-node2 master node3" in output


@pytest.mark.parametrize(("playbook", "tags", "said"), [
    ("playbooks/node_base.yml", "dataset", "Nothing in this playbook has the tag dataset: it holds node_base alone. Run site.yml with that tag,"),
    ("playbooks/node_base.yml", "launch,conda_env_verify", "has the tag conda_env_verify, launch: it holds node_base alone."),
    ("playbooks/preflight.yml", "always", "it holds preflight and pretrain alone."),
    ("playbooks/stop.yml", "pretrain", "Nothing in this playbook has the tag pretrain: it has no tags."),
    ("playbooks/stacks.yml", "launch", "it has no tags."),
])
def test_a_tag_of_another_playbook_is_refused(tmp_path, playbook, tags, said):
    status, output = play(tmp_path, {"ascend_nodes": {"hosts": {"node1": HERE}}}, playbook, "--tags", tags)
    assert status == 2, output
    assert said in output
    assert output.count("TASK [") == 1


@pytest.mark.parametrize(("playbook", "tags"), [
    ("site.yml", "dataset"), ("playbooks/node_base.yml", "node_base_verify"), ("playbooks/node_base.yml", "dataset,configure"),
    ("playbooks/pretrain.yml", "pretrain"), ("playbooks/preflight.yml", "pretrain"), ("playbooks/stop.yml", "all"),
])
def test_a_tag_of_this_playbook_is_taken(tmp_path, playbook, tags):
    """The next complaint is about the nodes, of which there are none."""
    status, output = play(tmp_path, {}, playbook, "--tags", tags)
    assert status == 2, output
    assert "The inventory group ascend_nodes is not there" in output
