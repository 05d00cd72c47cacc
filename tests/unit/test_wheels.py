"""Choice of wheels by name, version and tags; messages; known pairs."""
from __future__ import annotations

import ast
import json
import os
import platform
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _artifact, _wheels
from packaging import tags as packaging_tags

from tests import stacks

ROOT = Path(__file__).resolve().parents[2]
TAGS = _wheels.predict_tags("3.8", "aarch64", "2.28")
X86 = _wheels.predict_tags("3.8", "x86_64", "2.28")
TORCH = "torch-2.1.0-cp38-cp38-manylinux2014_aarch64.whl"
NPU = "torch_npu-2.1.0.post3-cp38-cp38-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
PAIRS = {"2.1.0": ["7.0.0"], "2.1.0.post3": ["8.0.RC1"], "2.1.0.post4": ["8.0.RC1"]}


def make_wheel(folder: Path, filename: str, needs: str = "") -> Path:
    name, version = filename.split("-")[:2]
    path = folder / filename
    with zipfile.ZipFile(path, "w") as archive:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        archive.writestr(f"{name}-{version}.dist-info/METADATA", metadata)
    return path


def test_predicted_tags_are_those_of_this_interpreter() -> None:
    """As packaging computes them; where linux_ARCH stands among the manylinux tags differs by packaging's version."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    libc = platform.libc_ver()[1]
    predicted = _wheels.predict_tags(version, platform.machine(), libc)
    found = [str(tag) for tag in packaging_tags.sys_tags()]
    assert set(predicted) == set(found)
    linux = f"-linux_{platform.machine()}"
    assert [tag for tag in predicted if not tag.endswith(linux)] == [tag for tag in found if not tag.endswith(linux)]


def test_python_37_has_the_m_flag() -> None:
    assert _wheels.predict_tags("3.7", "aarch64", "2.17")[0] == "cp37-cp37m-manylinux_2_17_aarch64"


@pytest.mark.parametrize("name, version", [("torch", "2.1.0"), ("Torch", None), ("torch", "2.1*")])
def test_the_recipes_torch(name: str, version: str | None) -> None:
    others = [NPU, "torch-2.1.0-cp39-cp39-manylinux2014_aarch64.whl", "torch-2.1.0+cpu-cp38-cp38-linux_x86_64.whl", "notes.txt"]
    assert _wheels.select_wheel([*others, TORCH], name, TAGS, version) == TORCH


@pytest.mark.parametrize("name", ["torch_npu", "torch-npu", "Torch.NPU"])
def test_any_spelling_of_a_name(name: str) -> None:
    assert _wheels.select_wheel([TORCH, NPU], name, TAGS, "2.1.0.post3") == NPU


def test_local_version_fits_the_public_one() -> None:
    cpu = "torch-2.1.0+cpu-cp38-cp38-linux_x86_64.whl"
    assert _wheels.select_wheel([cpu], "torch", X86, "2.1.0") == cpu


@pytest.mark.parametrize("filename", ["apex-0.1_ascend_20240424-cp38-cp38-linux_aarch64.whl",
                                      "apex-0.1+ascend-cp38-cp38-linux_aarch64.whl",
                                      "apex-0.1.dev20240424+ascend-cp38-cp38-linux_aarch64.whl"])
def test_apex_by_pattern(filename: str) -> None:
    assert _wheels.select_wheel([filename], "apex", TAGS, "0.1*") == filename


def test_the_best_tag_wins_then_the_build_number() -> None:
    plain, native = "x-1-py3-none-any.whl", "x-1-cp38-cp38-linux_aarch64.whl"
    assert _wheels.select_wheel([plain, native], "x", TAGS) == native
    builds = ["x-1-2-py3-none-any.whl", "x-1-10-py3-none-any.whl", plain]
    assert _wheels.select_wheel(builds, "x", TAGS) == "x-1-10-py3-none-any.whl"


@pytest.mark.parametrize("worse, better", [
    ("2.1.0", "2.1.0.post3"), ("2.1.0.post3", "2.1.0.post12"), ("2.9.0", "2.10.0"), ("2.1.0rc1", "2.1.0"), ("2.1.0.dev20240101", "2.1.0rc1"),
    ("2.1.0.dev20240101", "2.1.0"), ("2.2.0rc1", "2.1.0"), ("2.2.0.dev1", "2.1.0.post3"), ("2.1.0", "2.1.0+cpu"), ("1!1.0", "1!1.0.1"),
    ("9.0", "1!1.0"), ("2.1.0a2", "2.1.0a10"), ("2.1.0a9", "2.1.0b1"), ("0.1_ascend_20240424", "0.1.dev20240101"),
    ("0.1_ascend_20231231", "0.1_ascend_20240424"), ("0.9_ascend", "0.10_ascend"), ("nightly", "0.1_ascend"),
])
def test_versions_are_ordered_as_pip_orders_them(worse: str, better: str) -> None:
    """By PEP 440, finals before the others, and what is no version there last."""
    files = [f"x-{worse}-py3-none-any.whl", f"x-{better}-py3-none-any.whl"]
    for given in (files, files[::-1]):
        assert _wheels.select_wheel(given, "x", TAGS) == files[1]


def test_a_pre_release_is_taken_where_nothing_else_fits() -> None:
    assert _wheels.select_wheel(["x-2.1.0rc1-py3-none-any.whl"], "x", TAGS, "2.1.0*") == "x-2.1.0rc1-py3-none-any.whl"


@pytest.mark.parametrize("found, wanted, fits", [
    ("2.1.0", "2.1.0", True), ("2.1.0", "2.1", True), ("2.1.0", "V2.1.0", True), ("2.1.0", "2.1.1", False), ("2.1.0.post3", "2.1.0", False),
    ("2.1.0.post3", "2.1.0-post3", True), ("2.1.0rc1", "2.1.0", False), ("2.1.0rc1", "2.1.0rc1", True), ("2.1.0", None, True), ("2.1.0", "", True),
    ("2.1.0+cpu", "2.1.0", True), ("2.1.0+cpu", "2.1.0+cpu", True), ("2.1.0+cpu", "2.1.0+cu121", False), ("2.1.0", "2.1.0+cu121", False),
    ("2.1.0+cpu", "2.1.0+CPU", True), ("2.1.0+cpu.1", "2.1.0+cpu", False),
    # Names of older tools.
    ("2.1.0_cpu", "2.1.0", True), ("2.1.0_cpu", "2.1.0+cpu", True), ("2.1.0_cpu", "2.1.0+cu121", False), ("2.1.1_cpu", "2.1.0", False),
    ("0.1_ascend", "0.1_ascend", True), ("0.1+ascend", "0.1_ascend", True), ("0.1_ascend_20240424", "0.1_ascend", False),
    # Patterns.
    ("0.1_ascend_20240424", "0.1*", True), ("0.1+ascend", "0.1*", True), ("0.1", "0.1*", True), ("0.1.2", "0.1*", True), ("0.1rc1", "0.1*", True),
    ("0.10", "0.1*", False), ("0.11+ascend", "0.1*", False), ("2.13.0+cpu", "2.1*", False), ("2.1.10", "2.1.*", True), ("2.1", "2.1.*", False),
    ("2.1.0+cpu", "*+cpu", True), ("2.1.0+cpu", "2.1*+cu121", False), ("2.1.0+cu121", "2.1.*+cu*", True), ("2x1", "2.1*", False), ("10.1", "0.1*", False),
])
def test_versions_that_fit(found: str, wanted: str | None, fits: bool) -> None:
    assert _wheels.version_fits(found, wanted) is fits


def test_a_file_with_another_local_part_is_refused() -> None:
    with pytest.raises(_wheels.WheelError, match=r"version 2\.1\.0\+cpu, wanted 2\.1\.0\+cu121"):
        _wheels.select_wheel(["torch-2.1.0+cpu-cp38-cp38-linux_x86_64.whl"], "torch", X86, "2.1.0+cu121")


def test_the_newest_version_wins_over_a_better_tag() -> None:
    files = ["x-1.9-cp38-cp38-linux_aarch64.whl", "x-1.10-py3-none-any.whl"]
    assert _wheels.select_wheel(files, "x", TAGS) == "x-1.10-py3-none-any.whl"


@pytest.mark.parametrize("filename, reason", [
    ("torch-2.1.0-cp39-cp39-manylinux2014_aarch64.whl", "built for cp39, the interpreter is cp38"),
    ("torch-2.1.0-cp38-cp38-manylinux2014_x86_64.whl", "built for x86_64, the node is aarch64"),
    ("torch-2.1.0-cp38-cp38m-manylinux2014_aarch64.whl", "CPython dropped the flag m with 3.8"),
    ("torch-2.1.0-cp38-cp38d-manylinux2014_aarch64.whl", "built for the ABI cp38d"),
    ("torch-2.1.0-cp38-cp38-manylinux_2_34_aarch64.whl", "newer than the node's C library (manylinux_2_28_aarch64)"),
    ("torch-2.2.0-cp38-cp38-manylinux2014_aarch64.whl", "version 2.2.0, wanted 2.1.0"),
    ("torch-2.1.0.whl", "not the name of a wheel"),
    ("torch-2.1.0-one-cp38-cp38-linux_aarch64.whl", "not the name of a wheel"),
    ("torch-2.1.0-cp38-abi3-manylinux2014_x86_64.manylinux2014_ppc64le.whl", "built for ppc64le, x86_64, the node is aarch64"),
    ("torch-2.1.0-py39-none-any.whl", "built for py39, the interpreter is cp38"),
    ("torch-2.1.0-py3-cp38-any.whl", "do not go together"),
])
def test_every_candidate_is_named_with_its_reason(filename: str, reason: str) -> None:
    with pytest.raises(_wheels.WheelError) as caught:
        _wheels.select_wheel([filename], "torch", TAGS, "2.1.0")
    assert filename in str(caught.value)
    assert reason in str(caught.value)
    assert "cp38-cp38-manylinux_2_28_aarch64" in str(caught.value)


def test_nothing_there_is_said() -> None:
    with pytest.raises(_wheels.WheelError, match=r"there is no wheel named apex-\*"):
        _wheels.select_wheel([TORCH], "apex", TAGS)


@pytest.mark.parametrize("version, proper", [("2.1.0", True), ("2.1.0.post3", True), ("2.13.0+cpu", True), ("0.1+ascend", True),
                                             ("0.1.dev20240424+ascend", True), ("0.1_ascend", False), ("0.1-ascend", False)])
def test_versions_that_new_pip_refuses(version: str, proper: bool) -> None:
    assert _wheels.is_version(version) is proper


def select(folder: Path, wanted: list[dict[str, str]], known: dict[str, str] | None = None, pip: str = "24.0") -> dict[str, Any]:
    files = [str(path) for path in folder.glob("*.whl")]
    return _wheels.select_wheels(wanted, files, str(folder), TAGS, known or {}, pip)


def test_wheels_are_found_and_hashed(tmp_path: Path) -> None:
    path = make_wheel(tmp_path, TORCH)
    answer = select(tmp_path, [{"name": "torch", "version": "2.1.0"}])
    assert answer["errors"] == []
    assert answer["wheels"] == [{"name": "torch", "version": "2.1.0", "filename": TORCH, "src": str(path),
                                 "sha256": _artifact.sha256_of(path)}]


def test_all_errors_at_once(tmp_path: Path) -> None:
    (tmp_path / TORCH).write_bytes(b"half a file")
    make_wheel(tmp_path, NPU)
    answer = select(tmp_path, [{"name": "torch"}, {"name": "torch_npu"}, {"name": "apex"}], {NPU: "0" * 64})
    damaged, hashed, missing = answer["errors"]
    assert "is damaged or no wheel" in damaged
    assert "expected 000000" in hashed and "sha256 of torch_npu in conda_env_wheels" in hashed
    assert "No wheel of apex fits" in missing and str(tmp_path) in missing


def test_a_url_needs_a_hash_and_a_fitting_name(tmp_path: Path) -> None:
    url = "https://wheels.example/torch-2.1.0%2Bcpu-cp38-cp38-linux_aarch64.whl?x=1"
    assert "needs a SHA-256" in str(select(tmp_path, [{"name": "torch", "src": url}])["errors"])
    answer = select(tmp_path, [{"name": "torch", "src": url, "sha256": "a" * 64}])
    assert answer["errors"] == []
    assert answer["wheels"][0]["filename"] == "torch-2.1.0+cpu-cp38-cp38-linux_aarch64.whl"


def test_cuda_builds_are_refused(tmp_path: Path) -> None:
    make_wheel(tmp_path, TORCH, "Requires-Dist: nvidia-nccl-cu12 (==2.18.1)\nRequires-Dist: triton\n")
    assert "is a CUDA build" in str(select(tmp_path, [{"name": "torch"}])["errors"])


@pytest.mark.parametrize("pip, refused", [("24.0", False), ("9.0.3", False), ("24.1", True), ("24.1.2", True), ("25.0.1", True), ("", False)])
def test_names_that_this_pip_refuses(tmp_path: Path, pip: str, refused: bool) -> None:
    make_wheel(tmp_path, "apex-0.1_ascend-cp38-cp38-linux_aarch64.whl")
    errors = select(tmp_path, [{"name": "apex"}], pip=pip)["errors"]
    assert ("pip<24.1" in str(errors)) is refused


def conda_env_message(folder: Path, name: str, **variables: Any) -> str:
    """What an assert of the role's preflight says."""
    role = ROOT / "roles/conda_env"
    tasks = yaml.safe_load((role / "tasks/preflight.yml").read_text(encoding="utf-8"))
    message = next(task for task in tasks if name in task["name"])["ansible.builtin.assert"]["fail_msg"]
    copy = {"ansible.builtin.copy": {"content": message, "dest": str(folder / "said")}}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [copy]}]))
    known = {"role_path": str(role), "cluster_conda_dir": "/c", "cluster_conda_env_dir": "/c/envs/e", **variables}
    done = subprocess.run(["ansible-playbook", str(folder / "play.yml"), "-e", json.dumps(known)], cwd=ROOT, capture_output=True, text=True, check=False,
                          env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")})
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "said").read_text(encoding="utf-8")


