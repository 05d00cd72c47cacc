"""Stacks as data: what every file has to say, where it was read, and that a further one is nothing but a file."""
from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Iterator

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter.known_sha256 import known_sha256
from ansible_collections.ascend.cluster.plugins.filter.stack_data import stack_data
from ansible_collections.ascend.cluster.plugins.module_utils import _plan, _stack_data
from preprocess_data import __main__ as preprocessor

from tests import stacks

ROOT = Path(__file__).parents[2]
# Which words name a stack's versions. Where they may stand besides stacks/: in comments, documents and what is recorded of the real code.
VERSIONS = ("core_v0.12.1", "26.1.0", "9.1.0", "8.0.RC1", "2.7.1", "2.1.0.post", "9de386d", "9264e3c", "a845aa7", "57a3305")


def shape(value: Any) -> Any:
    """The keys of a mapping and of those in it."""
    return {key: shape(each) for key, each in value.items()} if isinstance(value, dict) else None


@pytest.mark.parametrize("name", stacks.NAMES)
def test_every_stack_says_the_same_things(name: str) -> None:
    """What roles ask a stack for must be in each; tables by name or version differ."""
    found, first = shape(stacks.read(name)), shape(stacks.read("recipe"))
    for table in ("rules", "options", "deterministic_arguments"):
        found.pop(table), first.pop(table)
    for part, table in (("environment", "cann_pairs"), ("environment", "python_pairs"), ("cann", "driver_pairs")):
        found[part].pop(table), first[part].pop(table)
    assert found == first


@pytest.mark.parametrize("name", stacks.NAMES)
def test_a_hash_has_its_source_and_a_null_its_reason(name: str) -> None:
    for entry in stacks.read(name)["sha256"]:
        if entry["sha256"] is None:
            assert entry.keys() == {"file", "sha256", "reason"} and len(entry["reason"]) > 10, entry
        else:
            assert entry.keys() == {"file", "sha256", "source"}, entry
            assert re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) and entry["source"].startswith("https://"), entry


@pytest.mark.parametrize("name", stacks.NAMES)
def test_what_is_brought_is_among_the_hashes(name: str) -> None:
    """Each wheel and archive of the stack, and the installer of conda, is there, with a hash or a reason."""
    stack = stacks.read(name)
    files = [entry["file"] for entry in stack["sha256"]]
    brought = [f"{wheel['name']}-{wheel['version'].rstrip('*')}" for wheel in stack["environment"]["wheels"]]
    layout = stack["cann"]["layouts"][0]
    brought += [layout[archive].split("_", 1)[0].replace("-{version}", "") for archive in ("toolkit", "kernels")] + ["Miniforge3"]
    for each in brought:
        assert [file for file in files if file.startswith(each)], each


