"""What runs on the nodes, with the very packages that role conda_env installs, on its Python 3.8."""
from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Iterator

import pytest

from tests.unit.preprocess_tools import PROGRAM, SENT, csv_file, files, jsonl, older, parquet, variant, write_tokenizer
from tests.unit.python38 import ROOT, python38, real_model

CHECK = ROOT / "roles" / "tokenizer" / "files" / "check_tokenizer.py"


RUNS = ["unit/test_preprocess_data.py", "unit/test_preprocess_program.py", "pinned"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[subprocess.Popen[str], Path]]]:
    """Pytest on Python 3.8, a process for each of RUNS, all at once; and where it writes."""
    python, folder = python38(), tmp_path_factory.mktemp("runs")
    real_model()
    # Their last line is read, so nobody's options from outside.
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(python.parents[1] / "hypothesis"), "PYTEST_ADDOPTS": ""}
    started = {}
    for number, tests in enumerate(RUNS):
        with (folder / str(number)).open("w") as output:
            started[tests] = subprocess.Popen([str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{tests}"], cwd=ROOT, env=environment,
                                              stdout=output, stderr=subprocess.STDOUT, text=True), folder / str(number)
    yield started
    for process, _ in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("tests", RUNS)
def test_with_the_packages_that_the_role_installs(tests: str, runs: dict[str, tuple[subprocess.Popen[str], Path]]) -> None:
    process, output = runs[tests]
    status, said = process.wait(), output.read_text()
    assert status == 0, said[-8000:]
    assert re.search(r"^\d+ passed(, \d+ warnings?)? in ", said.splitlines()[-1]), said[-2000:]  # and none skipped


@pytest.mark.parametrize("kind", ["prepend", "missing-bytes"])
def test_python_3_8_writes_the_same_bytes(kind: str, tmp_path: Path) -> None:
    python, spec = python38(), variant(kind)
    spec["model"]["merges"] = older(spec["model"]["merges"])
    folder = write_tokenizer(tmp_path / "tokenizer", spec)
    texts: list[str | None] = [f"the  fox {number}\n▁漢字 😀\x01 <s>"[:number % 30] for number in range(400)]
    data = tmp_path / "data"
    parquet(data / "a.parquet", [*texts, None])
    jsonl(data / "b.jsonl", texts)
    csv_file(data / "c.csv", texts)
    for name, interpreter in (("here", sys.executable), ("there", str(python))):
        words = [interpreter, str(PROGRAM), "--input", str(data), "--tokenizer-name-or-path", str(folder), "--output-prefix", str(tmp_path / name / "a"),
                 "--workers", "2", "--chunk-mib", "0.001", "--append-eod"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "2 at work" in done.stdout
    here, there = files(tmp_path / "here" / "a"), files(tmp_path / "there" / "a")
    assert here[:2] == there[:2]
    assert json.loads(there[2])["encoding"] == json.loads(here[2])["encoding"]


def play(folder: Path, python: Path, tokenizer: Path, source: Path) -> tuple[int, str]:
    """Run the phases preflight and verify of role tokenizer on this machine as a cluster's only node; status and output, its lines joined."""
    for made in ("env.sh", "pretrain_gpt.py"):  # by earlier roles
        (folder / made).touch()
    (folder / "hosts.yml").write_text("all: {children: {ascend_nodes: {hosts: {node1: {ansible_connection: local, ansible_become: false}}}}}\n")
    variables = {"ansible_python_interpreter": sys.executable, "cluster_address": "192.0.2.1", "cluster_user": subprocess.run(
        ["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(), "cluster_workspace": str(folder), "cluster_megatron_dir": str(folder),
        "cluster_python": str(python), "cluster_env_command": "/usr/bin/env", "cluster_tokenizer_dir": str(tokenizer), "tokenizer_src": str(source)}
    words = ["ansible-playbook", "playbooks/tokenizer.yml", "-i", str(folder / "hosts.yml"), "--tags", "preflight,verify", "-e", json.dumps(variables)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, env={
                              **os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
    return done.returncode, done.stdout


# After https://github.com/huggingface/transformers/issues/31789: written by transformers of July 2024, no merges as pairs yet.
LATER_FORM = ROOT / "tests" / "unit" / "recorded" / "tokenizer_later_form"


def test_the_role_refuses_a_tokenizer_of_a_later_form(tmp_path: Path) -> None:
    status, output = play(tmp_path, python38(), LATER_FORM, LATER_FORM)
    assert status == 2, output
    for words in (f"The tokenizer in {LATER_FORM} on node1 cannot be used", "its Metaspace has no add_prefix_space",
                  "tokenizers==0.20.3 and transformers==4.46.3", "set conda_env_constraints_file"):
        assert words in output


def test_the_role_says_how_tokenizer_model_alone_is_converted(tmp_path: Path) -> None:
    python, source = python38(), tmp_path / "source"
    source.mkdir()
    shutil.copy(real_model(), source)
    status, output = play(tmp_path, python, source, source)
    assert status == 2, output
    message = json.loads(output[output.index("{", output.index("fatal: ")):output.index("PLAY RECAP")])["msg"]
    assert f"{source} (tokenizer_src) has tokenizer.model and lacks tokenizer.json, tokenizer_config.json" in message, output
    command = re.search("`(.*)`", message)
    assert command
    subprocess.run(command.group(1), shell=True, cwd=source, check=True, capture_output=True)
    done = subprocess.run([str(python), str(CHECK), str(source)], input=SENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("41 probe texts get the same ids from the preprocessor (tokenizers ")
