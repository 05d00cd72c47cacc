"""What is said of other commits of the training code: small repositories made for it, no parser of theirs is run but one."""
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rehearsal import nodes, stacks, upstream
from rehearsal.check_upstream import __main__ as check
from rehearsal.check_upstream import options, relied
from rehearsal.check_upstream.options import Found


def entry(name: str, **words: Any) -> dict[str, Any]:
    return {"options": [name], "action": "store", "default": None, **words}


def repository(folder: Path, files: dict[str, str]) -> str:
    """A repository with one commit, and its sha."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (("init", "--quiet"), ("add", "."), (*identity, "commit", "--quiet", "--message", "one")):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


# What is recorded

@pytest.mark.parametrize("stack", upstream.stacks())
def test_what_is_relied_on_names_our_own_files(stack: str) -> None:
    facts = relied.facts(stack)
    assert {fact.project for fact in facts} == set(upstream.NAMES)
    assert [path for fact in facts for path in fact.used if not (nodes.PROJECT / path).exists()] == []
    assert len({(fact.project, fact.file, fact.has) for fact in facts}) == len(facts)


@pytest.mark.parametrize("stack", upstream.stacks())
def test_the_plan_gives_options_that_its_stack_has(stack: str) -> None:
    found = Found(options.recorded(stack))
    given = options.given(stacks.read(stack))
    assert options.refused(stacks.read(stack), found) == ([], [])
    assert {"--num-experts", "--tokenizer-type", "--lr"} <= set(given)
    assert given["--tokenizer-type"] == stacks.read(stack)["tokenizer"]["type"]


@pytest.mark.parametrize(("stack", "given", "not_given"), [
    ("recipe", ["--moe-model-type", "--tokenizer-name-or-path"], ["--transformer-impl", "--tokenizer-model", "--ckpt-format"]),
    ("current", ["--transformer-impl", "--tokenizer-model", "--npu-deterministic", "--moe-grouped-gemm"], ["--moe-model-type", "--tokenizer-name-or-path"])])
def test_what_a_plan_gives_is_the_stacks_own(stack: str, given: list[str], not_given: list[str]) -> None:
    found = options.given(stacks.read(stack))
    assert [name for name in given if name not in found] == []
    assert [name for name in not_given if name in found] == []


# Facts

@pytest.mark.parametrize(("text", "says"), [
    ("LIBNAME = helpers\n", None),
    ("LIBNAME = fast\n", "nothing in it matches ^LIBNAME = helpers$; there is line 1: LIBNAME = fast"),
    (None, "the file is gone; of that name there is other/Makefile")])
def test_a_fact(tmp_path: Path, text: str | None, says: str | None) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/Makefile").write_text("")
    if text is not None:
        (tmp_path / "Makefile").write_text(text)
    assert relied.look(relied.Fact("Megatron-LM", "Makefile", "a name", (), "^LIBNAME = helpers$", "LIBNAME"), tmp_path) == says


def test_a_fact_that_has_moved(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("pass\n")
    (tmp_path / "b.py").write_text("import x\ndef get():\n")
    assert relied.look(relied.Fact("Megatron-LM", "a.py", "", (), r"^def get\(", ""), tmp_path) == r"nothing in it matches ^def get\(; it is in b.py"


def test_patches_that_apply_and_do_not(tmp_path: Path) -> None:
    stack = {"sources": {"adaptor": "patches", "ascendspeed": {"package": "ascendspeed"}}}
    checkouts = {name: tmp_path / name for name in upstream.NAMES}
    repository(checkouts["Megatron-LM"], {"pretrain_gpt.py": "import torch\n"})
    assert relied.patches(stack, checkouts) == ["AscendSpeed has no *.patch below ascendspeed/: how does its adaptor get into pretrain_gpt.py?"]
    (checkouts["AscendSpeed"] / "ascendspeed").mkdir(parents=True)
    patch = checkouts["AscendSpeed"] / "ascendspeed/a.patch"
    patch.write_text("--- a/pretrain_gpt.py\n+++ b/pretrain_gpt.py\n@@ -1 +1,2 @@\n import torch\n+import ascendspeed\n")
    assert relied.patches(stack, checkouts) == []
    patch.write_text(patch.read_text().replace(" import torch", " import jax"))
    assert relied.patches(stack, checkouts)[0].startswith("ascendspeed/a.patch does not apply: error: patch failed: pretrain_gpt.py:1")
    assert relied.patches({"sources": {"adaptor": "import"}}, checkouts) == []


# Options

def test_changes_of_options() -> None:
    before = options.by_name([entry("--a", default=1), entry("--b", choices=["x"]), entry("--c"), entry("--gone")])
    after = options.by_name([entry("--a", default=2), entry("--b", choices=["x", "y"]), entry("--c", type="str"), entry("--new")])
    assert options.changes(before, after) == {"--a": "default 1 -> 2", "--b": "choices ['x'] -> ['x', 'y']"}


def test_reading_options(tmp_path: Path) -> None:
    (tmp_path / "arguments.py").write_text("group.add_argument('--one', '-o', type=int)\ngroup.add_argument(name)\nparser.add_argument('file')\n")
    (tmp_path / "broken.py").write_text("def (")
    assert options.read(tmp_path) == {"--one": {"options": ["--one"]}}


PLAN = {"deterministic_arguments": {"sure": True}, "plan": {"transformer_impl": "te"}, "tokenizer": {"type": "T", "option": "tokenizer-model"}}


@pytest.fixture
def small_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "given", lambda stack: {"--impl": "te", "--lr": 1, "--sure": True})


def test_options_of_the_plan_that_are_gone(small_plan: None) -> None:
    asked = {"Megatron-LM": options.by_name([entry("--impl", choices=["local", "te"]), entry("--lr")]), "AscendSpeed": options.by_name([entry("--sure")])}
    assert options.refused(PLAN, Found(asked)) == ([], [])
    asked["Megatron-LM"] = options.by_name([entry("--impl", choices=["local"])])
    assert options.refused(PLAN, Found(asked)) == (["--impl te: it takes only local", "--lr is no option any more"], [])
    # What AscendSpeed makes of an option counts.
    asked["AscendSpeed"]["--impl"] = entry("--impl", choices=["te"])
    assert options.refused(PLAN, Found(asked))[0] == ["--lr is no option any more"]


def test_what_was_only_read_is_unknown(small_plan: None) -> None:
    found = Found({"Megatron-LM": options.by_name([entry("--impl", choices=["local"])]), "AscendSpeed": {"--impl": {"options": ["--impl"]}}}, {"AscendSpeed"})
    assert options.refused(PLAN, found) == ([], [
        "--impl te: Megatron-LM alone takes only local; whether AscendSpeed adds to them could not be asked",
        "options of the plan that reading the sources of AscendSpeed did not find: --lr, --sure"])


MEGATRON = """
import argparse
def parse_args(extra_args_provider=None):
    import lacking
    parser = argparse.ArgumentParser()
    parser.add_argument("--a", type=lacking.number, default=lacking.nothing() and None)
    return parser.parse_args()
