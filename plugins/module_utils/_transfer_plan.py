"""Who fetches files from whom, and who acts for all at a source. Each host's variables are looked at once, however many there are."""
from __future__ import annotations

from typing import Any, Mapping, Sequence

_INCOMING = "__node_transfer_incoming"
_GIVEN = "__node_transfer_given"


def plan(hosts: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settle who does what.

    Args:
        hosts: those that take part, in their order.
        hostvars: variables of hosts. What a host fetches is its ``__node_transfer_incoming``: list of ``source`` and ``files``.
        nodes: ``name`` and ``address`` of the cluster's nodes.

    Returns:
        ``fetch``: of each host that fetches, a list of ``source``, its ``address``, ``port`` (as the inventory has it), ``fixed`` (whether the
        site set that port for this use) and ``actor``, the host that acts for all who fetch there: the first of them.
        ``give``: of each of those, a list of ``source`` and ``receivers``.
    """
    addresses = {str(node["name"]): str(node["address"]) for node in nodes}
    fetch: dict[str, list[dict[str, Any]]] = {}
    give: dict[str, list[dict[str, Any]]] = {}
    known: dict[str, dict[str, Any]] = {}
    receivers: dict[str, list[str]] = {}
    for host in hosts:
        for item in hostvars[host].get(_INCOMING) or []:
            source = str(item["source"])
            if source not in known:
                variables = hostvars[source]
                fixed = int(variables.get("node_transfer_ssh_port") or 0)
                known[source] = {
                    "source": source, "actor": host, "fixed": bool(fixed),
                    "address": addresses.get(source) or str(variables.get("cluster_address") or variables.get("ansible_host") or source),
                    "port": fixed or int(variables.get("ansible_port") or variables.get("ansible_ssh_port") or 22)}
                receivers[source] = []
                give.setdefault(host, []).append({"source": source, "receivers": receivers[source]})
            receivers[source].append(host)
            fetch.setdefault(host, []).append(known[source])
    return {"fetch": fetch, "give": give}


def keys(receivers: Sequence[str], hostvars: Mapping[str, Mapping[str, Any]], source: str) -> list[dict[str, Any]]:
    """List what a source lets in: ``key``, ``address`` and ``files`` of each receiver. One that could not make a key is left out."""
    found = []
    for host in receivers:
        variables = hostvars[host]
        key = (variables.get("__node_transfer_key") or {}).get("public_key")
        if key:
            found += [{"key": key, "address": variables["__node_transfer_from"], "files": list(item["files"])}
                      for item in variables[_INCOMING] if item["source"] == source]
    return found


def sources(fetch: Sequence[Mapping[str, Any]], hostvars: Mapping[str, Mapping[str, Any]], incoming: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """List the sources of a host as it fetches from them: ``name``, ``address``, ``port``, ``host_keys`` and ``files``.

    The port is that of the source's own ssh server as Ansible's connection came in there, unless the site set one for this use.
    """
    found = []
    for item, wanted in zip(fetch, incoming):
        results = (hostvars[str(item["actor"])].get(_GIVEN) or {}).get("results") or []
        told: Mapping[str, Any] = next((result for result in results if result["item"]["source"] == item["source"]), {})
        found.append({"name": item["source"], "address": item["address"], "host_keys": list(told.get("host_keys") or []), "files": list(wanted["files"]),
                      "port": item["port"] if item["fixed"] else told.get("port") or item["port"]})
    return found
