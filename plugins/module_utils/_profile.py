"""A golden profile: what the nodes and NPUs of a good cluster have in common, kept in a file that others are held against.

    {"profile": 1, "time": "2026-11-26T10:00:00Z", "nodes": {"driver": "24.1.rc1", …}, "npus": {"tls": 0, …}}

Its attributes are those that :mod:`_compare` compares between nodes; one may be taken out of the file, and is not held against then.
"""
from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils._checks import CHECKS, Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._compare import MEMORY_SHARE, OF_NODES, OF_NPUS, Found, Nodes, most_npus, unlike
from ansible_collections.ascend.cluster.plugins.module_utils._probe_fabric import listed

VERSION = 1
_NODES = {"npus": "npu_count_equal", **OF_NODES, "memory_gib": "memory_equal"}
_WRITE = "Write it anew from a good cluster: `ansible-playbook playbooks/check_cluster.yml -e check_cluster_profile_write=true`."


def make(nodes: Nodes, time: str) -> dict[str, Any]:
    """Make the profile of a cluster: of each attribute the value that most have; what nobody tells is left out."""
    told: dict[str, list[Any]] = {name: [data["facts"][name] for data in nodes.values() if data["facts"].get(name) not in (None, "")] for name in _NODES}
    of_npus = {name: most_npus(nodes, name)[0] for name in OF_NPUS}
    return {"profile": VERSION, "time": time, "nodes": {name: statistics.mode(values) for name, values in told.items() if values},
            "npus": {name: value for name, value in of_npus.items() if value != ""}}


def read(text: str) -> dict[str, Any]:
    """Read a profile.

    Raises:
        ValueError: it is none, or one of another version.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"found {text[:40]!r}, expected JSON ({error})") from None
    if not isinstance(found, dict) or "profile" not in found:
        raise ValueError(f"found JSON without a version, expected \"profile\": {VERSION}")
    if found["profile"] != VERSION:
        raise ValueError(f"found a profile of version {found['profile']}, expected version {VERSION}")
    for part, known in (("nodes", _NODES), ("npus", OF_NPUS)):
        values = found.get(part)
        if not isinstance(values, dict) or set(values) - set(known):
            raise ValueError(f"found {json.dumps(values)} as {part}, expected values of {', '.join(known)}")
    return found


def load(path: str) -> tuple[dict[str, Any], list[str]]:
    """Read the file of a profile on the controller: the profile, {} where it cannot be used; and what is wrong with it."""
    try:
        return read(Path(path).read_text(encoding="utf-8")), []
    except FileNotFoundError:
        return {}, [f"check_cluster_profile: there is no {path} on the controller. Correct the path, or write the profile: {_WRITE.partition(': ')[2]}"]
    except (OSError, ValueError) as error:
        return {}, [f"check_cluster_profile: {path} cannot be used: {error}. {_WRITE}"]


def hold(nodes: Nodes, profile: Mapping[str, Any], path: str) -> Found:
    """Find by node what is not as the profile says; how bad it is, is said by the check that compares the same between nodes."""
    found: Found = {host: [] for host in nodes}
    for name, wanted in profile["nodes"].items():
        for host, data in nodes.items():
            value = data["facts"].get(name)
            if value not in (None, "") and _differs(name, value, wanted):
                found[host].append(_finding(_NODES[name], str(value), wanted, path))
    for name, wanted in profile["npus"].items():
        for (host, value), devices in unlike(nodes, name, wanted).items():
            found[host].append(_finding(OF_NPUS[name], f"NPU {listed(devices)}: {value}", wanted, path))
    return found


def _differs(name: str, value: Any, wanted: Any) -> bool:
    if name == "memory_gib":
        return bool(value < float(wanted) * MEMORY_SHARE)
    return str(value) != str(wanted)


def _finding(check: str, shown: str, wanted: Any, path: str) -> Finding:
    compared = CHECKS[check]
    return finding("profile_failure" if compared.severity == "failure" else "profile_warning", shown,
                   attribute=compared.cause.partition(" differs")[0], usual=wanted, profile=path, remedy=compared.remedy.format(usual=wanted))
