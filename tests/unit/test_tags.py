"""A tag does what it says: what site.yml does with each, worked out from its list of tasks."""
import functools
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PHASES = ["preflight", "install", "configure", "verify", "launch"]
SHARED = ("cluster", "plan")
# A tag that brings another step along.
BESIDES = {"pretrain": ["preflight"]}
# Plays that come with every tag: they say what is wrong with the call, and whether a job runs.
ALWAYS = ["nodes", "running"]


@functools.lru_cache(maxsize=None)
def load(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def ansible(*words):
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout


STEPS = [name for name in (Path(play["ansible.builtin.import_playbook"]).stem for play in load("playbooks/site.yml")) if name != "running"]


def list_of(*arguments):
    """What site.yml has to do: play, role, name and tags of each task, without Ansible's own look at the arguments of each role."""
    output = ansible("ansible-playbook", "site.yml", "-i", "inventory/ascend", "--list-tasks", *arguments)
    tasks, play = [], ""
    for line in output.splitlines():
        text, _, tags = line.strip().partition("\tTAGS: [")
        if text.startswith("play #"):
            play = text.split(": ", 1)[1].strip()
        elif tags and "Validating arguments" not in text:
            role, _, name = text.rpartition(" : ")
            tasks.append((play, role.split(".")[-1], name.strip(), frozenset(tags.rstrip("]").split(", "))))
    return tasks


@functools.lru_cache(maxsize=None)
def everything():
    return tuple(list_of())


def chosen(tag):
    """Ansible's rule for --tags (compared with Ansible itself below)."""
    return [task for task in everything() if task[3] & {tag, "always"}]


def plays_of(step):
    return [play["name"] for play in load(f"playbooks/{step}.yml") if "hosts" in play]


def of(step, tasks):
    return [task[:3] for task in tasks if task[0] in plays_of(step)]


def phases_of(step):
    return load("playbooks/nodes.yml")[0]["vars"]["nodes_steps"][step]


TAGS = [*STEPS, *PHASES[1:], *(f"{step}_{phase}" for step in STEPS for phase in phases_of(step))]


def names(tasks):
    """Names of the tasks of a file that show in a list: not blocks themselves, their rescue, and imports."""
    for task in tasks:
        yield from names(task.get("block", []))
        if "block" not in task and not any(word.startswith(("ansible.builtin.import_", "ansible.builtin.include_", "ansible.builtin.meta")) for word in task):
            yield task["name"]


def test_every_step_has_a_tag():
    assert sorted(STEPS) == sorted(set(load("playbooks/nodes.yml")[0]["vars"]["nodes_steps"]))
    assert {play for step in [*STEPS, *ALWAYS] for play in plays_of(step)} == {task[0] for task in everything()}
    for step in STEPS:
        assert of(step, everything())
        assert phases_of(step) == sorted(phases_of(step), key=PHASES.index)


def test_every_tag_of_a_task_is_one_that_is_known():
    assert {tag for task in everything() for tag in task[3]} == {*TAGS, "preflight", "always"}


@pytest.mark.parametrize("tag", TAGS)
def test_what_always_runs_is_the_look_at_the_call_and_at_a_running_job(tag):
    plays = [play for step in ALWAYS for play in plays_of(step)]
    assert [task[:3] for task in chosen(tag) if tag not in task[3] and task[0] not in plays] == []


@pytest.mark.parametrize("tag", STEPS)
def test_one_tag_runs_the_whole_role_and_no_other(tag):
    # preflight is a phase as well: of the other roles it runs what bears that name.
    others = STEPS if tag == "preflight" else [tag, *BESIDES.get(tag, [])]
    assert of(tag, chosen(tag)) == of(tag, everything())
    for step in STEPS:
        if step not in others:
            assert of(step, chosen(tag)) == []
    for step in BESIDES.get(tag, []):
        assert of(step, chosen(tag)) == of(step, everything())


@pytest.mark.parametrize("step", [step for step in STEPS if step != "preflight"])
def test_a_phase_of_a_role_is_that_phase_of_that_role(step):
    assert phases_of(step)
    for phase in PHASES:
        both = chosen(f"{step}_{phase}")
        assert of(step, both) == of(step, chosen(phase)), phase
        assert bool(of(step, both)) == (phase in phases_of(step)), phase
        for other in STEPS:
            if other != step:
                assert of(other, both) == [], f"{step}_{phase} runs {other}"


@pytest.mark.parametrize("step", STEPS)
def test_a_phases_tag_runs_that_phase_of_the_role_and_no_later_one(step):
    def tasks(tag):
        return {name for _, _, name in of(step, chosen(tag))}

    files = {phase: set(names(load(f"roles/{step}/tasks/{phase}.yml"))) for phase in PHASES if (ROOT / f"roles/{step}/tasks/{phase}.yml").exists()}
    assert any(files.values())
    for phase, expected in files.items():
        assert expected - tasks(phase) == set()
    for phase, others in (("install", ("preflight", "configure", "verify")), ("configure", ("preflight", "install", "verify")),
                          ("verify", ("preflight", "install")), ("launch", ("preflight", "install", "configure", "verify"))):
        for other in others:
            assert files.get(phase, set()) & tasks(other) == set(), f"{phase}.yml with --tags {other}"


@pytest.mark.parametrize("step", STEPS)
def test_guard_and_requirements_run_exactly_where_the_role_does_something(step):
    shared = [task for task in of(step, everything()) if task[1] in SHARED and re.match("Topology|Guard|Job|Require", task[2])]
    assert any(name.startswith("Topology") for _, _, name in shared)
    asks = "tasks_from: require" in (ROOT / f"roles/{step}/tasks/main.yml").read_text(encoding="utf-8")
    assert asks == (step not in ("preflight", "node_base"))
    assert asks == any(name.startswith("Require") for _, _, name in shared)
    for tag in TAGS:
        tasks = of(step, chosen(tag))
        own = [task for task in tasks if task not in shared]
        assert [task for task in tasks if task in shared] == (shared if own else []), tag


def test_the_other_phases_need_nothing_of_verify():
    left = [task for task in everything() if "verify" not in task[3]]
    shared = re.compile("Topology|Guard|Job|Require")  # of no phase, so with each
    for phase in ("preflight", "install", "configure", "launch"):
        assert [task for task in chosen(phase) if task not in left and not shared.match(task[2])] == []


@pytest.mark.parametrize("arguments", [("--tags", "conda_env_install,dataset"), ("--skip-tags", "verify,data_share")])
def test_ansible_chooses_by_the_rule_of_these_tests(arguments):
    words = set(arguments[1].split(","))
    expected = ([task for task in everything() if task[3] & {*words, "always"}] if arguments[0] == "--tags"
                else [task for task in everything() if not task[3] & words])
    assert list_of(*arguments) == expected


def test_what_is_included_later_has_the_tags_of_its_include():
    """Ansible gives an included file the tags of the imports around the include, not the include's own."""
    for path in sorted((ROOT / "roles").glob("*/tasks/main.yml")):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")):
            include = task.get("ansible.builtin.include_tasks", task.get("ansible.builtin.include_role"))
            if include is not None:
                assert include["apply"] == {"tags": ["always"]}, f"{path}: {task['name']}"


@pytest.mark.parametrize("role", [step for step in STEPS if step != "preflight"])
def test_the_readme_of_the_role_lists_its_tags(role):
    readme = (ROOT / f"roles/{role}/README.md").read_text(encoding="utf-8")
    listed = re.search(rf"^Tags: `{role}`; phases (.*)\.$", readme, re.MULTILINE)
    assert listed, "expected a line: Tags: `role`; phases `install` (`role_install`), …."
    assert listed.group(1) == ", ".join(f"`{phase}` (`{role}_{phase}`)" for phase in phases_of(role))


@pytest.mark.parametrize(("arguments", "said"), [
    (("--tags", "node_bas"), "No task has the tag node_bas, given with --tags or --skip-tags: expected a step (preflight, node_base, "),
    (("--tags", "node_base,pretrain_verify"), "No task has the tag pretrain_verify, given"),
    (("--skip-tags", "verfy"), "No task has the tag verfy, given"),
])
def test_a_tag_that_no_task_has_is_refused(arguments, said):
    assert not {task[0] for task in chosen("node_bas")} - {play for step in ALWAYS for play in plays_of(step)}
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", "site.yml", "-i", "inventory/ascend", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True,
                          check=False)
    output = " ".join(done.stdout.split())
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in output
    assert "Nothing has been changed." in output
    assert output.count("TASK [") == 1


def test_what_an_include_brings_runs_whenever_the_include_does():
    """Other tags there would leave it out with the tag of a role's phase."""
    found = {}
    for path in sorted((ROOT / "roles").glob("*/tasks/*.yml")):
        for task in yaml.safe_load(path.read_text(encoding="utf-8")):
            for words in task.values():
                if isinstance(words, dict) and "tags" in words.get("apply", {}):
                    found[f"{path.parts[-3]}/{path.name}: {task['name']}"] = words["apply"]["tags"]
    assert len(found) > 5
    assert {name: tags for name, tags in found.items() if tags != ["always"]} == {}
