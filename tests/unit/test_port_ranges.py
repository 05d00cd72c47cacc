"""Sets of ports in the kernel's notation, and the one list of a run's ports."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import port_errors as error_filter
from ansible_collections.ascend.cluster.plugins.filter import port_ranges as port_filter
from ansible_collections.ascend.cluster.plugins.module_utils._port_ranges import port_errors, port_ranges
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ports = st.tuples(st.integers(0, 300), st.integers(0, 20)).map(lambda pair: f"{pair[0]}-{pair[0] + pair[1]}")


def test_union_is_ascending_and_joined() -> None:
    assert port_ranges(["60000-60031,16666", "", "16667", "60010-60040"]) == "16666-16667,60000-60040"
    assert port_ranges("") == ""
    assert port_ranges("8080") == "8080"
    assert port_ranges("65534-65535,7-7,0") == "0,7,65534-65535"


@pytest.mark.parametrize("text", ["x", "5-1", "5-4", "70000", "65536", "65535-65536", "1-", "-1", "1-2-3"])
def test_no_port(text: str) -> None:
    with pytest.raises(AnsibleFilterError, match="no port or range"):
        port_filter.FilterModule().filters()["port_ranges"]([text])


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ports), st.lists(ports))
def test_uniting_again_changes_nothing(some: list[str], others: list[str]) -> None:
    united = port_ranges([",".join(some), ",".join(others)])
    assert port_ranges([united, *some]) == port_ranges(united) == united


ROOT = Path(__file__).parents[2]
PORTS: dict[str, Any] = yaml.safe_load((ROOT / "roles/cluster/defaults/main.yml").read_text(encoding="utf-8"))["cluster_ports"]


def test_the_list_of_a_run() -> None:
    assert error_filter.FilterModule().filters()["port_errors"](PORTS) == []
    # A launch after a restart takes another port than the one before.
    assert len(range(*map(int, PORTS["master"].split("-")))) + 1 == 16


@pytest.mark.parametrize(("change", "words"), [
    ({"master": None}, ["cluster_ports lacks master: expected master, supervisor, hccl, device", "group_vars/all/cluster.yml"]),
    ({"hub": 7}, ["cluster_ports has hub, which nobody reads"]),
    ({"hub": 7, "hccl": None, "device": None}, ["cluster_ports lacks hccl, device and has hub, which nobody reads"]),
    ({"master": 6000}, ["master of cluster_ports is 6000, expected at least 16 ports, like 6000-6015: each start of a run after a failure takes the next one"]),
    ({"master": "7000-7014"}, ["expected at least 16 ports, like 7000-7015"]),
    ({"hccl": "60000,60001"}, ["hccl of cluster_ports is '60000,60001', expected a port or one range of ports"]),
    ({"hccl": "60031-60000"}, ["hccl of cluster_ports is 60031-60000, expected ports of 1024 to 65535, the lower one first"]),
    ({"device": 65536}, ["device of cluster_ports is 65536, expected ports of 1024 to 65535"]),
    ({"supervisor": 1023}, ["supervisor of cluster_ports is 1023, expected ports of 1024"]),
    ({"supervisor": "6015"}, ["supervisor of cluster_ports is 6015, which master (6000-6015) has in part, too"]),
])
def test_a_list_that_cannot_be_used(change: dict[str, Any], words: list[str]) -> None:
    errors = port_errors({name: ports for name, ports in {**PORTS, **change}.items() if ports is not None})
    assert len(errors) == 1
    assert all(word in errors[0] for word in words), errors


@pytest.mark.parametrize("change", [{"supervisor": 1024}, {"device": "65535"}, {"master": "7000-7015"}, {"master": "7000-7099"}, {"supervisor": 6016}])
def test_a_list_of_other_ports(change: dict[str, Any]) -> None:
    assert port_errors({**PORTS, **change}) == []


def test_nobody_else_writes_a_port_of_a_run() -> None:
    """What is set beside the list is forgotten when it changes; the list itself, its copies in the README and the sample are left out."""
    numbers = sorted({number for ports in PORTS.values() for number in re.findall(r"\d+", str(ports))})
    word = re.compile(rf"(?<![\w.-])(?:{'|'.join(numbers)})(?![\w.])")
    owners = {"roles/cluster/defaults/main.yml", "roles/cluster/meta/argument_specs.yml", "roles/cluster/README.md", "group_vars/all/cluster.yml"}
    found = [f"{path.relative_to(ROOT)}: {line.strip()}" for folder in ("roles", "playbooks", "templates", "plugins", "group_vars", "inventory")
             for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and path.suffix in (".yml", ".md", ".py", ".sh", ".j2", "")
             and str(path.relative_to(ROOT)) not in owners for line in path.read_text(encoding="utf-8").splitlines() if word.search(line)]
    assert found == [], "read cluster_ports (cluster_master_port, cluster_port_ranges) instead"
