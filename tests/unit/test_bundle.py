"""Bundles that real git makes: a whole one becomes a work tree, and one of an incomplete clone leaves nothing behind."""

from __future__ import annotations

import getpass
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _bundle, _git_checkout, _stack_data
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree

from rehearsal import artifacts, stacks, upstream

ROOT = Path(__file__).parents[2]


def git(tree: Path, *words: str) -> str:
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    for who in ("AUTHOR", "COMMITTER"):
        environment.update({f"GIT_{who}_NAME": "t", f"GIT_{who}_EMAIL": "t@example.org"})
    return subprocess.run(["git", *words], cwd=tree, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def bundle(clone: Path, name: str, *words: str) -> Path:
    path = clone.parent / f"{name}.bundle"
    git(clone, "bundle", "create", "--quiet", str(path), *(words or ["--all"]))
    return path


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A repository of five commits, each with a file of its own."""
    path = tmp_path / "full"
    git(tmp_path, "init", "--quiet", "-b", "main", str(path))
    git(path, "config", "uploadpack.allowFilter", "true")
    for number in range(5):
        (path / f"file{number}").write_text(f"{number}\n" * 200)
        git(path, "add", ".")
        git(path, "commit", "--quiet", "-m", f"commit {number}")
    return path


@pytest.fixture
def commit(full: Path) -> str:
    return git(full, "rev-parse", "main")


@pytest.fixture
def tree(tmp_path: Path) -> SourceTree:
    (tmp_path / "nodes" / "T").mkdir(parents=True)
    return SourceTree(str(tmp_path / "nodes" / "T"))


def bring(tree: SourceTree, path: Path, commit: str) -> None:
    """Prove the bundle, and bring the tree to the commit."""
    _bundle.prove(path, commit)
    assert _git_checkout.bring(tree, {"url": "", "userinfo": "", "bundle": str(path), "commit": commit, "exclude": [], "beside": []}, False)


def make(full: Path, kind: str, commit: str) -> Path:
    """A bundle with the fault `kind`."""
    url = f"file://{full}"
    if kind.startswith("depth"):
        git(full.parent, "clone", "--quiet", "--depth", kind[len("depth"):], url, "shallow")
        return bundle(full.parent / "shallow", kind)
    if kind == "range":
        return bundle(full, kind, "main~2..main")
    if kind == "range with merge":
        git(full, "checkout", "--quiet", "-b", "side", "main~3")
        git(full, "commit", "--quiet", "--allow-empty", "-m", "side")
        git(full, "merge", "--quiet", "-m", "merge", "main~1")
        return bundle(full, kind, "main", "side", "^main~2", "^side^1")
    if kind == "filter":  # git 2.36 and later
        return bundle(full, kind, "--filter=blob:none", "--all")
    if kind == "partial":  # format 2 of the same objects
        objects = git(full, "rev-list", "--objects", "--filter=blob:none", "--no-object-names", "--all") + "\n"
        pack = subprocess.run(["git", "pack-objects", "--stdout", "--quiet"], cwd=full, input=objects.encode(), check=True, capture_output=True).stdout
        path = full.parent / "partial.bundle"
        path.write_bytes(f"# v2 git bundle\n{commit} refs/heads/main\n\n".encode() + pack)
        return path
    if kind == "older":
        git(full, "branch", "old", "main~1")
        return bundle(full, kind, "old")
    whole = bundle(full, kind).read_bytes()
    path = full.parent / f"{kind}.bundle"
    path.write_bytes({
        "cut": whole[:-30],
        "cut in the pack's head": whole[:whole.index(b"PACK") + 6],
        "cut in the header": whole[:60],
        "changed": whole[:-40] + b"\0\0\0\0" + whole[-36:],
        "empty": b"",
        "page": b"<!DOCTYPE html>\n<html>404</html>\n",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d65\nsize 123\n",
    }[kind])
    return path


FAULTS = [
    ("depth1", "lacks commits that {} builds on: it was made in a shallow clone", "git fetch --unshallow"),
    ("depth3", "lacks commits that {} builds on: it was made in a shallow clone", "git fetch --unshallow"),
    ("range", "holds only what came after commit", "git bundle create FILE.bundle pinned"),
    ("range with merge", " and 1 more: it was made of a range", "git bundle create FILE.bundle pinned"),
    ("filter", "leaves files out: it was made with --filter=blob:none", "without --depth and --filter"),
    ("partial", "lacks files in the history of {}: it was made in a partial clone (--filter) (", "without --depth and --filter"),
    ("older", "does not hold commit {}; it was made of refs/heads/old", "Correct megatron_version"),
    ("cut", "cannot be unpacked: ", "copy it again"),
    ("cut in the pack's head", "cannot be unpacked: ", "copy it again"),
    ("cut in the header", "is cut off: it ends within the list of its branches", "megatron_bundle_sha256"),
    ("changed", "cannot be unpacked: ", "copy it again"),
    ("empty", "is no git bundle: it is empty", "git bundle create"),
    ("page", "is no git bundle: it begins with '<!DOCTYPE html>'", "git bundle create"),
    ("pointer", "is no git bundle: it begins with 'version https://git-lfs.github.com/spec/", "git bundle create"),
]


@pytest.mark.parametrize(("kind", "found", "remedy"), FAULTS, ids=[row[0] for row in FAULTS])
def test_an_incomplete_bundle_is_refused_and_spoils_nothing(full: Path, commit: str, tree: SourceTree, kind: str, found: str, remedy: str) -> None:
    bad, whole = make(full, kind, commit), bundle(full, "whole")
    beside = sorted(bad.parent.iterdir())
    with pytest.raises(_bundle.BundleError) as caught:
        _bundle.prove(bad, commit)
    message = _bundle.explain(caught.value, "/srv/x.bundle", commit, "megatron")
    assert message.startswith("/srv/x.bundle (megatron_url) ")
    assert found.format(commit) in message
    assert (" and 1 more" in message) == (kind == "range with merge")
    assert remedy in message
    assert sorted(bad.parent.iterdir()) == beside
    # A tree that an earlier bundle became lends the bad one nothing of what it lacks.
    bring(tree, whole, commit)
    with pytest.raises(_bundle.BundleError):
        _bundle.prove(bad, commit)
    assert sorted(bad.parent.iterdir()) == beside


def test_a_whole_bundle_becomes_a_tree_of_the_commit(full: Path, commit: str, tree: SourceTree) -> None:
    for wanted in (git(full, "rev-parse", "main~1"), commit):
        bring(tree, bundle(full, "whole"), wanted)
        assert git(tree.path, "for-each-ref", "--format=%(objectname) %(refname)") == f"{wanted} refs/remotes/origin/pinned"
        assert git(tree.path, "rev-parse", "HEAD") == wanted
        git(tree.path, "fsck", "--strict")
    assert git(tree.path, "rev-list", "--count", "HEAD") == "5"
    assert (tree.path / "file4").is_file()
    assert git(tree.path, "status", "--porcelain") == ""


def test_a_shallow_clone_that_holds_the_whole_commit_is_enough(full: Path, commit: str, tree: SourceTree, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{full}", "shallow")
    git(tmp_path / "shallow", "fetch", "--quiet", "--unshallow")
    bring(tree, bundle(tmp_path / "shallow", "unshallowed"), commit)
    assert git(tree.path, "rev-list", "--count", "HEAD") == "5"


def test_the_header_is_read_and_the_file_stands_at_the_pack() -> None:
    one, two = "1" * 40, "2" * 40
    file = io.BytesIO(f"# v3 git bundle\n@object-format=sha1\n@filter=tree:0\n-{one} subject of it\n-{two}\n{one} refs/heads/a b\n\nPACK".encode())
    header = _bundle.read_header(file)
    assert header == _bundle.Header("3", ["object-format=sha1", "filter=tree:0"], [one, two], ["refs/heads/a b"])
    assert file.read() == b"PACK"
    with pytest.raises(_bundle.BundleError, match="filter=tree:0"):
        _bundle.refuse_parts(header)
    _bundle.refuse_parts(_bundle.Header("3", ["object-format=sha1"], [], ["HEAD"]))


def test_a_bundle_of_format_3_that_git_cannot_unpack_may_be_too_new(full: Path, commit: str) -> None:
    path = bundle(full, "three", "--all")
    path.write_bytes(b"# v3 git bundle\n@object-format=md5\n" + path.read_bytes().partition(b"\n")[2])
    with pytest.raises(_bundle.BundleError) as caught:
        _bundle.prove(path, commit)
    assert "add --version=2" in _bundle.explain(caught.value, "x", commit, "megatron")


def play(tmp_path: Path, url: Path, commit: str) -> tuple[int, str]:
    """Role git_checkout, played on this machine below `tmp_path`."""
    arguments = {"git_checkout_path": str(tmp_path / "T"), "git_checkout_url": str(url), "git_checkout_version": commit,
                 "git_checkout_variables": "megatron", "git_checkout_exclude": ["/logs/"], "git_checkout_beside": ["logs/"]}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.import_role": {"name": "ascend.cluster.git_checkout"}, "vars": arguments}]}]))
    variables = {
        "ansible_become": False, "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "cluster_user": getpass.getuser(),
        "__cluster_guard": False, "cluster_workspace": str(tmp_path), "cluster_artifact_dir": str(tmp_path / "artifacts"),
    }
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml"), "-e", json.dumps(variables)],
                          cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: the role with a bundle, whose folder is root's, since this is not root")
def test_the_role_refuses_a_shallow_bundle_and_takes_a_whole_one_afterwards(full: Path, commit: str, tmp_path: Path) -> None:
    status, output = play(tmp_path, make(full, "depth1", commit), commit)
    assert status == 2
    assert "it was made in a shallow clone" in output
    assert "`git fetch --unshallow` completes a shallow one" in output
    assert not (tmp_path / "T").exists()
    assert [path.name for path in (tmp_path / "artifacts").iterdir()] == ["megatron.bundle"]
    status, output = play(tmp_path, bundle(full, "whole"), commit)
    assert status == 0, output
    assert git(tmp_path / "T", "rev-list", "--count", "HEAD") == "5"
    assert (tmp_path / "T/logs").is_dir()
    assert "/logs/" in (tmp_path / "T/.git/info/exclude").read_text().splitlines()
    status, output = play(tmp_path, tmp_path / "gone.bundle", commit)  # of a tree that is as wanted nothing is asked
    assert status == 0, output
    assert "changed=0" in output


def test_the_rehearsal_does_not_bundle_a_shallow_clone(full: Path, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "clone", "--quiet", "--depth", "2", f"file://{full}", "shallow")
    out = tmp_path / "out"
    out.mkdir()
    found = {"Megatron-LM": (f"file://{full}", commit), "AscendSpeed": (str(tmp_path / "shallow"), commit)}
    monkeypatch.setattr(artifacts, "repositories", lambda stack: found)
    with pytest.raises(artifacts.ArtifactsError, match=r"AscendSpeed .*shallow is a shallow clone.*git fetch --unshallow.*ASCENDSPEED_URL"):
        artifacts._make_real_sources(out, "recipe")
    assert not (out / "AscendSpeed.bundle").exists()
    git(tmp_path / "shallow", "fetch", "--quiet", "--unshallow")
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    artifacts._make_real_sources(fresh, "recipe")
    assert sorted(path.name for path in fresh.iterdir()) == [
        "AscendSpeed.bundle", "AscendSpeed.commit", "Megatron-LM.bundle", "Megatron-LM.commit"]


def test_repositories_are_those_of_the_roles_or_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEGATRON_URL", raising=False)
    monkeypatch.setenv("ASCENDSPEED_URL", "file:///srv/a")
    found = artifacts.repositories("current")
    assert found["Megatron-LM"][0].endswith("Megatron-LM.git")
    assert found["AscendSpeed"][0] == "file:///srv/a"
    assert {len(commit) for _, commit in found.values()} == {40}


def test_a_stack_without_stand_in_is_rehearsed_with_the_real_code_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "repositories", lambda stack: {name: (f"https://host/{name}", "") for name in ("Megatron-LM", "AscendSpeed")})
    monkeypatch.setattr(artifacts, "answers", lambda url: True)
    assert artifacts.choose("auto", "third") == artifacts.choose("real", "third") == "real"
    with pytest.raises(artifacts.ArtifactsError, match=r"no stand-in for the stack third \(rehearsal/upstream/third, docs/stacks.md\)\. Take "
                       r"NODES=containers UPSTREAM=real with MEGATRON_URL and ASCENDSPEED_URL that answer, or a STACK that has one: current, recipe\."):
        artifacts.choose("standin", "third")
    monkeypatch.setattr(artifacts, "answers", lambda url: False)
    assert artifacts.choose("auto", "recipe") == "standin"
    with pytest.raises(artifacts.ArtifactsError, match=r"do not answer \(https://host/Megatron-LM, https://host/AscendSpeed\)"):
        artifacts.choose("auto", "third")


def test_a_stack_is_named_by_its_file_with_a_stand_in_or_without(tmp_path: Path) -> None:
    for name in ("third", "third_rules", "third_options", "recipe"):
        (tmp_path / f"{name}.yml").touch()
    assert stacks.names(tmp_path) == ["recipe", "third"]
    assert set(upstream.stacks()) <= set(stacks.NAMES) and _stack_data.names(ROOT / "stacks") == stacks.NAMES, "as the roles' own filter has them"
