"""Which package names a system takes."""
from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "roles" / "node_base"

# os-release lines as role node_base reads them, ansible-core's family, node_base_platform, the file of names.
# What the systems say: their own /etc/os-release; Huawei Cloud EulerOS and Kylin's server have no ID_LIKE.
CASES = {
    "huawei cloud euleros": (['os="hce"'], "Huawei Cloud EulerOS", "", "redhat"),
    "openeuler": (['os="openEuler"'], "RedHat", "", "redhat"),
    "kylin server": (['os="kylin"'], "RedHat", "", "redhat"),
    "kylin desktop": (["os=kylin", "os=debian"], "Kylin", "", "debian"),
    "rocky": (['os="rocky"', 'os="rhel centos fedora"'], "RedHat", "", "redhat"),
    "mint": (["os=linuxmint", 'os="ubuntu debian"'], "Debian", "", "debian"),
    "a derivative by ID_LIKE": (["os=thing", "os='openEuler'"], "Thing", "", "redhat"),
    "a derivative by the variable": (['os="thing"'], "Thing", "RedHat", "redhat"),
    "the variable wins": (["os=debian"], "Debian", "redhat", "redhat"),
    "no os-release": ([], "Debian", "", "debian"),
    "nothing known": (['os="thing"'], "Thing", "", ""),
    "a wrong variable": (["os=debian"], "Debian", "slackware", ""),
    "not a platform": (["os=main"], "Main", "", ""),
}


def play(tmp_path: Path, *tasks: dict[str, Any], **variables: Any) -> str:
    """Run tasks on this machine as if in the role."""
    book = tmp_path / "play.yml"
    book.write_text(yaml.safe_dump([{
        "hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": [str(ROLE / "vars/main.yml")],
        "vars": {**yaml.safe_load((ROLE / "defaults/main.yml").read_text(encoding="utf-8")), "role_path": str(ROLE), **variables}, "tasks": list(tasks)}]),
        encoding="utf-8")
    done = subprocess.run(["ansible-playbook", "-i", "localhost,", str(book)], capture_output=True, text=True, check=False,
                          env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0",
                               "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
    return done.stdout + done.stderr


def test_each_system_finds_its_package_names(tmp_path: Path) -> None:
    said = play(tmp_path, {
        "ansible.builtin.debug": {"msg": "found {{ item.number }}={{ __found | realpath | basename if __found | length > 0 else 'nothing' }};"},
        "vars": {"__found": "{{ lookup('ansible.builtin.first_found', __node_base_search) | default('', true) | string }}",
                 "__node_base_look": {"stdout_lines": "{{ item.lines }}"}, "ansible_facts": {"os_family": "{{ item.family }}"},
                 "node_base_platform": "{{ item.platform }}"},
        "loop": [{"number": number, "lines": lines, "family": family, "platform": platform}
                 for number, (lines, family, platform, _) in enumerate(CASES.values())]})
    got = dict(re.findall(r"found (\d+)=([\w.]+);\"", said))
    assert {name: got.get(str(number)) for number, name in enumerate(CASES)} == {
        name: f"{case[3]}.yml" if case[3] else "nothing" for name, case in CASES.items()}


def test_a_system_of_no_known_platform_is_refused_with_the_variable(tmp_path: Path) -> None:
    tasks = yaml.safe_load((ROLE / "tasks/preflight.yml").read_text(encoding="utf-8"))
    said = " ".join(play(tmp_path, *tasks[1:3], node_base_platform="slackware", __node_base_look={"stdout_lines": ["os=thing"]},
                         ansible_facts={"distribution": "Thing", "distribution_version": "2.0", "os_family": "Thing"}).split())
    assert ("localhost runs Thing 2.0, for which role node_base has no package names: node_base_platform is slackware; expected one of centos, debian, "
            "euleros, fedora, hce, openeuler, redhat, rhel, ubuntu. Set node_base_platform for the node") in said


@pytest.mark.parametrize("name", ["openeuler", "euleros", "hce", "rhel", "centos", "debian", "ubuntu"])
def test_what_the_preflight_supports_has_package_names(name: str) -> None:
    supported = yaml.safe_load((ROOT / "roles/preflight/defaults/main.yml").read_text(encoding="utf-8"))["preflight_supported_os"]
    assert name in supported
    assert len(yaml.safe_load((ROLE / "vars" / f"{name}.yml").read_text(encoding="utf-8"))["__node_base_packages"]) > 5
    assert json.dumps(supported).count("kylin") == 1  # by ID_LIKE (desktop) or ansible-core's family (server)
