"""What nodes are compared by, and a run is named after: it changes with what runs, and with nothing else."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.modules import node_fingerprint

ROOT = Path(__file__).parents[2]


class Failed(Exception):
    """What fail_json says."""


class Module:
    """As much of AnsibleModule as the functions use, with real commands."""

    def run_command(self, words, cwd=None):
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    def fail_json(self, msg):
        raise Failed(msg)


def git(tree, *words):
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *words]
    return subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "tree"
    git(tmp_path, "init", "-q", str(path))
    (path / "one.py").write_text("1\n2\n3\n")
    (path / "data.bin").write_bytes(b"\0\1\2")
    git(path, "add", ".")
    git(path, "commit", "-q", "-m", "first")
    return path


def of(tree):
    return node_fingerprint.of_repository(Module(), str(tree))


def test_a_clean_checkout_is_its_commit_and_changes_add_to_it(tree, tmp_path):
    commit = git(tree, "rev-parse", "HEAD")
    assert of(tree) == commit
    (tree / "untracked").write_text("x")
    assert of(tree) == commit
    (tree / "one.py").write_text("1\n2\n4\n")
    first = of(tree)
    assert re.fullmatch(re.escape(commit) + r"\+[0-9a-f]{16}", first)
    (tree / "one.py").write_text("1\n2\n5\n")
    assert of(tree) not in (commit, first)
    (tree / "one.py").write_text("1\n2\n3\n")
    assert of(tree) == commit
    (tree / "data.bin").write_bytes(b"\0\1\3")
    changed = of(tree)
    (tree / "data.bin").write_bytes(b"\0\1\4")
    assert commit != changed != of(tree)
    assert node_fingerprint.of_repository(Module(), str(tmp_path / "none")) == "absent"


def test_the_same_changes_are_the_same_in_every_clone(tree, tmp_path):
    """How long git's hashes are depends on the number of objects, and what a diff looks like on the user's settings."""
    git(tmp_path, "clone", "-q", str(tree), "other")
    for setting in ("core.abbrev=12", "diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.context=1", "color.ui=always", "diff.algorithm=histogram",
                    "diff.external=/bin/false", "diff.renames=copies"):
        git(tmp_path / "other", "config", *setting.split("=", 1))
    for path in (tree, tmp_path / "other"):
        (path / "one.py").write_text("1\n2\n4\n")
        (path / "data.bin").write_bytes(b"\0\1\4")
    assert of(tree) == of(tmp_path / "other")


def test_a_diff_that_fails_is_no_checkout_without_changes(tree):
    (tree / ".git" / "index").write_bytes(b"rubbish")
    with pytest.raises(Failed, match=r"git diff in .*tree failed: .*index"):
        of(tree)


def test_a_file_counts_by_its_content(tmp_path):
    path = tmp_path / "file"
    assert node_fingerprint.of_file(str(path)) == "absent"
    path.write_text("one")
    first = node_fingerprint.of_file(str(path))
    assert re.fullmatch(r"[0-9a-f]{16}", first)
    path.write_text("two")
    assert node_fingerprint.of_file(str(path)) not in ("absent", first)
    (tmp_path / "elsewhere").write_text("one")
    assert node_fingerprint.of_file(str(tmp_path / "elsewhere")) == first


def test_a_folder_counts_by_its_python_files(tmp_path):
    def of_folder():
        return node_fingerprint.of_file(str(tmp_path))

    (tmp_path / "a.pyc").write_text("x")
    assert of_folder() == "absent"
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.py").write_text("1")
    (tmp_path / "c.py").write_text("2")
    seen = [of_folder()]
    (tmp_path / "c.txt").write_text("x")
    assert of_folder() == seen[0]
    (tmp_path / "c.py").rename(tmp_path / "d.py")
    seen.append(of_folder())
    (tmp_path / "b" / "a.py").write_text("12")  # the text that moved from one file to the next
    (tmp_path / "d.py").write_text("")
    seen.append(of_folder())
    assert len(set(seen)) == 3


def test_what_cannot_be_read_is_not_absent(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OSError, match="loop"):
        node_fingerprint.of_file(str(tmp_path / "loop"))


def test_packages_are_asked_of_the_interpreter(tmp_path):
    """Installed in another order, or by another role, the same packages are the same; another version is not."""
    def python(name, *packages):
        folder = tmp_path / name
        for package, version in packages:
            info = folder / f"{package}-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        path = tmp_path / f"{name}.sh"
        path.write_text(f"#!/bin/sh\nexport PYTHONPATH={folder}\nexec {sys.executable} \"$@\"\n")
        path.chmod(0o755)
        return node_fingerprint.of_python(Module(), str(path))

    one = python("one", ("torch", "2.1.0"), ("einops", "0.8"))
    assert re.fullmatch(r"[0-9a-f]{16}", one)
    assert python("two", ("einops", "0.8"), ("torch", "2.1.0")) == one
    assert python("three", ("torch", "2.1.0.post3"), ("einops", "0.8")) != one
    assert python("four", ("torch", "2.1.0")) != one
    assert node_fingerprint.of_python(Module(), str(tmp_path / "none")) == "absent"
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no libpython >&2\nexit 127\n")
    broken.chmod(0o755)
    with pytest.raises(Failed, match=r"status 127: no libpython\. Run playbooks/conda_env\.yml"):
        node_fingerprint.of_python(Module(), str(broken))


def test_packages_are_listed_with_their_versions_in_order():
    listed = subprocess.run([sys.executable, "-c", node_fingerprint.PACKAGES], check=True, capture_output=True, text=True).stdout.splitlines()
    assert listed == sorted(listed)
    assert any(line.startswith("pytest ") for line in listed)


def tasks_of(*words):
    """Names of the tasks of site.yml that a run with these words has."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    done = subprocess.run(["ansible-playbook", "site.yml", "-i", "inventory/ascend", "--list-tasks", *words],
                          cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return re.findall(r"^ +(?:ascend\.cluster\.)?(\w+ : .*?)\t+TAGS", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [(), ("--skip-tags", "verify"), ("--skip-tags", "install"), ("--skip-tags", "configure,verify"),
                                   ("--tags", "install"), ("--tags", "configure")], ids=" ".join)
def test_the_version_of_cann_is_recorded_whatever_tags_are_run(words):
    """A run's id holds it: without verify it was absent at first and there later, and the same run had two names."""
    assert "cann_toolkit : Record | Write down the versions" in tasks_of(*words)


def test_nothing_but_install_and_configure_writes_what_a_run_is_named_after():
    listed = tasks_of("--tags", "verify")
    assert "cann_toolkit : Verify | Compare the versions installed with those wanted" in listed
    assert [name for name in listed if "Record" in name or "Write the list of packages" in name] == []


def test_the_list_of_wheels_holds_nothing_that_other_roles_install():
    template = (ROOT / "roles/conda_env/templates/conda_env.txt.j2").read_text(encoding="utf-8")
    assert "sha256" in template
    assert "packages" not in template
    identify = yaml.safe_load((ROOT / "roles/pretrain/tasks/identify.yml").read_text(encoding="utf-8"))
    fingerprint = identify[0]["ascend.cluster.node_fingerprint"]
    assert fingerprint["pythons"] == {"packages": "{{ cluster_python }}"}
