"""Node ranks from the inventory."""
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._topology import interface_of, topology


def hosts(**extra):
    plain = {f"n{i}": {"ansible_host": f"192.0.2.{i}"} for i in range(1, 4)}
    for name, variables in extra.items():
        plain[name] = {**plain[name], **variables}
    return plain


def test_the_order_of_the_group_gives_the_ranks():
    found = topology(["n2", "n1", "n3"], hosts())
    assert found["ranks"] == {"n2": 0, "n1": 1, "n3": 2}
    assert (found["master"], found["master_addr"], found["errors"]) == ("n2", "192.0.2.2", [])


def test_node_rank_overrides_and_the_others_fill_up():
    found = topology(["n1", "n2", "n3"], hosts(n3={"node_rank": "0"}))
    assert found["ranks"] == {"n3": 0, "n1": 1, "n2": 2}
    assert [node["name"] for node in found["nodes"]] == ["n3", "n1", "n2"]


def test_cluster_address_wins_over_ansible_host():
    assert topology(["n1"], hosts(n1={"cluster_address": "10.1.1.1"}))["master_addr"] == "10.1.1.1"


@pytest.mark.parametrize(("group", "extra", "message"), [
    ([], {}, "The group of nodes is empty"),
    (["n1", "n2"], {"n1": {"node_rank": 1}, "n2": {"node_rank": 1}}, "node_rank 1 is given to n1 and to n2"),
    (["n1", "n2"], {"n1": {"node_rank": 5}}, "The node ranks have gaps: found n2=0, n1=5, expected 0 to 1"),
    (["n1"], {"n1": {"node_rank": "first"}}, "n1: node_rank is 'first', expected a whole number from 0 to 0"),
    (["n1"], {"n1": {"ansible_host": "node.example.org"}}, "Set cluster_address for n1 in the inventory"),
    (["n1", "n2"], {"n2": {"cluster_address": "192.0.2.1"}}, "n2 and n1 have the same cluster_address 192.0.2.1"),
])
def test_an_unclear_inventory_is_refused(group, extra, message):
    found = topology(group, hosts(**extra))
    assert message in found["errors"][0]
    assert found["nodes"] == []


def test_the_interface_is_the_one_with_the_address():
    facts = {"interfaces": ["lo", "eth0-1"],
             "lo": {"device": "lo", "ipv4": {"address": "127.0.0.1"}},
             "eth0_1": {"device": "eth0-1", "ipv4": {"address": "10.0.0.1"}, "ipv4_secondaries": [{"address": "10.0.0.2"}],
                        "ipv6": [{"address": "fd00::1"}]}}
    assert interface_of(facts, "10.0.0.2") == "eth0-1"
    assert interface_of(facts, "fd00:0::1") == "eth0-1"
    assert interface_of(facts, "10.0.0.3") == ""
