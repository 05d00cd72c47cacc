"""Misspelt variables."""
from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.filter import unknown_variables as names_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _names
from ansible_collections.ascend.cluster.plugins.module_utils._renamed import RENAMED

ROOT = Path(__file__).parents[2]


def judge(*names: str, known: tuple[str, ...] = ()) -> dict[str, list[str]]:
    return _names.judge({"node1": names}, known, ROOT)


@pytest.mark.parametrize(("name", "meant"), [
    ("plan_tensor_model_paralel_size", "plan_tensor_model_parallel_size"), ("plan_tensor_parallel_size", "plan_tensor_model_parallel_size"),
    ("plan_train_iter", "plan_train_iters"), ("plna_train_iters", "plan_train_iters"), ("plantrain_iters", "plan_train_iters"),
    ("Plan_Train_Iters", "plan_train_iters"), ("plan-train-iters", "plan_train_iters"), ("plan_rl", "plan_lr"), ("plan_sed", "plan_seed"),
    ("pretain_resume", "pretrain_resume"), ("cluster_adress", "cluster_address"), ("preflight_min_free_gb", "preflight_min_free_gib"),
    ("node_base_platfrom", "node_base_platform"), ("cann_toolkit_kernel_src", "cann_toolkit_kernels_src"),
])
def test_a_name_close_to_one_that_exists_is_an_error(name: str, meant: str) -> None:
    found = judge(name)
    assert found["warnings"] == []
    assert len(found["errors"]) == 1
    assert f"{name} is set for node1, and no role knows that name: expected {meant}. Correct it where it is set (the inventory, " in found["errors"][0]
    assert "preflight_known_variables" in found["errors"][0]
    assert judge(name, known=(name,)) == {"errors": [], "warnings": []}


@pytest.mark.parametrize("name", ["cluster_name", "cluster_uuid", "dataset_path", "plan_lr_warmup_iters", "plan_context_parallel_size",
                                  "pretrain_master_addr", "tokenizer_url"])
def test_another_name_that_begins_like_those_of_a_role_is_a_warning(name: str) -> None:
    found = judge(name)
    assert found["errors"] == []
    assert len(found["warnings"]) == 1
    assert found["warnings"][0].startswith(f"{name} is set for node1 and changes nothing: no role has a variable of that name (")
    assert ("goes into plan_extra_arguments" in found["warnings"][0]) == name.startswith("plan_")
    assert judge(name, known=(name,)) == {"errors": [], "warnings": []}


@pytest.mark.parametrize("name", [
    "node_rank", "cluster_address", "my_cluster_user", "old_plan_train_iters", "ansible_host", "groups", "__plan_resume", "_plan_lrr", "x",
    "plan_argv", "plan_settings", "plan_moe_arguments", "cluster_topology", "cluster_nnodes", "pretrain_run_id", "pretrain_verdict",
    "pretrain_expected_shards", "playbook_dir", "planet_name",
])
def test_other_names_are_left_alone(name: str) -> None:
    assert judge(name) == {"errors": [], "warnings": []}


@pytest.mark.parametrize("name", ["ansible_become_user", "ansible_su_user", "ansible_sudo_user"])
def test_a_variable_that_beats_the_user_of_a_task_is_an_error(name: str) -> None:
    found = _names.judge({"node1": ["x"], "node2": [name]}, (), ROOT)
    assert found["warnings"] == []
    assert len(found["errors"]) == 1
    assert found["errors"][0].startswith(f"{name} is set for node2, and beats the user that a task names")


def test_a_removed_variable_is_an_error_that_says_what_takes_its_place() -> None:
    found = judge("cluster_group")
    assert found["warnings"] == []
    assert found["errors"] == [
        "cluster_group is set for node1, and changes nothing: it is not needed any more: the group of the nodes is always ascend_nodes, and a site maps its "
        "own onto it in the inventory (`ascend_nodes: {children: {my_group: {}}}`). Remove it where it is set (the inventory, group_vars, host_vars or -e)."]
    assert judge("cluster_group", known=("cluster_group",)) == {"errors": [], "warnings": []}