"""


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "PYTHON", Path(sys.executable))


def test_a_parser_is_asked_though_a_module_is_missing(python: None, tmp_path: Path) -> None:
    repository(tmp_path / "m", {"megatron/training/arguments.py": MEGATRON.replace("type=lacking.number, ", "")})
    repository(tmp_path / "a", {"mindspeed/megatron_adaptor.py": "import lacking\nlacking.patch(print)\n"})
    found = options.ask(tmp_path / "m", tmp_path / "a")
    assert (found.missing, found.reasons, found.read) == (["lacking"], [], set())
    assert found.tables["Megatron-LM"]["--a"]["action"] == "store"
    assert found.tables["AscendSpeed"] == {}


def test_megatron_alone_where_the_adaptor_fails(python: None, tmp_path: Path) -> None:
    repository(tmp_path / "m", {"megatron/training/arguments.py": MEGATRON})
    repository(tmp_path / "a", {"mindspeed/megatron_adaptor.py": "raise ValueError('no NPU')\nparser.add_argument('--fast')\n"})
    found = options.ask(tmp_path / "m", tmp_path / "a")
    assert found.reasons == ["the parser of both together cannot be asked: ValueError: no NPU"]
    assert (found.read, list(found.tables["AscendSpeed"])) == ({"AscendSpeed"}, ["--fast"])
    # Its type is a class of a module that is not there.
    assert (found.unrecorded, found.tables["Megatron-LM"]) == (["--a"], {})


def test_without_the_environment_sources_are_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(options, "PYTHON", tmp_path / "nothing")
    (tmp_path / "megatron/training").mkdir(parents=True)
    found = options.ask(tmp_path, tmp_path)
    assert found.reasons == [f"{tmp_path / 'nothing'} is not there, which runs the real parsers: make .rehearsal/plans/.done"]
    assert found.read == {"Megatron-LM", "AscendSpeed"}


# The command

@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs the command on two small repositories; returns its status. The stack relies on two things of them."""
    monkeypatch.setattr(check, "FOLDER", tmp_path / "checkouts")
    monkeypatch.setattr(options, "PYTHON", tmp_path / "nothing")
    monkeypatch.setattr(relied, "facts", lambda stack: [relied.Fact("Megatron-LM", "Makefile", "the helpers' name", ("our/file.py",), "^LIBNAME = helpers"),
                                                        relied.Fact("AscendSpeed", "setup.py", "the package", ("our/other.py",))])
    monkeypatch.setattr(sys, "argv", ["check_upstream"])
    shas = {}
    for name, variable, files in (("m", "MEGATRON", {"Makefile": "LIBNAME = helpers_cpp\n", "megatron/training/arguments.py": ""}),
                                  ("a", "MINDSPEED", {"setup.py": "", "mindspeed/megatron_adaptor.py": ""})):
        shas[name] = repository(tmp_path / name, files)
        monkeypatch.setenv(f"{variable}_URL", f"file://{tmp_path / name}")
        monkeypatch.delenv(f"{variable}_VERSION", raising=False)
    return lambda: (check.main(), shas)


