"""Which CANN counts, over folders as the vendor's installers leave them; names of archives; the environment's own version."""
from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.test import core
from ansible_collections.ascend.cluster.plugins.module_utils import _cann, _stack_data, _wheels

ROOT = Path(__file__).resolve().parents[2]
ARCH = platform.machine()
LAYOUTS = _stack_data.load("recipe", str(ROOT))["cann"]["layouts"]
# https://gitee.com/ascend/pytorch (table of versions), as in the role's defaults.
PAIRS = {"2.1.0.post3": ["8.0.RC1"], "2.7.1.post4": ["9.0.0"]}


class Ascend:
    """An install path with versions of CANN."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.record = root / "ascend_cann_install.info"

    def write(self, path: str, *lines: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text("".join(f"{line}\n" for line in lines))

    def link(self, path: str, target: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).unlink(missing_ok=True)
        (self.root / path).symlink_to(target)

    def old(self, version: str, latest: bool = True) -> None:
        """Up to 8.4. Records as in the vendor's installation guide, "Viewing Version Information"."""
        home = f"ascend-toolkit/{version}"
        self.write(f"{home}/{ARCH}-linux/ascend_toolkit_install.info", "package_name=Ascend-cann-toolkit", f"version={version}",
                   "innerversion=V100R001C17SPC001B289", "compatible_version=[V100R001C15],[V100R001C17]", f"arch={ARCH}", "os=linux",
                   f"path={self.root}/{home}/{ARCH}-linux")
        self.write("ascend-toolkit/set_env.sh", f"export ASCEND_TOOLKIT_HOME={self.root}/ascend-toolkit/latest")
        if latest:
            self.link("ascend-toolkit/latest", version)

    def old_kernels(self, version: str) -> None:
        self.write(f"ascend-toolkit/{version}/opp_kernel/version.info", "Version=8.3.T5.0.B028", f"version_dir={version}",
                   "timestamp=20250807_092944934", "ops_version=8.3.T5.0.B028", 'required_package_amct_acl_version=">=7.6, <=8.3"')

    def new(self, version: str) -> None:
        """From 8.5 on; the last one installed has the links."""
        self.write(f"cann-{version}/{ARCH}-linux/ascend_toolkit_install.info", "package_name=Ascend-cann-toolkit", f"version={version}",
                   "innerversion=V100R001C11B063", f"arch={ARCH}", "os=linux", f"path={self.root}/cann-{version}")
        self.write(f"cann-{version}/set_env.sh", f"export ASCEND_TOOLKIT_HOME={self.root}/cann-{version}")
        self.link("cann", f"cann-{version}")
        self.write("ascend_cann_install.info", f"Install_Path={self.root}", f"Toolkit_InstallPath={self.root}/cann-{version}")

    def new_kernels(self, version: str) -> None:
        self.write(f"cann-{version}/{ARCH}-linux/ascend_ops_install.info", "package_name=Ascend-cann-910b-ops", f"version={version}",
                   f"arch={ARCH}", "os=linux", f"path={self.root}/cann-{version}")

    def variables(self, wanted: str) -> dict[str, str]:
        """The role's own defaults, for a wanted version."""
        defaults = yaml.safe_load((ROOT / "roles/cann_toolkit/defaults/main.yml").read_text())
        names = ("home", "latest", "set_env", "info", "kernels_info", "kernels_src")
        given = {**defaults, "cann_toolkit_version": wanted, "cann_toolkit_install_path": str(self.root),
                 "ansible_facts": {"architecture": ARCH}, "cluster_project_dir": "/p"}
        given["__cann_toolkit_layout"] = given["__cann_toolkit_kernels_layout"] = _cann.layout(LAYOUTS, wanted, ARCH, str(self.root))
        return {name: render(defaults[f"cann_toolkit_{name}"], given) for name in names}

    def state(self, wanted: str) -> dict[str, Any]:
        paths = self.variables(wanted)
        return _cann.state(str(self.root), paths["home"], paths["latest"], paths["info"], paths["kernels_info"], str(self.record))