def names_in(value: object) -> Iterator[str]:
    """All names under `vars`, `hosts` or at the top of a file of variables."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from names_in(inner)


def test_all_names_of_the_samples_and_inventories_are_known() -> None:
    names = set()
    for path in [*ROOT.glob("group_vars/all/*.yml"), *ROOT.glob("inventory/**/*.yml"), *ROOT.glob("rehearsal/plans/*.yml")]:
        text = path.read_text(encoding="utf-8")
        if path.is_relative_to(ROOT / "group_vars"):  # all commented
            names.update(line[2:].split(":")[0] for line in text.splitlines() if line.startswith("# ") and ":" in line and " " not in line[2:].split(":")[0])
        names.update(names_in(yaml.safe_load(text)))
    assert {"plan_train_iters", "node_base_platform", "preflight_min_free_gib"} <= names
    assert judge(*names) == {"errors": [], "warnings": []}


def test_the_hosts_are_folded() -> None:
    many = {f"n{number}": ["plan_sed"] if number else [] for number in range(9)}
    assert "plan_sed is set for n1, n2, n3 … (8 nodes), and" in _names.judge(many, (), ROOT)["errors"][0]
    few = {f"n{number}": ["plan_sed"] if number else [] for number in range(4)}
    assert "plan_sed is set for n1, n2, n3, and" in _names.judge(few, (), ROOT)["errors"][0]
    assert "is set for all nodes, and" in _names.judge({"a": ["plan_sed"], "b": ["plan_sed"]}, (), ROOT)["errors"][0]


@pytest.mark.parametrize("old", sorted(RENAMED))
def test_an_old_name_fails_with_the_new_one(old: str) -> None:
    found = _names.judge({"a": [old]}, (), ROOT)
    public = _names.of_roles(ROOT)[0]
    assert old not in public
    assert len(found["errors"]) == 1
    assert found["warnings"] == []
    new = re.search(r"called (\w+) now", RENAMED[old])
    assert new is None or (new[1] in public and new[1] in found["errors"][0])
    assert found["errors"][0].startswith(f"{old} is set for a, and changes nothing: it is ")


def test_no_value_is_looked_at() -> None:
    class Names(dict[str, str]):
        def __getitem__(self, key: str) -> str:
            raise AssertionError(f"{key} was evaluated")
        get = items = values = __getitem__  # type: ignore[assignment]

    found = names_filter.FilterModule().filters()["unknown_variables"](["a"], {"a": Names(plan_sed="1")}, [], str(ROOT))
    assert len(found["errors"]) == 1


def test_the_preflight_refuses_a_misspelt_variable_and_templates_no_other(tmp_path: Path) -> None:
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("""ascend_nodes:
  hosts:
    node1: {ansible_host: 192.0.2.1}
  vars:
    ansible_connection: local
    ansible_become: false
    pretain_resume: true
    cluster_name: north
    cluster_owner: me
    preflight_known_variables: [cluster_owner]
    broken: "{{ nothing.at.all | no_such_filter }}"
    secret: !vault |
      $ANSIBLE_VAULT;1.1;AES256
      3161
""", encoding="utf-8")
    done = subprocess.run(
        ["ansible-playbook", "playbooks/preflight.yml", "-i", str(inventory), "-e", "plan_tensor_model_paralel_size=4"], cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}, capture_output=True, text=True, check=False)
    said = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert "plan_tensor_model_paralel_size is set for node1, and no role knows that name: expected plan_tensor_model_parallel_size." in said
    assert "pretain_resume is set for node1, and no role knows that name: expected pretrain_resume." in said
    assert "cluster_name is set for node1 and changes nothing" in said
    assert "cluster_owner" not in said
    assert "Nothing has been changed" in said
    # The one place without nodes where the probe goes the way that it goes on nodes.
    assert "did not run the probe" not in said
