"""Every role keeps the one skeleton: its defaults, argument specs and README say the same."""
import functools
import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())


def load(role, name):
    return yaml.safe_load((ROOT / "roles" / role / name).read_text(encoding="utf-8")) or {}


def options(role):
    return load(role, "meta/argument_specs.yml")["argument_specs"]["main"].get("options", {})


@pytest.mark.parametrize("role", ROLES)
def test_argument_specs_have_the_defaults(role):
    defaults = load(role, "defaults/main.yml")
    specified = options(role)
    assert set(specified) == set(defaults)
    assert {name: spec.get("default") for name, spec in specified.items()} == defaults
    for name, spec in specified.items():
        assert spec.get("type"), name
        assert spec.get("description"), name


@pytest.mark.parametrize("role", ROLES)
def test_public_variables_carry_the_roles_name(role):
    assert [name for name in load(role, "defaults/main.yml") if not name.startswith(f"{role}_")] == []


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_lists_every_variable(role):
    readme = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- variables -->(.*)<!-- /variables -->", readme, re.DOTALL)
    assert table
    assert set(re.findall(r"^\| `(\w+)`", table.group(1), re.MULTILINE)) == set(load(role, "defaults/main.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_the_role_says_who_made_it(role):
    info = load(role, "meta/main.yml")["galaxy_info"]
    assert (info["license"], info["min_ansible_version"]) == ("Apache-2.0", "2.19")
    assert info["description"]


def ansible(*words, **variables):
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", **variables}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


# Roles that steps use: they have no playbook and no tag.
USED = {"cluster", "plan", "node_transfer", "nfs_server", "nfs_client"}
# The tags of README.md: a step each, and the phases.
STEPS = ["preflight", "node_base", "cann_toolkit", "conda_env", "megatron", "ascendspeed", "tokenizer", "dataset", "data_share", "pretrain"]
PHASES = ["preflight", "install", "configure", "verify", "launch"]
# A tag that brings another step along.
BESIDES = {"pretrain": ["preflight"]}


@functools.lru_cache(maxsize=None)
def listed(tags="", skipped=""):
    """What site.yml has to do with these tags: the tasks of each play, without those that are tagged always."""
    words = [*(["--tags", tags] if tags else []), *(["--skip-tags", skipped] if skipped else [])]
    output = ansible("ansible-playbook", "site.yml", "-i", "inventory/ascend", "--list-tasks", *words)
    plays = {}
    for line in output.splitlines():
        text, _, found = line.strip().partition("\tTAGS: [")
        if text.startswith("play #"):
            tasks = plays.setdefault(text.split(": ", 1)[1].strip(), [])
        elif found and "always" not in found.rstrip("]").split(", "):
            tasks.append(text.split(" : ", 1)[-1].strip())
    return plays


def plays_of(step):
    return [play["name"] for play in yaml.safe_load((ROOT / f"playbooks/{step}.yml").read_text(encoding="utf-8"))]


def names(tasks):
    """Names of the tasks of a file that show in a list: not blocks themselves, their rescue, and imports."""
    for task in tasks:
        yield from names(task.get("block", []))
        if "block" not in task and not any(word.startswith(("ansible.builtin.import_", "ansible.builtin.include_", "ansible.builtin.meta")) for word in task):
            yield task["name"]


def test_every_step_has_a_tag():
    assert sorted(STEPS) == sorted(set(ROLES) - USED)
    assert {name for step in STEPS for name in plays_of(step)} == {name for name, tasks in listed().items() if tasks}


@pytest.mark.parametrize("tag", STEPS)
def test_one_tag_runs_the_whole_role_and_no_other(tag):
    # preflight is a phase as well: of the other roles it runs what bears that name.
    others = STEPS if tag == "preflight" else [tag, *BESIDES.get(tag, [])]
    for play in plays_of(tag):
        assert listed()[play]
        assert listed(tag)[play] == listed()[play]
    assert {play for play, tasks in listed(tag).items() if tasks} <= {play for step in others for play in plays_of(step)}
    for step in BESIDES.get(tag, []):
        assert all(listed(tag)[play] == listed()[play] for play in plays_of(step))


@pytest.mark.parametrize("role", STEPS)
def test_a_phases_tag_runs_that_phase_of_the_role_and_no_later_one(role):
    def tasks(tag):
        return {task for play in plays_of(role) for task in listed(tag)[play]}

    files = {phase: set(names(load(role, f"tasks/{phase}.yml"))) for phase in PHASES if (ROOT / f"roles/{role}/tasks/{phase}.yml").exists()}
    assert any(files.values())
    for phase, expected in files.items():
        assert expected - tasks(phase) == set()
    for phase, others in (("install", ("preflight", "configure", "verify")), ("configure", ("preflight", "install", "verify")),
                          ("verify", ("preflight", "install")), ("launch", ("preflight", "install", "configure", "verify"))):
        for other in others:
            assert files.get(phase, set()) & tasks(other) == set(), f"{phase}.yml with --tags {other}"


def test_the_other_phases_need_nothing_of_verify():
    for play, left in listed(skipped="verify").items():
        for phase in ("preflight", "install", "configure", "launch"):
            assert set(listed(phase)[play]) - set(left) == set(), f"{play}: of {phase} with --skip-tags verify"


@pytest.mark.parametrize(("tags", "asked"), [((), True), (("--tags", "conda_env"), True), (("--tags", "install"), True), (("--tags", "node_base"), False)])
def test_a_role_asks_for_earlier_ones_only_where_it_is_to_do_something(tags, asked, tmp_path):
    """`site.yml --tags node_base` on a bare node does not end at what a later step lacks."""
    (tmp_path / "roles/conda_env/tasks").mkdir(parents=True)
    (tmp_path / "roles/conda_env/tasks/main.yml").write_text(json.dumps([
        {"name": "Require", "ansible.builtin.import_role": {"name": "ascend.cluster.cluster", "tasks_from": "require"}, "tags": ["always"],
         "vars": {"cluster_required": [{"path": str(tmp_path / "nothing here"), "made_by": "cann_toolkit"}]}}]), encoding="utf-8")
    (tmp_path / "play.yml").write_text(json.dumps([
        {"name": "Play", "hosts": "localhost", "connection": "local", "gather_facts": False, "roles": [{"role": "conda_env", "tags": ["conda_env"]}]}]),
        encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", str(tmp_path / "play.yml"), "-e", f"cluster_user={getpass.getuser()}", "-e", "__cluster_guard=false", *tags],
                          cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == (2 if asked else 0), done.stdout + done.stderr
    assert (f"lacks {tmp_path}/nothing here (made by playbooks/cann_toolkit.yml)" in done.stdout) == asked


def test_check_mode_ends_for_all_where_nodes_ask_for_each_other(tmp_path):
    """A bare node among finished ones: the others' tasks would ask for what it was to find out."""
    (tmp_path / "there").touch()
    (tmp_path / "play.yml").write_text(json.dumps([{"name": "Play", "hosts": "all", "gather_facts": False, "tasks": [
        {"name": "Require", "ansible.builtin.import_role": {"name": "ascend.cluster.cluster", "tasks_from": "require"},
         "vars": {"cluster_required": [{"path": str(tmp_path) + "/{{ path }}", "made_by": "megatron"}], "cluster_required_together": True}},
        {"name": "Go on", "ansible.builtin.debug": {"msg": "went on"}}]}]), encoding="utf-8")
    hosts = {name: {"ansible_connection": "local", "path": path} for name, path in (("node1", "there"), ("node2", "gone"))}
    (tmp_path / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    variables = {"cluster_user": getpass.getuser(), "ansible_python_interpreter": sys.executable,
                 "cluster_topology": {"nodes": [{"name": name} for name in hosts]}}
    output = ansible("ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml"), "--check", "-e", json.dumps(variables))
    assert f"Check mode stops here for all nodes: node2 does not have yet: {tmp_path}/gone" in " ".join(output.split())
    assert "went on" not in output


def test_a_misspelt_tag_runs_nothing():
    plays = listed(",".join(f"{tag}x" for tag in [*STEPS, *PHASES]))
    assert {play: tasks for play, tasks in plays.items() if tasks} == {}
    assert plays


@pytest.mark.parametrize("inventory", ["inventory/ascend", "inventory/ascend/hosts.yml", "inventory/rehearsal"])
def test_group_vars_are_seen_from_every_inventory(inventory, tmp_path):
    marker = ROOT / "group_vars/all/cluster.yml"
    assert marker.exists()
    probe = ROOT / "group_vars/all/zz_probe_of_the_test.yml"
    probe.write_text("probe_of_the_test: seen\n", encoding="utf-8")
    try:
        variables = json.loads(ansible("ansible-inventory", "-i", inventory, "--host", "node1"))
    finally:
        probe.unlink()
    assert variables["probe_of_the_test"] == "seen"


@pytest.mark.parametrize("role", [role for role in ROLES if role not in ("cluster", "plan")])
def test_every_role_stands_behind_the_guard(role):
    dependencies = [item["role"] for item in load(role, "meta/main.yml")["dependencies"]]
    assert dependencies[0] == "ascend.cluster.cluster"
