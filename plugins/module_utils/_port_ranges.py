"""Sets of ports in the kernel's notation, and what is wrong with cluster_ports."""
from __future__ import annotations

import re
from typing import Any, Iterable, Mapping

#: Starts of a run after which the first port is taken again (PORTS of roles/pretrain/files/supervise/config.py).
MASTER_PORTS = 16
# What cluster_ports names.
_ENTRIES = ("master", "supervisor", "hccl", "device")
_WHERE = "Correct cluster_ports in group_vars/all/cluster.yml (or where the inventory sets it); roles/cluster/defaults/main.yml shows it whole."


def port_ranges(texts: str | Iterable[str]) -> str:
    """Unite sets of ports: ``["8000-8015,700", "701"]`` gives ``700-701,8000-8015``.

    The result is as the kernel prints ``net.ipv4.ip_local_reserved_ports``: ascending, neighbours joined.

    Raises:
        ValueError: for anything but numbers and ranges of 0 to 65535.
    """
    words = " ".join([texts] if isinstance(texts, str) else texts).replace(",", " ").split()
    ports: set[int] = set()
    for word in words:
        low, dash, high = word.partition("-")
        high = high if dash else low
        if not low.isdigit() or not high.isdigit() or not int(low) <= int(high) <= 65535:
            raise ValueError(f"{word!r} is no port or range of ports: expected numbers like 700 or 8000-8015")
        ports.update(range(int(low), int(high) + 1))
    ranges: list[tuple[int, int]] = []
    for port in sorted(ports):
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1] = (ranges[-1][0], port)
        else:
            ranges.append((port, port))
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ranges)


def port_errors(ports: Mapping[str, Any]) -> list[str]:
    """Say what is wrong with the list of ports, cluster_ports; [] where it can be used."""
    if set(ports) != set(_ENTRIES):
        said = [f"lacks {', '.join(missing)}" for missing in [[name for name in _ENTRIES if name not in ports]] if missing]
        said += [f"has {', '.join(more)}, which nobody reads" for more in [[str(name) for name in ports if name not in _ENTRIES]] if more]
        return [f"cluster_ports {' and '.join(said)}: expected {', '.join(_ENTRIES)}, the whole list even where one is changed. {_WHERE}"]
    errors: list[str] = []
    owners: dict[int, str] = {}
    for name in _ENTRIES:
        text = str(ports[name])
        if not re.fullmatch(r"\d+(-\d+)?", text):
            errors.append(f"{name} of cluster_ports is {text!r}, expected a port or one range of ports (LOW-HIGH). {_WHERE}")
            continue
        low, high = int(text.split("-")[0]), int(text.split("-")[-1])
        # The training user may listen from 1024 on.
        if not 1024 <= low <= high <= 65535:
            errors.append(f"{name} of cluster_ports is {text}, expected ports of 1024 to 65535, the lower one first. {_WHERE}")
            continue
        if name == "master" and high - low + 1 < MASTER_PORTS:
            errors.append(f"master of cluster_ports is {text}, expected at least {MASTER_PORTS} ports, like {low}-{low + MASTER_PORTS - 1}: each start "
                          f"of a run after a failure takes the next one. {_WHERE}")
        taken = next((owners[port] for port in range(low, high + 1) if port in owners), "")
        if taken:
            errors.append(f"{name} of cluster_ports is {text}, which {taken} ({ports[taken]}) has in part, too: expected ports of its own for each. {_WHERE}")
        owners.update(dict.fromkeys(range(low, high + 1), name))
    return errors
