"""Sets of ports in the kernel's notation."""
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import port_ranges as port_filter
from ansible_collections.ascend.cluster.plugins.module_utils._port_ranges import port_ranges
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
