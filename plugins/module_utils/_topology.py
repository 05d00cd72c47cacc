"""Node ranks and addresses of a cluster, from the inventory alone."""
from __future__ import annotations

import ipaddress
from typing import Any, Mapping, Sequence, Union

Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


def ip_address(text: str) -> Address:
    """Read an address, so that two spellings of one are equal; an IPv4 address that IPv6 wraps is that IPv4 address.

    Raises:
        ValueError: when it is none.
    """
    address = ipaddress.ip_address(text.split("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _not_for_peers(address: Address) -> str:
    """Say why no other node reaches an address; "" when one may."""
    kinds = {"a loopback address": address.is_loopback, "the unspecified address": address.is_unspecified,
             "a multicast address": address.is_multicast}
    return next((kind for kind, true in kinds.items() if true), "")


def topology(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Order the hosts of a cluster by rank and name its master.

    The order of the group gives the ranks 0..n-1; where any host sets ``node_rank``, every
    host without one takes the lowest rank that is free, in the group's order.

    Args:
        hosts: host names in the group's order.
        hostvars: variables of each host; read are ``node_rank``, ``cluster_address`` and ``ansible_host``.

    Returns:
        ``nodes`` (list of name, rank, address in the order of ranks), ``ranks`` (name to rank),
        ``master``, ``master_addr`` and ``errors`` (messages; the rest is empty when there are any).
    """
    empty = {"nodes": [], "ranks": {}, "master": "", "master_addr": ""}
    if not hosts:
        return {**empty, "errors": [
            "The group of nodes is empty: expected at least one host in the inventory group ascend_nodes. Add the nodes to it, or "
            "map your own group onto it with `children:` (inventory/ascend/hosts.yml shows how)."]}

    # Once for each host: its variables are put together anew every time.
    known = {host: hostvars[host] for host in hosts}
    errors: list[str] = []
    ranks: dict[str, int] = {}
    for host in hosts:
        wanted = known[host].get("node_rank")
        if wanted is None:
            continue
        if not str(wanted).isdigit():
            errors.append(f"{host}: node_rank is {wanted!r}, expected a whole number from 0 to {len(hosts) - 1}. "
                          "Edit node_rank in the inventory.")
            continue
        taken = [name for name, rank in ranks.items() if rank == int(wanted)]
        if taken:
            errors.append(f"node_rank {wanted} is given to {taken[0]} and to {host}: each node needs its own. "
                          "Edit node_rank in the inventory.")
        ranks[host] = int(wanted)
    free = (rank for rank in range(len(hosts)) if rank not in set(ranks.values()))
    for host in hosts:
        if host not in ranks and not errors:
            ranks[host] = next(free)
    if not errors and sorted(ranks.values()) != list(range(len(hosts))):
        found = ", ".join(f"{host}={rank}" for host, rank in sorted(ranks.items(), key=lambda item: item[1]))
        errors.append(f"The node ranks have gaps: found {found}, expected 0 to {len(hosts) - 1} without a gap. "
                      "Edit node_rank in the inventory, or remove it to rank the nodes in the group's order.")

    addresses: dict[str, str] = {}
    owners: dict[Address, str] = {}
    for host in hosts:
        variables = known[host]
        address = str(variables.get("cluster_address") or variables.get("ansible_host") or host)
        try:
            parsed = ip_address(address)
        except ValueError:
            errors.append(f"{host}: its address on the cluster network is {address!r}, expected an IP address. "
                          f"Set cluster_address for {host} in the inventory.")
            continue
        kind = _not_for_peers(parsed) if len(hosts) > 1 else ""
        other = owners.setdefault(parsed, host)
        if kind:
            errors.append(f"{host}: its address on the cluster network is {address}, {kind}, which no other node reaches; expected its "
                          f"address on the network of the training. Set cluster_address for {host} in the inventory.")
        elif other != host:
            spelt = "" if addresses[other] == address else f", spelt {addresses[other]} for {other}"
            errors.append(f"{host} and {other} have the same cluster_address {address}{spelt}. "
                          "Set each node's own cluster_address in the inventory.")
        addresses[host] = address
    if errors:
        return {**empty, "errors": errors}

    nodes = [{"name": host, "rank": ranks[host], "address": addresses[host]}
             for host in sorted(hosts, key=lambda name: ranks[name])]
    return {"nodes": nodes, "ranks": ranks, "master": nodes[0]["name"], "master_addr": nodes[0]["address"], "errors": []}


def _addresses(facts: Mapping[str, Any], name: str) -> list[str]:
    """List the addresses of an interface by a node's network facts."""
    # ansible-core names the fact of eth0-1 `eth0_1`; its `device` has the real name.
    interface = facts.get(str(name).replace("-", "_"), {})
    families: list[Mapping[str, Any]] = [interface.get("ipv4", {}), *interface.get("ipv4_secondaries", []), *interface.get("ipv6", [])]
    return [str(family["address"]) for family in families if "address" in family]


def interface_of(facts: Mapping[str, Any], address: str) -> str:
    """Name the interface that carries `address` by a node's network facts, "" when none does."""
    wanted = ip_address(address)
    for name in facts.get("interfaces", []):
        if any(ip_address(other) == wanted for other in _addresses(facts, name)):
            return str(facts.get(str(name).replace("-", "_"), {}).get("device", name))
    return ""


def interface_error(facts: Mapping[str, Any], address: str, interface: str) -> str:
    """Say what is wrong when gloo is to talk through `interface` and HCCL through `address` of the same node.

    Returns:
        "" when the interface carries the address; else what it carries, and which interface carries the address.
    """
    # gloo takes several interfaces, separated by commas.
    carried = [address for name in interface.split(",") for address in _addresses(facts, name)]
    try:
        if any(ip_address(other) == ip_address(address) for other in carried):
            return ""
        owner = interface_of(facts, address)
    except ValueError:
        return f"HCCL_IF_IP is {address}, expected an IP address"
    has = f"carries {', '.join(carried)}" if carried else "carries no address" if interface in facts.get("interfaces", []) else (
        f"is not an interface of the node, which has {', '.join(map(str, facts.get('interfaces', []))) or 'none'}")
    return f"{interface} {has}; {address} is carried by {owner or 'no interface'}"
