"""Node ranks from the inventory."""
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._topology import interface_error, interface_of, topology


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
    (["n1", "n2"], {"n2": {"cluster_address": "192.0.2.1"}}, "n2 and n1 have the same cluster_address 192.0.2.1. Set each"),
    (["n1", "n2"], {"n1": {"cluster_address": "fd00:0::1"}, "n2": {"cluster_address": "FD00::0001"}},
     "n2 and n1 have the same cluster_address FD00::0001, spelt fd00:0::1 for n1. Set each"),
    (["n1", "n2"], {"n2": {"cluster_address": "::ffff:192.0.2.1"}},
     "n2 and n1 have the same cluster_address ::ffff:192.0.2.1, spelt 192.0.2.1 for n1. Set each"),
    (["n1", "n2"], {"n2": {"cluster_address": "127.0.0.1"}},
     "n2: its address on the cluster network is 127.0.0.1, a loopback address, which no other node reaches; expected its address on the "
     "network of the training. Set cluster_address for n2"),
    (["n1", "n2"], {"n2": {"cluster_address": "127.8.0.1"}}, "127.8.0.1, a loopback address"),
    (["n1", "n2"], {"n2": {"cluster_address": "::1"}}, "::1, a loopback address"),
    (["n1", "n2"], {"n2": {"cluster_address": "::ffff:127.0.0.1"}}, "::ffff:127.0.0.1, a loopback address"),
    (["n1", "n2"], {"n2": {"ansible_host": "0.0.0.0"}}, "0.0.0.0, the unspecified address"),
    (["n1", "n2"], {"n2": {"cluster_address": "::"}}, "::, the unspecified address"),
    (["n1", "n2"], {"n2": {"cluster_address": "239.1.2.3"}}, "239.1.2.3, a multicast address"),
    (["n1", "n2"], {"n2": {"cluster_address": "ff02::1"}}, "ff02::1, a multicast address"),
])
def test_an_unclear_inventory_is_refused(group, extra, message):
    found = topology(group, hosts(**extra))
    assert message in found["errors"][0]
    assert found["nodes"] == []


def test_one_node_may_have_a_loopback_address():
    assert topology(["n1"], hosts(n1={"cluster_address": "127.0.0.1"}))["errors"] == []


def test_three_equal_addresses_are_two_errors():
    same = {"cluster_address": "192.0.2.9"}
    assert len(topology(["n1", "n2", "n3"], hosts(n1=same, n2=same, n3=same))["errors"]) == 2


def test_the_interface_is_the_one_with_the_address():
    facts = {"interfaces": ["lo", "eth0-1"],
             "lo": {"device": "lo", "ipv4": {"address": "127.0.0.1"}},
             "eth0_1": {"device": "eth0-1", "ipv4": {"address": "10.0.0.1"}, "ipv4_secondaries": [{"address": "10.0.0.2"}],
                        "ipv6": [{"address": "fd00::1"}]}}
    assert interface_of(facts, "10.0.0.2") == "eth0-1"
    assert interface_of(facts, "fd00:0::1") == "eth0-1"
    assert interface_of(facts, "10.0.0.3") == ""


FACTS = {"interfaces": ["lo", "eth0", "eth1-2", "down0"], "lo": {"ipv4": {"address": "127.0.0.1"}},
         "eth0": {"device": "eth0", "ipv4": {"address": "10.0.0.1"}, "ipv4_secondaries": [{"address": "10.0.0.2"}]},
         "eth1_2": {"device": "eth1-2", "ipv4": {"address": "192.0.2.1"}, "ipv6": [{"address": "fe80::1%eth1-2"}]}, "down0": {}}


@pytest.mark.parametrize(("address", "interface", "message"), [
    ("192.0.2.1", "eth1-2", ""), ("10.0.0.2", "eth0", ""), ("192.0.2.1", "eth0,eth1-2", ""), ("::ffff:10.0.0.1", "eth0", ""),
    ("192.0.2.1", "eth0", "eth0 carries 10.0.0.1, 10.0.0.2; 192.0.2.1 is carried by eth1-2"),
    ("192.0.2.7", "eth0", "eth0 carries 10.0.0.1, 10.0.0.2; 192.0.2.7 is carried by no interface"),
    ("10.0.0.1", "down0", "down0 carries no address; 10.0.0.1 is carried by eth0"),
    ("10.0.0.1", "bond0", "bond0 is not an interface of the node, which has lo, eth0, eth1-2, down0; 10.0.0.1 is carried by eth0"),
    ("here", "eth0", "HCCL_IF_IP is here, expected an IP address"),
])
def test_an_interface_that_does_not_carry_the_address_is_told(address, interface, message):
    assert interface_error(FACTS, address, interface) == message