def render(text: str, variables: dict[str, Any]) -> str:
    """What ansible makes of a text whose variables are texts again."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.tests.update(core.TestModule().tests())
    while "{{" in text:
        known = {name: render(value, variables) if name in text and "{{" in str(value) else value for name, value in variables.items()}
        text = environment.from_string(text).render(known)
    return text


@pytest.fixture
def ascend(tmp_path: Path) -> Ascend:
    return Ascend(tmp_path / "Ascend")


@pytest.mark.parametrize("version, name", [
    ("7.0.0", "Ascend-cann-kernels-910b_7.0.0_linux.run"),
    ("8.0.RC1", "Ascend-cann-kernels-910b_8.0.RC1_linux.run"),
    ("8.0.RC2.alpha002", "Ascend-cann-kernels-910b_8.0.RC2.alpha002_linux.run"),
    ("8.0.RC3", "Ascend-cann-kernels-910b_8.0.RC3_linux-aarch64.run"),
    ("8.0.0", "Ascend-cann-kernels-910b_8.0.0_linux-aarch64.run"),
    ("8.1.RC1", "Ascend-cann-kernels-910b_8.1.RC1_linux-aarch64.run"),
    ("8.3.RC1", "Ascend-cann-kernels-910b_8.3.RC1_linux-aarch64.run"),
    ("8.5.0", "Ascend-cann-910b-ops_8.5.0_linux-aarch64.run"),
    ("8.5.0-beta.1", "Ascend-cann-910b-ops_8.5.0-beta.1_linux-aarch64.run"),
    ("9.1.0", "Ascend-cann-910b-ops_9.1.0_linux-aarch64.run"),
    ("10.0.0", "Ascend-cann-910b-ops_10.0.0_linux-aarch64.run"),
])
def test_names_of_the_kernels_archive(version: str, name: str) -> None:
    """As in public download links and installation notes of each version."""
    assert _cann.layout(LAYOUTS, version, "aarch64", "/A")["kernels"] == name


def test_up_to_8_0_the_path_is_fixed() -> None:
    versions = ("7.0.0", "8.0.RC1", "8.0.RC3", "8.0.0", "8.1.RC1", "8.3.RC1", "8.5.0")
    assert [_cann.layout(LAYOUTS, version, "aarch64", "/A")["fixed_path"] for version in versions] == [True] * 4 + [False] * 3
    tasks = yaml.safe_load((ROOT / "roles/cann_toolkit/tasks/preflight.yml").read_text())
    assert next(task for task in tasks if "another install path" in task["name"])["when"] == "__cann_toolkit_layout.fixed_path"


def test_a_layout_is_the_newest_that_fits() -> None:
    layouts = [{"from": "9", "home": "{path}/new-{version}"}, {"from": "8.0.RC2", "home": "{path}/{arch}"}]
    assert _cann.layout(layouts, "8.0.0", "aarch64", "/A") == {"home": "/A/aarch64"}
    assert _cann.layout(layouts, "9.0.RC1", "aarch64", "/A") == {"home": "/A/new-9.0.RC1"}
    with pytest.raises(ValueError, match=r"CANN 8\.0\.RC1 \(cann_toolkit_version\) is older than all that this stack knows, expected 8\.0\.RC2 or newer"):
        _cann.layout(layouts, "8.0.RC1", "aarch64", "/A")


def test_nothing_is_installed(ascend: Ascend) -> None:
    for wanted in ("8.0.RC1", "9.0.0"):
        assert ascend.state(wanted) == {"toolkit": "", "kernels": "", "leads_to": "", "installed": [], "elsewhere": ""}


def test_the_operators_package_is_recognized(ascend: Ascend) -> None:
    ascend.new("9.0.0")
    ascend.link("ascend-toolkit/latest", "../cann")
    assert ascend.state("9.0.0")["kernels"] == ""
    ascend.new_kernels("9.0.0")
    assert ascend.state("9.0.0") == {"toolkit": "9.0.0", "kernels": "9.0.0", "leads_to": "", "elsewhere": "",
                                     "installed": [{"version": "9.0.0", "folder": f"{ascend.root}/cann-9.0.0"}]}
    assert ascend.variables("9.0.0")["kernels_src"] == f"/p/artifacts/Ascend-cann-910b-ops_9.0.0_linux-{ARCH}.run"


def test_the_old_kernels_package_is_recognized(ascend: Ascend) -> None:
    ascend.old("8.0.RC1")
    ascend.old_kernels("8.0.RC1")
    assert (ascend.state("8.0.RC1")["toolkit"], ascend.state("8.0.RC1")["kernels"]) == ("8.0.RC1", "8.0.RC1")


def test_latest_may_be_a_folder_of_links(ascend: Ascend) -> None:
    """As 8.0 leaves it."""
    ascend.old("8.0.RC1", latest=False)
    ascend.old_kernels("8.0.RC1")
    for name in (f"{ARCH}-linux", "opp_kernel"):
        ascend.link(f"ascend-toolkit/latest/{name}", f"../8.0.RC1/{name}")
    state = ascend.state("8.0.RC1")
    assert (state["toolkit"], state["kernels"]) == ("8.0.RC1", "8.0.RC1")
    assert state["installed"] == [{"version": "8.0.RC1", "folder": f"{ascend.root}/ascend-toolkit/8.0.RC1"}]


@pytest.mark.parametrize("record", ["ascend_kernels_install.info", "ascend_kernels-910b_install.info"])
def test_a_record_of_the_kernels_beside_the_toolkits(ascend: Ascend, record: str) -> None:
    ascend.old("8.2.RC1")
    ascend.write(f"ascend-toolkit/8.2.RC1/{ARCH}-linux/{record}", "package_name=Ascend-cann-kernels-910b", "version=8.2.RC1")
    assert ascend.state("8.2.RC1")["kernels"] == "8.2.RC1"


def test_of_two_versions_the_wanted_one_counts(ascend: Ascend) -> None:
    ascend.old("8.0.RC1")
    ascend.old_kernels("8.0.RC1")
    ascend.new("8.5.2")
    ascend.new_kernels("8.5.2")
    assert ascend.variables("8.0.RC1")["set_env"] == f"{ascend.root}/ascend-toolkit/set_env.sh"
    assert ascend.variables("8.5.2")["set_env"] == f"{ascend.root}/cann-8.5.2/set_env.sh"
    for wanted in ("8.0.RC1", "8.5.2"):
        state = ascend.state(wanted)
        assert (state["toolkit"], state["kernels"], state["leads_to"], state["elsewhere"]) == (wanted, wanted, "", "")
        assert [one["version"] for one in state["installed"]] == ["8.0.RC1", "8.5.2"]


def test_a_third_version_is_installed_beside_two(ascend: Ascend) -> None:
    ascend.new("9.0.0")
    ascend.new("8.5.2")
    assert ascend.state("9.1.0")["toolkit"] == ""
    assert ascend.state("9.0.0")["toolkit"] == "9.0.0"


def test_a_link_that_a_later_installation_took(ascend: Ascend) -> None:
    ascend.old("8.0.RC1")
    ascend.old_kernels("8.0.RC1")
    ascend.new("8.5.2")
    ascend.new_kernels("8.5.2")
    ascend.link("ascend-toolkit/latest", "../cann")
    state = ascend.state("8.0.RC1")
    assert (state["toolkit"], state["kernels"], state["leads_to"]) == ("", "", "8.5.2")
    assert {"version": "8.0.RC1", "folder": f"{ascend.root}/ascend-toolkit/8.0.RC1"} in state["installed"]


def test_the_recorded_path(ascend: Ascend) -> None:
    for path, elsewhere in ((f"{ascend.root}", ""), (f"{ascend.root}/ascend-toolkit", ""), (f"{ascend.root}/cann-8.5.2", ""),
                            ("/opt/Ascend/ascend-toolkit", "/opt/Ascend/ascend-toolkit"), (f"{ascend.root}2", f"{ascend.root}2")):
        ascend.write("ascend_cann_install.info", f"Toolkit_InstallPath={path}")
        assert ascend.state("8.0.RC1")["elsewhere"] == elsewhere


def test_the_first_line_of_a_key_counts(ascend: Ascend) -> None:
    ascend.write("x.info", "# a comment", "version=1", "version=2", "version_dir=", "other = 3=4")
    assert _cann.version_in(str(ascend.root / "x.info")) == "1"
    assert _cann.value(str(ascend.root / "x.info"), "other ") == " 3=4"
    ascend.write("y.info", "version=8.3.T5.0.B028", "version_dir=8.3.RC1")
    assert _cann.version_in(str(ascend.root / "y.info")) == "8.3.RC1"


def test_the_environment_compares_torch_npu_with_the_cann_it_will_get(ascend: Ascend, tmp_path: Path) -> None:
    """Role conda_env's look at a node, with an environment command that sources one of two versions."""
    ascend.old("8.0.RC1")
    ascend.new("8.5.2")
    for wanted, fits in (("8.0.RC1", True), ("8.5.2", False)):
        command = tmp_path / "ascend-env"
        command.write_text(f'#!/bin/sh\n. {ascend.variables(wanted)["set_env"]}\nexec "$@"\n')
        command.chmod(0o755)
        words = [sys.executable, str(ROOT / "roles/conda_env/files/probe.py"), "/nowhere", "/nowhere", "/nowhere", str(command), "/nowhere"]
        seen = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        assert seen["cann"] == wanted
        assert (_wheels.pair_error("2.1.0.post3", seen["cann"], PAIRS) == "") is fits
    command.unlink()
    assert json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)["cann"] == ""
