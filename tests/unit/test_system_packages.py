"""Packages by the system's own commands: the real rpm and dnf with a repository and a root of their own, under a Python
without their bindings, as on Kylin V10 and openEuler 20.03 with the newer Python that ansible-core needs there."""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Sequence

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _system_packages

ROOT = Path(__file__).resolve().parents[2]
# dnf and rpm want to be root, below a folder too.
AS_ROOT = [] if os.geteuid() == 0 else ["unshare", "--user", "--map-root-user"]
RUN = f"import sys; sys.path.insert(0, {str(ROOT / 'collections')!r})\n"
RUN += "from ansible_collections.ascend.cluster.plugins.modules import system_packages; system_packages.main()"
SPEC = """\
Name: {name}
Version: 1
Release: 1
Summary: A package without files
License: Apache-2.0
BuildArch: noarch
Provides: {name}-by-another-name
%description
It is there to be installed.
%files
"""


class System:
    """A root folder with an empty database of packages and one source of packages."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.repository = folder / "repository"
        self.repository.mkdir(parents=True)
        for name in ("tiny", "small"):
            (folder / f"{name}.spec").write_text(SPEC.format(name=name))
            self.run("rpmbuild", "-bb", "--define", f"_topdir {folder}", "--define", f"_rpmdir {self.repository}", str(folder / f"{name}.spec"))
        self.run("createrepo_c", "--quiet", str(self.repository))
        (self.root / "etc/yum.repos.d").mkdir(parents=True)
        (self.root / "etc/dnf").mkdir()
        (self.root / "etc/dnf/dnf.conf").write_text("[main]\n")
        (self.root / "etc/yum.repos.d/local.repo").write_text(f"[local]\nname=local\nbaseurl=file://{self.repository}\ngpgcheck=0\n")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=True)

    def has(self, name: str) -> bool:
        return subprocess.run([*AS_ROOT, "rpm", "--root", str(self.root), "-q", name], capture_output=True, check=False).returncode == 0

    def module(self, *names: str, check: bool = False, **environment: str) -> dict[str, Any]:
        """The module, under this test's Python."""
        arguments = {"names": names, "manager": "rpm", "root": str(self.root), "_ansible_check_mode": check}
        done = subprocess.run(
            [*AS_ROOT, sys.executable, "-c", RUN, json.dumps({"ANSIBLE_MODULE_ARGS": arguments})],
            env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert bool(answer.get("failed")) == (done.returncode != 0), done.stderr
        return answer


@pytest.fixture
def system(tmp_path: Path) -> System:
    for program in ("dnf", "rpm", "rpmbuild", "createrepo_c"):
        assert shutil.which(program), f"{program} is missing: apt-get install dnf rpm createrepo-c"
    return System(tmp_path)


def test_this_python_has_no_bindings() -> None:
    """What the tests below rely on."""
    assert subprocess.run([sys.executable, "-c", "import dnf"], capture_output=True, check=False).returncode != 0


def test_what_is_missing_is_installed_and_only_that(system: System) -> None:
    seen = system.module("tiny", check=True)
    assert (seen["changed"], seen["missing"], system.has("tiny")) == (True, ["tiny"], False)
    seen = system.module("tiny")
    assert (seen["changed"], seen["missing"], system.has("tiny"), system.has("small")) == (True, ["tiny"], True, False)
    seen = system.module("tiny", "small", "tiny")
    assert (seen["changed"], seen["missing"], system.has("small")) == (True, ["small"], True)


def test_what_is_there_is_not_asked_for(system: System) -> None:
    """Nor is the source, which the node may not reach; by any name that a package provides."""
    system.module("tiny")
    shutil.rmtree(system.repository)
    shutil.rmtree(system.root / "var/cache/dnf")
    for name in ("tiny", "tiny-1", "tiny-by-another-name"):
        seen = system.module(name)
        assert (seen["changed"], seen["missing"]) == (False, [])
    failed = system.module("tiny", "small")
    assert failed["failed"] and "install small` ended with status 1" in failed["msg"]
    assert str(system.repository) in failed["msg"]


def test_what_no_source_has_is_named(system: System) -> None:
    failed = system.module("tiny", "nowhere")
    assert failed["failed"] and "No match for argument: nowhere" in failed["msg"]
    assert "-y --installroot=" in failed["msg"] and "install tiny nowhere` ended with status 1:" in failed["msg"]
    assert not system.has("tiny")


def test_a_pythonpath_of_ansibles_python_does_not_reach_dnf(system: System, tmp_path: Path) -> None:
    (tmp_path / "other/dnf").mkdir(parents=True)
    (tmp_path / "other/dnf/__init__.py").write_text("raise ImportError('made for another Python')\n")
    assert system.module("tiny", PYTHONPATH=str(tmp_path / "other"))["changed"]
    assert system.has("tiny")


class Fake:
    """Answers of commands, by their first word that is no assignment or option of env."""

    def __init__(self, **answers: list[_system_packages.Answer]) -> None:
        self.answers = answers
        self.seen: list[list[str]] = []

    def __call__(self, words: Sequence[str]) -> _system_packages.Answer:
        self.seen.append(list(words))
        return self.answers[words[0]].pop(0)


# What `dpkg-query -W` printed on Debian 12, shortened.
DEBIAN = """\
installed|g++|4:12.2.0-3|c++-compiler
installed|git|1:2.39.5-0+deb12u2|git-completion, git-core
config-files|rsync|3.2.7-1|
installed|mawk|1.3.4.20200120-3.1|awk
installed|python3|3.11.2-1+b1|python3-profiler (= 3.11.2-1+b1)
"""


def test_debians_packages() -> None:
    names = ["g++", "awk", "git-core", "python3-profiler", "git=1:2.39.5-0+deb12u2", "rsync", "git=1", "nowhere", "nowhere"]
    assert _system_packages.missing(names, "dpkg", Fake(**{"dpkg-query": [(0, DEBIAN, "")]})) == ["rsync", "git=1", "nowhere"]


def test_debians_own_database() -> None:
    def run(words: Sequence[str]) -> _system_packages.Answer:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    assert _system_packages.missing(["dpkg", "no-such-package-anywhere"], "dpkg", run) == ["no-such-package-anywhere"]


def test_debians_command() -> None:
    run = Fake(env=[(0, "done", "")], **{"dpkg-query": [(0, DEBIAN.replace("config-files", "installed"), "")]})
    _system_packages.install(["rsync"], "dpkg", "/usr/bin/apt-get", run)
    assert run.seen[0][:6] == ["env", "-u", "PYTHONPATH", "-u", "PYTHONHOME", "DEBIAN_FRONTEND=noninteractive"]
    assert run.seen[0][6:9] == ["/usr/bin/apt-get", "-y", "-q"] and run.seen[0][-2:] == ["install", "rsync"]


def test_a_command_that_ends_well_without_installing_is_no_success() -> None:
    run = Fake(env=[(0, "Nothing to do.", "")], rpm=[(1, "", ""), (1, "", "")])
    with pytest.raises(_system_packages.PackagesError, match=r"ended well, but tiny is not installed after it:\nNothing to do\."):
        _system_packages.install(["tiny"], "rpm", "/usr/bin/dnf", run)


def test_the_end_of_a_commands_words_is_shown() -> None:
    run = Fake(env=[(100, "\n".join(f"line {number}." for number in range(40)), "E: no way")])
    with pytest.raises(_system_packages.PackagesError) as caught:
        _system_packages.install(["tiny"], "dpkg", "/usr/bin/apt-get", run)
    assert "ended with status 100" in str(caught.value) and str(caught.value).endswith("line 39.\nE: no way")
    assert "line 26." in str(caught.value) and "line 25." not in str(caught.value)
