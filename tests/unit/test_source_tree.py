"""The source tree: hooks come and go byte for byte, and what is ours is told from edits of others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _source_tree as st

SCRIPT = '''"""Pretrain."""
import os
import torch
from functools import partial


def pretrain(provider):
    return provider


def model():
    first = 1

    second = 2
    return first + second


if __name__ == "__main__":

    # Temporary
    provider.is_distributed = True

    pretrain(provider,
             model)
'''
PATCHED = SCRIPT.replace("import torch\n", "import torch\nimport ascendspeed.megatron_adaptor\n")
CORE = "".join(f"line {number}\n" for number in range(20))


def git(tree: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words],
        cwd=tree, check=True, capture_output=True, text=True,
    )
    return done.stdout


@pytest.fixture
def tree(tmp_path: Path) -> st.SourceTree:
    """A repository of two files, and two patches beside it that are not applied yet."""
    path, patches = tmp_path / "tree", tmp_path / "package" / "run"
    (path / "megatron").mkdir(parents=True)
    patches.mkdir(parents=True)
    git(tmp_path, "init", "-q", str(path))
    (path / "pretrain_gpt.py").write_text(SCRIPT)
    (path / "megatron" / "core.py").write_text(CORE)
    (path / "megatron" / "other.py").write_text("untouched\n")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    for name, file, text in (
        ("a", "pretrain_gpt.py", PATCHED),
        ("b", "megatron/core.py", CORE.replace("line 9\n", "")),
    ):
        (path / file).write_text(text)
        (patches / f"{name}.patch").write_text(git(path, "diff"))
        git(path, "checkout", "-q", "--", file)
    return st.SourceTree(str(path), str(tmp_path / "package"))


def apply(tree: st.SourceTree) -> None:
    for patch in tree.patches:
        git(tree.path, "apply", str(patch))


def hook(tree: st.SourceTree, *names: str) -> None:
    script = tree.path / tree.script
    script.write_text(st.insert_hooks(script.read_text(), names))


def test_hooks_stand_before_the_call_and_leave_no_trace() -> None:
    text = st.insert_hooks(SCRIPT, ["deterministic", "other"])
    lines = text.splitlines()
    call = lines.index("    pretrain(provider,")
    assert lines[call - 2 : call] == [
        "    from ascend_cluster_hooks import install  # ascend.cluster: hook",
        '    install("deterministic", "other")  # ascend.cluster: hook',
    ]
    assert st.read_hooks(text) == ["deterministic", "other"]
    assert st.strip_hooks(text) == SCRIPT
    assert st.insert_hooks(text, ["deterministic", "other"]) == text
    assert st.insert_hooks(text, []) == SCRIPT
    assert st.read_hooks(st.insert_hooks(text, ["one"])) == ["one"]


def test_line_ends_and_quotes_of_the_script_are_kept() -> None:
    text = SCRIPT.replace('"__main__"', "'__main__'").replace("\n", "\r\n")
    hooked = st.insert_hooks(text, ["deterministic"])
    assert hooked.count("\r\n") == hooked.count("\n") == text.count("\n") + 2
    assert st.strip_hooks(hooked) == text


@pytest.mark.parametrize(
    "text",
    ["", "pretrain(model)\n", 'if __name__ == "__main__":\n    run()\n', SCRIPT.replace("    pretrain(", "    train(")],
)
def test_a_script_without_the_place_is_refused(text: str) -> None:
    with pytest.raises(st.TreeError, match="no call of pretrain"):
        st.insert_hooks(text, ["deterministic"])


def test_a_call_after_the_block_is_not_the_place() -> None:
    text = 'if __name__ == "__main__":\n    run()\nif True:\n    pretrain(model)\n'
    with pytest.raises(st.TreeError):
        st.insert_hooks(text, ["deterministic"])


def test_status_with_spaces_and_renames() -> None:
    output = " M a file\0?? new\0R  to\0from\0"
    assert st.parse_status(output) == (["a file", "from", "to"], ["new"])


def test_touched_paths() -> None:
    patch = "--- a/x.py\n+++ b/x.py\n@@ -1 +1 @@\n--- /dev/null\n+++ b/dir/y.py\n"
    assert st.touched(patch) == ["dir/y.py", "x.py"]


@pytest.mark.parametrize("hooks", [[], ["deterministic"]])
@pytest.mark.parametrize("patched", [False, True])
def test_ours_alone_is_no_edit_and_is_taken_away(tree: st.SourceTree, hooks: list[str], patched: bool) -> None:
    if patched:
        apply(tree)
    hook(tree, *hooks)
    state = tree.inspect()
    assert state["edits"] == []
    assert [patch["applied"] for patch in state["patches"]] == [patched, patched]
    assert state["hooks"] == hooks
    tree.restore(state["ours"])
    assert git(tree.path, "status", "--porcelain") == ""


def test_half_applied_patches_are_ours(tree: st.SourceTree) -> None:
    git(tree.path, "apply", str(tree.patches[1]))
    state = tree.inspect()
    assert (state["edits"], state["ours"]) == ([], ["megatron/core.py"])


@pytest.mark.parametrize("file", ["megatron/other.py", "megatron/core.py", "pretrain_gpt.py"])
def test_an_edit_is_found_beside_ours(tree: st.SourceTree, file: str) -> None:
    apply(tree)
    hook(tree, "deterministic")
    with (tree.path / file).open("a") as stream:
        stream.write("# my edit\n")
    state = tree.inspect()
    assert state["edits"] == [file]
    assert file not in state["ours"]


def test_a_removed_and_a_staged_file_are_edits(tree: st.SourceTree) -> None:
    (tree.path / "megatron" / "other.py").unlink()
    (tree.path / "megatron" / "core.py").write_text("mine\n")
    git(tree.path, "add", "megatron/core.py")
    assert tree.inspect()["edits"] == ["megatron/core.py", "megatron/other.py"]


def test_without_the_patches_folder_patched_files_are_edits(tree: st.SourceTree) -> None:
    apply(tree)
    assert st.SourceTree(str(tree.path)).inspect()["edits"] == ["megatron/core.py", "pretrain_gpt.py"]


def test_a_file_made_by_a_patch_is_ours(tree: st.SourceTree) -> None:
    new = tree.path / "megatron" / "new.py"
    new.write_text("made by the patch\n")
    git(tree.path, "add", "-N", "megatron/new.py")
    patch = tree.patches[0].with_name("c.patch")
    patch.write_text(git(tree.path, "diff"))
    git(tree.path, "reset", "-q")
    again = st.SourceTree(str(tree.path), str(tree.patches_root))
    state = again.inspect()
    assert (state["edits"], state["untracked"], state["ours"]) == ([], [], ["megatron/new.py"])
    again.restore(state["ours"])
    assert not new.exists()
    new.write_text("my own\n")
    assert again.inspect()["untracked"] == ["megatron/new.py"]


def test_files_of_others_beside_ours_are_not_taken_away(tree: st.SourceTree) -> None:
    apply(tree)
    (tree.path / "mine.py").write_text("x")
    state = tree.inspect()
    assert (state["untracked"], state["ours"]) == (["mine.py"], ["megatron/core.py", "pretrain_gpt.py"])
    tree.restore(state["ours"])
    assert (tree.path / "mine.py").read_text() == "x"


def test_permissions_that_changed_are_an_edit(tree: st.SourceTree) -> None:
    apply(tree)
    (tree.path / "megatron" / "other.py").chmod(0o755)
    state = tree.inspect()
    assert (state["edits"], state["ours"]) == (["megatron/other.py"], ["megatron/core.py", "pretrain_gpt.py"])


def test_a_removed_script_is_an_edit_and_no_crash(tree: st.SourceTree) -> None:
    git(tree.path, "apply", str(tree.patches[1]))
    (tree.path / tree.script).unlink()
    state = tree.inspect()
    assert (state["edits"], state["ours"], state["hooks"]) == (["pretrain_gpt.py"], ["megatron/core.py"], [])


def test_absent_empty_and_foreign_folders(tmp_path: Path) -> None:
    assert st.SourceTree(str(tmp_path / "none")).inspect()["empty"] is True
    (tmp_path / "full").mkdir()
    assert st.SourceTree(str(tmp_path / "full")).inspect()["empty"] is True
    (tmp_path / "full" / "file").write_text("x")
    state = st.SourceTree(str(tmp_path / "full")).inspect()
    assert (state["exists"], state["repository"], state["empty"]) == (True, False, False)


def test_untracked_and_ignored_files(tree: st.SourceTree) -> None:
    (tree.path / "mine.py").write_text("x")
    (tree.path / ".git" / "info" / "exclude").write_text("/logs/\n")
    (tree.path / "logs").mkdir()
    (tree.path / "logs" / "a").write_text("x")
    state = tree.inspect()
    assert (state["edits"], state["untracked"]) == ([], ["mine.py"])


def test_what_is_to_lie_beside_the_sources_is_missed_and_made(tree: st.SourceTree) -> None:
    exclude, beside = ["/logs/", "*.tmp"], ["logs/", "megatron/__init__.py"]
    file = tree.exclude_file()
    file.write_text("/mine/")
    state = tree.inspect(exclude, beside)
    assert state["missing"] == ["logs/", "megatron/__init__.py", str(file)]
    assert tree.inspect()["missing"] == []
    (tree.path / "megatron/__init__.py").write_text("x")
    tree.make(exclude, beside)
    assert (tree.path / "logs").is_dir()
    assert (tree.path / "megatron/__init__.py").read_text() == "x"
    assert file.read_text() == "/mine/\n# BEGIN ascend.cluster\n/logs/\n*.tmp\n# END ascend.cluster\n"
    assert tree.inspect(exclude, beside)["missing"] == []
    assert tree.inspect(["/other/"], beside)["missing"] == [str(file)]


def test_the_block_of_patterns_is_replaced_where_it_is() -> None:
    text = st.with_block("a\n", ["x"]) + "b\n"
    assert st.with_block(text, ["y", "z"]) == "a\n# BEGIN ascend.cluster\ny\nz\n# END ascend.cluster\nb\n"
    assert st.with_block(text, ["x"]) == text
    assert st.with_block("# BEGIN ascend.cluster\ncut", ["x"]).startswith("# BEGIN ascend.cluster\ncut\n# BEGIN")


def test_imports_of_the_script() -> None:
    text = "import a.b\nfrom c import d, e\n  import f\n# import g\nfrom h.i import (j)\nimport k as l\n"
    assert st.read_imports(text) == ["a.b", "c.d", "k"]
    assert st.read_imports(PATCHED) == ["os", "torch", "ascendspeed.megatron_adaptor", "functools.partial"]