@pytest.mark.parametrize("name", stacks.NAMES)
def test_a_stack_fits_itself(name: str) -> None:
    stack = stacks.read(name)
    for source in ("megatron", "ascendspeed"):
        assert re.fullmatch(r"[0-9a-f]{40}", stack["sources"][source]["commit"])
    assert stack["sources"]["adaptor"] in ("patches", "import")
    hooks = {path.stem for path in (ROOT / "roles/ascendspeed/files/ascend_cluster_hooks").glob("*.py")}
    assert set(stack["hooks"]) <= hooks
    wheel = next(wheel for wheel in stack["environment"]["wheels"] if wheel["name"] == "torch_npu")
    assert stack["cann"]["version"] in stack["environment"]["cann_pairs"][wheel["version"]]
    assert stack["environment"]["python"] in stack["environment"]["python_pairs"][wheel["version"]]
    drivers = stack["cann"]["driver_pairs"]
    assert drivers[stack["cann"]["version"]]["fits"] and all(row.keys() == {"fits", "fails"} for row in drivers.values())
    assert stack["tokenizer"]["option"] in ("tokenizer-name-or-path", "tokenizer-model")
    assert stack["tokenizer"]["type"] in stack["options"]["choices"]["tokenizer-type"]
    check = ast.parse((ROOT / "roles/tokenizer/files/check_tokenizer.py").read_text(encoding="utf-8"))
    known = next(ast.literal_eval(node.value) for node in check.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FROM_PRETRAINED")
    assert set(stack["tokenizer"]["from_pretrained"]) <= set(known)
    known = {word for kind, words in stack["options"].items() if kind != "of" for word in (words.split() if isinstance(words, str) else words)}
    for variable, value in stack["plan"].items():
        assert value is False or variable.replace("_", "-") in known, variable
    assert set(stack["deterministic_arguments"]) <= known


@pytest.mark.parametrize("name", stacks.NAMES)
def test_every_layout_says_the_same_things(name: str) -> None:
    for layout in stacks.read(name)["cann"]["layouts"]:
        assert layout.keys() == stacks.read("recipe")["cann"]["layouts"][0].keys()
        assert isinstance(layout["fixed_path"], bool)


def test_no_two_stacks_share_a_place() -> None:
    """Checkouts, environments and records of stacks stand side by side."""
    read = [stacks.read(name) for name in stacks.NAMES]
    for places in ([stack["folder"] for stack in read], [stack["environment"]["name"] for stack in read]):
        assert len(set(places)) == len(read)
    assert all(re.fullmatch(r"(/[a-z0-9_.-]+)?", stack["folder"]) for stack in read)


def code_of(path: Path) -> Iterator[tuple[int, str]]:
    """Lines without comments and descriptions; of Python, and with their number, the texts in it that are no documentation."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        for number, line in enumerate(text.splitlines(), 1):
            code = line.split("#", 1)[0]
            if "description:" not in code:
                yield number, code
        return
    tree, skipped = ast.parse(text), set()
    for node in ast.walk(tree):
        told = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("DOCUMENTATION", "EXAMPLES", "RETURN")
        if told or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):  # a text alone is a docstring
            skipped.update(map(id, ast.walk(node)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def stack_words(text: str, of_yaml: bool) -> list[str]:
    """What of a text belongs into a stack's file. Messages of Python may say how archives are called, with no version."""
    return [*(word for word in VERSIONS if word in text), *re.findall(r"Ascend-cann-[A-Za-z0-9-]+_" + ("" if of_yaml else r"\d"), text)]


def test_no_condition_on_a_stack_and_no_version_outside_its_file() -> None:
    """Versions may be quoted by comments and documents, by the tables that were read in a certain commit, and by pinned packages.

    The tables of faults name with each row whose words it has: those of plugins, and the supervisor's, which are links to them.
    """
    paths = [path for pattern in ("roles/*/*/*.yml", "playbooks/*.yml", "templates/*", "plugins/**/*.py", "roles/*/files/**/*.py", "roles/*/files/**/*.sh")
             for path in ROOT.glob(pattern) if not path.name.startswith("_fault_")]
    assert {path.suffix for path in paths} >= {".yml", ".py", ".sh", ".j2"}
    for path in paths:
        for number, code in code_of(path):
            assert "cluster_stack ==" not in code and "cluster_stack_data.name ==" not in code, f"{path}:{number}"
            assert not stack_words(code, path.suffix != ".py"), f"{path}:{number}: {code.strip()}"


def test_what_belongs_into_a_stacks_file_is_seen(tmp_path: Path) -> None:
    python = tmp_path / "a.py"
    python.write_text('"""Of 9.1.0."""\nEXAMPLES = r"""9.1.0"""\nx = 1  # 9.1.0\ny = f"{x} CANN 9.1.0"\n', encoding="utf-8")
    assert [(number, stack_words(text, False)) for number, text in code_of(python)] == [(4, ["9.1.0"])]
    assert stack_words("Ascend-cann-kernels-910b_…", True) and not stack_words("Ascend-cann-kernels-910b_…", False)
    assert stack_words("Ascend-cann-toolkit_8.3.RC1_linux.run", False)


def test_a_name_that_is_no_stack_is_refused_with_those_that_are() -> None:
    with pytest.raises(AnsibleFilterError, match=r"cluster_stack is 'curent': expected one of current, recipe, or the absolute path of a site's own file"):
        stack_data("curent", str(ROOT))
    with pytest.raises(AnsibleFilterError, match="expected an absolute path"):
        stack_data("mine.yml", str(ROOT))
    with pytest.raises(AnsibleFilterError, match=r"cannot be read: .*No such file.*A stack is three files"):
        stack_data("/nowhere/mine.yml", str(ROOT))


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yml").write_text("- a list\n", encoding="utf-8")
    with pytest.raises(_stack_data.StackError, match="holds no mapping"):
        _stack_data.load(str(tmp_path / "mine.yml"), str(ROOT))


def test_a_hash_is_found_by_the_name_of_the_file() -> None:
    entries = [{"file": "a+b.run", "sha256": "1" * 64, "source": "x"}, {"file": "c.run", "sha256": None, "reason": "x"}]
    assert known_sha256(entries, "https://host/x/a%2Bb.run?token=1") == known_sha256(entries, "/srv/a+b.run") == "1" * 64
    assert known_sha256(entries, "/srv/c.run") == known_sha256(entries, "/srv/a+b.run.old") == ""


@pytest.fixture
def third(tmp_path: Path) -> Path:
    """A stack that nobody has: current with other sources, versions, folders, names of archives, options and rules."""
    stack = {part: yaml.safe_load((ROOT / f"stacks/current{part}.yml").read_text(encoding="utf-8")) for part in ("", "_rules", "_options")}
    stack[""].update(folder="/third", hooks=["failures"], deterministic_arguments={"be-deterministic": True}, tokenizer={
        "type": "ThirdTokenizer", "option": "tokenizer-model", "from_pretrained": ["use_fast", "trust_remote_code"]})
    stack[""]["sources"]["megatron"].update(url="https://third.example/megatron.git", commit="3" * 40)
    stack[""]["environment"].update(name="third", python="3.12", imports=["torch"], constraints="/srv/third/constraints.txt")
    stack[""]["cann"] = {"version": "10.0.0", "layouts": [{
        "from": "10", "toolkit": "third_{version}_{arch}.run", "kernels": "third-ops_{version}.run", "home": "{path}/third-{version}",
        "latest": "{path}/third-{version}", "kernels_info": "{arch}/third.info", "fixed_path": False}]}
    stack[""]["plan"].update(transformer_impl="third", moe_grouped_gemm=False)
    stack["_options"]["choices"]["transformer-impl"] = "third"
    stack["_options"]["choices"]["tokenizer-type"] = "ThirdTokenizer"
    stack["_options"]["flag"] += " be-deterministic"
    stack["_rules"]["experts_need_sequence_parallel"] = False
    for part, content in stack.items():
        (tmp_path / f"third{part}.yml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return tmp_path / "third.yml"


def argv_of(path: str, name: str) -> str:
    """The words of a task by which a role starts a program."""
    task = next(task for task in yaml.safe_load((ROOT / "roles" / path).read_text(encoding="utf-8")) if name in task["name"])
    return str(next(value for module, value in task.items() if module in ("ascend.cluster.attempt", "ansible.builtin.command"))["argv"])


def said_by(roles: list[str], wanted: list[str], stack: Path, folder: Path, variables: dict[str, str] | None = None) -> dict[str, Any]:
    """Variables as the roles' own defaults make them of a stack."""
    files = [str(ROOT / f"roles/{role}/{part}/main.yml") for role in roles for part in ("defaults", "vars")]
    given: dict[str, Any] = {"cluster_stack": str(stack), "cluster_project_dir": str(ROOT), "ansible_facts": {"architecture": "aarch64"}}
    given["__tokenizer_check"] = "program"
    content = "{{ {" + ", ".join(f"'{name}': {name}" for name in wanted) + "} | to_json }}"
    copy = {"ansible.builtin.copy": {"content": content, "dest": str(folder / "out.json")}}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": variables or {}, "vars_files": files, "tasks": [copy]}]))
    done = subprocess.run(["ansible-playbook", str(folder / "play.yml"), "-e", json.dumps(given)], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")})
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return found


def test_a_third_stack_is_its_files_and_no_code(third: Path, tmp_path: Path) -> None:
    """The roles' own defaults give what the third stack says."""
    wanted = ["megatron_url", "megatron_version", "cluster_megatron_dir", "cluster_env_file", "cluster_conda_env_dir", "conda_env_python_version",
              "conda_env_import_modules", "conda_env_constraints_file", "cann_toolkit_src",
              "cann_toolkit_kernels_src", "cann_toolkit_set_env", "cann_toolkit_kernels_info", "plan_argv",
              "preprocess", "check"]
    programs = {"preprocess": argv_of("dataset/tasks/configure.yml", "Preprocess the texts"), "check": argv_of("tokenizer/tasks/verify.yml", "Compare the ids")}
    out = said_by(["cluster", "plan", "cann_toolkit", "conda_env", "megatron", "dataset"], wanted, third, tmp_path, programs)
    argv, preprocess, check = out.pop("plan_argv"), out.pop("preprocess"), out.pop("check")
    assert out == {
        "megatron_url": "https://third.example/megatron.git", "megatron_version": "3" * 40, "cluster_megatron_dir": "/opt/ascend-cluster/third/Megatron-LM",
        "cluster_env_file": "/opt/ascend-cluster/third/env.sh", "cluster_conda_env_dir": "/opt/ascend-cluster/conda/envs/third",
        "conda_env_python_version": "3.12", "conda_env_import_modules": ["torch"],
        "conda_env_constraints_file": "/srv/third/constraints.txt", "cann_toolkit_src": f"{ROOT}/artifacts/third_10.0.0_aarch64.run",
        "cann_toolkit_kernels_src": f"{ROOT}/artifacts/third-ops_10.0.0.run", "cann_toolkit_set_env": "/usr/local/Ascend/third-10.0.0/set_env.sh",
        "cann_toolkit_kernels_info": "/usr/local/Ascend/third-10.0.0/aarch64/third.info"}
    assert argv[argv.index("--transformer-impl") + 1] == "third"
    assert argv[argv.index("--tokenizer-type") + 1] == "ThirdTokenizer"
    assert "--be-deterministic" in argv and "--moe-grouped-gemm" not in argv and "--moe-train-capacity-factor" not in argv
    taken = preprocessor.arguments(preprocess[preprocess.index("--input"):])
    assert (taken.tokenizer_type, taken.tokenizer_name_or_path) == ("ThirdTokenizer", "/opt/ascend-cluster/third/Megatron-LM/model_from_hf/Mixtral-8x7B")
    assert check[check.index("--from-pretrained") + 1] == "use_fast,trust_remote_code"


def test_the_preflight_looks_for_the_cann_of_the_stack(third: Path, tmp_path: Path) -> None:
    """Before there are facts, and where no role or site has said anything of CANN."""
    words = ["__preflight_kernels_src", "__preflight_cann_home"]
    assert said_by(["cluster", "plan", "preflight"], words, third, tmp_path) == {
        "__preflight_kernels_src": "third-ops_10.0.0.run", "__preflight_cann_home": "/usr/local/Ascend/third-10.0.0"}
    current = said_by(["cluster", "plan", "preflight"], words, ROOT / "stacks/current.yml", tmp_path, {"cann_toolkit_install_path": "/opt/Ascend"})
    assert current == {"__preflight_kernels_src": "Ascend-cann-910b-ops_9.1.0_linux-….run", "__preflight_cann_home": "/opt/Ascend/cann-9.1.0"}


def test_its_rules_are_those_of_its_file(third: Path) -> None:
    plan = {"num-experts": 8, "tensor-model-parallel-size": 2, "sequence-parallel": False, "transformer-impl": "third"}
    assert [error for error in _plan.plan_errors(plan, _stack_data.load(str(third), str(ROOT)), 16) if "sequence" in error or "third" in error] == []
    wrong = _plan.plan_errors(plan, stacks.read("current"), 16)
    assert any("plan_sequence_parallel is false" in error for error in wrong) and any("plan_transformer_impl is 'third'" in error for error in wrong)
