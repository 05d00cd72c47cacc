"""What changed between two results of the checks."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils._check_forms import SCHEMA

_OUT = "Correct the path in check_cluster_compare, or leave it out. Nothing has been measured or mended."


def older(path: str) -> dict[str, Any]:
    """Read an older result: ``result``, {} where it cannot be compared with; and ``error``, which says why."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"result": {}, "error": f"There is no {path} on the controller. {_OUT}"}
    except (OSError, ValueError) as error:
        return {"result": {}, "error": f"{path} cannot be read: {error}. {_OUT}"}
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        return {"result": {}, "error": f"{path} is not a result of these checks, or one of another version: found schema {schema}, expected {SCHEMA}. {_OUT}"}
    return {"result": found, "error": ""}


def _by_check(found: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, str]]:
    """By node and check what is wrong, and all that was found of it."""
    listed: dict[tuple[str, str], dict[str, str]] = {}
    for item in found["findings"]:
        one = listed.setdefault((item["node"], item["check"]), {"cause": item["cause"], "found": ""})
        one["found"] += ("; " if one["found"] else "") + item["found"]
    return listed


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what is new, gone or other since an older result: findings by node and check, and nodes."""
    old, new = _by_check(before), _by_check(now)
    lines = [f"new on {node}: {one['cause']}: {one['found']}" for (node, check), one in new.items() if (node, check) not in old]
    lines += [f"gone from {node}: {one['cause']}: {one['found']}" for (node, check), one in old.items() if (node, check) not in new]
    lines += [f"other on {node}: {one['cause']}: {one['found']}; before {old[node, check]['found']}" for (node, check), one in new.items()
              if (node, check) in old and old[node, check]["found"] != one["found"]]
    for word, some, others in (("new", now, before), ("no longer there", before, now)):
        lines += [f"node {word}: {node}" for node in some["nodes"] if node not in others["nodes"]]
    return lines
