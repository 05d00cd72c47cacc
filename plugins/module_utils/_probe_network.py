"""Judges a node's part of the hosts' network: addresses, interface, ports and firewalls."""
from __future__ import annotations

from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._topology import ip_address

Values = Mapping[str, Sequence[str]]
# How a firewall lets a node in with all its ports.
_LET_IN = {"firewalld": "firewall-cmd --permanent --zone=trusted --add-source=<address>; firewall-cmd --reload",
           "ufw": "ufw allow from <address>", "nftables": "nft insert rule <family> <table> <chain> ip saddr <address> accept",
           "iptables": "iptables -I INPUT -s <address> -j ACCEPT"}


def judge(values: Values, settings: Mapping[str, Any], job: bool) -> Iterable[Finding]:
    """Find what is wrong with the network of the host; ``job`` tells that our own unit runs, and holds its ports."""
    own = {_address(line.split()[0]) for line in values.get("address", []) if line.split()}
    address = _address(str(settings.get("address") or ""))
    if address and own and address not in own:
        others = sorted(other for other in own if other and not other.startswith(("127.", "::1", "fe80")))
        yield finding("cluster_address", f"{address}, while it has {', '.join(others) or 'none'}")
    device, state, _ = interface(values, settings)
    if state not in ("", "up", "unknown"):  # bridges of one machine and tunnels say unknown
        yield finding("interface_up", f"{device} is {state}")
    if settings.get("nfs") and "nfs_client" not in values:
        yield finding("nfs_client", "neither nfs4 in /proc/filesystems nor a module nfsv4")
    if values.get("firewall"):
        ephemeral = "".join(values.get("ephemeral", [])) or "of ip_local_port_range"
        how = [f"`{command}`" for name, command in _LET_IN.items() if any(word.startswith(name) for word in values["firewall"])]
        yield finding("firewall", ", ".join(values["firewall"]), ports=settings["port_ranges"], ephemeral=ephemeral, how=" and ".join(how) or "see its manual")
    if not job:
        yield from _ports(values, settings)


def interface(values: Values, settings: Mapping[str, Any]) -> tuple[str, str, str]:
    """Find the interface that has the node's cluster address: its name, state and MTU; "" each where that is not known."""
    address = _address(str(settings.get("address") or ""))
    for line in values.get("address", []):
        words = line.split()
        if len(words) == 2 and address and _address(words[0]) == address:
            for other in values.get("interface", []):
                parts = other.split()
                if len(parts) == 3 and parts[0] == words[1].split("@")[0]:
                    return parts[0], parts[1], parts[2]
    return "", "", ""


def _ports(values: Values, settings: Mapping[str, Any]) -> Iterable[Finding]:
    for line in sorted(set(values.get("listen", []))):
        words = line.split(None, 2)
        if not words or not words[0].isdecimal():
            continue
        port, pid, name = [*words, "-", "-"][:3]
        who = f"{name} (pid {pid})" if pid != "-" else "an unknown process"
        entry = next((name for name, ports in settings["ports"].items() if _within(port, str(ports))), "")
        # Of the master's range the first is what a launch takes; the others are alternatives to it.
        if settings["master"] and (entry == "supervisor" or (entry == "master" and port == str(settings["ports"]["master"]).split("-")[0])):
            yield finding("master_port", f"by {who}", port=port, entry=entry)
        elif entry == "hccl":
            yield finding("hccl_port", f"{port} by {who}", hccl_ports=settings["ports"]["hccl"])


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def ephemeral_samples(values: Values) -> list[int]:
    """Pick three ports of the kernel's range for outgoing connections, a quarter, a half and three quarters through."""
    low, _, high = "".join(values.get("ephemeral", [])[:1]).partition("-")
    return [int(low) + (int(high) - int(low)) * part // 4 for part in (1, 2, 3)] if low.isdecimal() and high.isdecimal() else []


def _within(port: str, range_: str) -> bool:
    low, _, high = range_.partition("-")
    # A list that cannot be read is refused by itself.
    return low.isdecimal() and (high or low).isdecimal() and int(low) <= int(port) <= int(high or low)