def test_nothing_is_gone(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    status, shas = command()
    text = capsys.readouterr().out
    assert status == 0, text
    assert f"Megatron-LM: HEAD = {shas['m']}, recorded {stacks.read('current')['sources']['megatron']['commit']}" in text
    assert "Gone: what the product relies on with the stack current, and what is there instead\n  nothing\n" in text
    assert "make .rehearsal/plans/.done" in text
    assert "A next stack would need\n  stacks/<name>.yml" in text


def test_a_commit_by_the_begin_of_its_sha(command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = command()[1]["m"]
    repository(tmp_path / "m", {"Makefile": "LIBNAME = fast\n"})
    monkeypatch.setenv("MEGATRON_VERSION", old[:12])
    assert command()[0] == 0
    assert f"{old[:12]} = {old}, recorded" in capsys.readouterr().out


def test_what_is_gone_is_named_with_its_users(command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command()[0] == 0
    monkeypatch.setenv("MEGATRON_VERSION", repository(tmp_path / "m", {"Makefile": "LIBNAME = fast\n"}))
    status, _ = command()
    text = capsys.readouterr().out
    assert status == 1
    assert "Megatron-LM/Makefile: the helpers' name: nothing in it matches ^LIBNAME = helpers (used in our/file.py)" in text
    assert "an answer to each of the 1 lines under Gone" in text
    assert text.endswith("1 gone, 2 unknown.\n")


def test_a_commit_that_cannot_be_had(command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MINDSPEED_VERSION", "no-such-branch")
    status, _ = command()
    text = capsys.readouterr().out
    assert status == 1
    assert "AscendSpeed cannot be had from file://" in text
    assert "Expected a repository in MINDSPEED_URL, and a branch, tag or commit of it in MINDSPEED_VERSION." in text


def test_the_tables_are_json_with_one_option_a_line() -> None:
    # So that a diff of two records can be read.
    for path in (path for stack in upstream.stacks() for path in upstream.FOLDER.glob(f"{stack}/*/**/arguments.json")):
        lines = path.read_text().splitlines()
        assert len(json.loads(path.read_text())["options"]) == len(lines) - 2