@pytest.mark.parametrize(("packages", "words"), [(["pip<24.1"], "'pip<24.1'"), (["pip-tools", "pip"], "pip"), ([], "pip"), (["git", "pip=24.0"], "pip=24.0")])
def test_an_environment_without_pip_gets_that_of_the_stack(packages: list[str], words: str, tmp_path: Path) -> None:
    now = {"conda": True, "conda_folder": True, "env": "there", "pip": ""}
    said = conda_env_message(tmp_path, "unusable conda", __conda_env_now=now, conda_env_conda_packages=packages)
    assert said.endswith(f"`/c/bin/conda install -y -p /c/envs/e {words}`.")


def test_a_missing_constraints_file_is_told_with_those_there_are(tmp_path: Path) -> None:
    said = conda_env_message(tmp_path, "missing files", conda_env_constraints_file="/nowhere.txt", conda_env_python_version="3.12")
    assert said.endswith("for Python 3.12; the role brings constraints-py310.txt and constraints-py38.txt.")


def test_pairs() -> None:
    assert _wheels.pair_error("2.1.0.post3", "8.0.RC1", PAIRS) == ""
    assert _wheels.pair_error("2.1.0.post3", "8.0.rc1", PAIRS) == ""
    assert _wheels.pair_error("2.1.0.post3", "", PAIRS) == ""
    assert _wheels.pair_error("2.1.0.post3+git1f2e3d4", "8.0.RC1", PAIRS) == ""
    message = _wheels.pair_error("2.1.0", "8.0.RC1", PAIRS)
    assert "goes with CANN 7.0.0" in message and "2.1.0.post3 or 2.1.0.post4" in message
    assert "not in the table conda_env_cann_pairs" in _wheels.pair_error("2.2.0", "9.9", PAIRS)


@pytest.mark.parametrize("stack", stacks.NAMES)
def test_constraints_are_exact_and_cover_the_default_packages(stack: str) -> None:
    environment = stacks.read(stack)["environment"]
    text = (ROOT / "roles/conda_env/files" / environment["constraints"]).read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    names = {line.split("==")[0] for line in pins}
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", line) for line in pins)
    assert set(environment["packages"]) <= names
    assert not names & {"torch", "torch-npu", "apex", "pip"}


@pytest.mark.parametrize("name", ["probe.py", "import_check.py"])
def test_programs_for_nodes_parse_as_python_38(name: str) -> None:
    ast.parse((ROOT / "roles/conda_env/files" / name).read_text(), feature_version=(3, 8))
