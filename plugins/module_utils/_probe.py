"""Judges what the preflight probe saw on a node; :mod:`_findings` puts the findings of all nodes together."""
from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils import (
    _npu_smi,
    _npu_smi_more,
    _probe_fabric,
    _probe_host,
    _probe_kernel_log,
    _probe_network,
    _probe_npus,
    _probe_versions,
    _unknown,
)
from ansible_collections.ascend.cluster.plugins.module_utils._checks import RUNNING, Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._probe_host import one_line

BEGIN = "ASCEND-PROBE 1 BEGIN"
END = "ASCEND-PROBE 1 END"


def parse(output: str) -> dict[str, list[str]]:
    """Read the probe's key=value lines; banners around the two markers do not matter.

    Raises:
        ValueError: when the markers are not there, so the probe did not run to its end.
    """
    lines = [line.rstrip("\r") for line in output.split("\n")]
    if BEGIN not in lines or END not in lines[lines.index(BEGIN):]:
        raise ValueError("the probe did not run to its end")
    start = lines.index(BEGIN)
    values: dict[str, list[str]] = {}
    for line in lines[start + 1:lines.index(END, start)]:
        key, separator, value = line.partition("=")
        if separator:
            values.setdefault(key, []).append(value)
    return values


def no_answer(result: Mapping[str, Any], host: str) -> Finding:
    """Word why a node gave no answer: unreachable, no end, no right to become root, or no shell to run the probe."""
    message = one_line(result.get("msg") or "")
    if message.startswith("Task failed: "):
        message = message[len("Task failed: "):]
    if result.get("unreachable"):
        message = message.replace("Failed to connect to the host via ssh: ", "")
        return finding("reachable", message or "no message", host=host)
    if result.get("timedout"):
        return finding("probe_ended", f"none within {result['timedout'].get('period')} s" if isinstance(result["timedout"], dict) else message, host=host)
    text = " ".join(one_line(result.get(name) or "") for name in ("stderr", "stdout"))
    text = (message if message and message != "non-zero return code" else "") or text.strip() or "nothing"
    if "password" in text or "sudo" in text:
        return finding("become_root", text)
    return finding("probe_ran", f"return code {result.get('rc', 'none')}, {text[:300]}", host=host)


def node(result: Mapping[str, Any], settings: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Judge one node from the result of the task that ran the probe.

    Args:
        result: what ``ansible.builtin.raw`` returned (``stdout``, ``rc``, ``msg``, ``unreachable``).
        settings: ``min_python``, ``supported_os``, ``supported_arch``, ``min_free_gib``, ``min_cann_free_gib``,
            ``workspace_path``, ``cann_path``, ``driver_info``, ``nproc_per_node``, ``ports`` (cluster_ports), ``port_ranges`` (all of them in
            one text), ``address`` (the node's cluster address or ""), ``master`` (whether this node is it), ``nfs`` (whether
            the nodes are going to share by NFS), ``platform`` (node_base_platform), ``precision`` (of the plan),
            ``kernels_src`` (the archive of kernels, "" where unknown), ``max_npu_memory_used_percent``, ``user`` (who
            trains), ``unit`` (the training's systemd unit), ``nodes`` (their number), ``memory_gib_per_rank`` (of the host), ``versions``
            (to be installed: ``cann``, ``torch_npu``, ``python``) and ``version_tables`` (see :func:`_probe_versions.pairs`).
        host: its name in the inventory.

    Returns:
        ``findings``, ``job`` (systemd's state of the training unit; "unknown" when it cannot be told) and ``facts``
        (``npus``, ``npu_names``, ``unknown`` (what could not be looked at, in words), ``driver``, ``python``,
        ``clock_offset`` in seconds, ``user_ids`` uid:gid of the training user where there is one; all absent without
        an answer).
    """
    try:
        values = parse(str(result.get("stdout") or ""))
    except ValueError:
        return {"findings": [no_answer(result, host)], "job": "unknown", "facts": {}}
    state = "".join(values.get("unit_state", [])) or "unknown"
    job = state in RUNNING
    smi, unread = _probe_npus.read(values)
    fabric, risen = _probe_fabric.read(values)
    findings = [*_probe_host.judge(values, settings, job), *_probe_npus.judge(values, settings, smi, unread, state, job),
                *_probe_network.judge(values, settings, job), *_probe_versions.judge(values, settings), *_probe_kernel_log.judge(values),
                *_probe_fabric.judge(values, settings, fabric, risen)]
    date = "".join(values.get("date", []))
    names = sorted({chip["name"] for chip in smi["chips"]})
    total = _probe_host.number(values, "meminfo", "MemTotal")
    facts: dict[str, Any] = {
        "npus": sum(_npu_smi.usable(chip) for chip in smi["chips"]), "npu_names": names, "npu_name": ", ".join(names),
        "torch_devices": _npu_smi_more.torch_devices(values.get("npu_map", [])), "driver": _probe_versions.version_of(values, "driver_info"),
        "firmware": _probe_versions.version_of(values, "firmware_info"), "python": one_line(" ".join(values.get("python_version", []))),
        "python_path": "".join(values.get("python", [])[:1]), "launched": "workspace_used" in values,
        "arch": "".join(values.get("arch", [])), "kernel": "".join(values.get("kernel", [])), "system": _probe_host.os_name(values),
        "interface": _probe_network.interface(values, settings)[0], "mtu": _probe_network.interface(values, settings)[2],
        "memory_gib": round(total / (1 << 20)) if total else "",
        "processors": "".join(values.get("processors", [])), "fabric": _probe_fabric.facts(fabric, values),
        "hccn_tool": "".join(values.get("hccn_tool", [])), "firewalls": values.get("firewall", []), "ephemeral": "".join(values.get("ephemeral", [])[:1]),
        "low_limits": {name: wanted for name, _, wanted in _probe_host.low_limits(values, settings)},
        "unknown": _unknown.of_node(values, settings, smi, fabric),
        "checkpoint_free_bytes": (_probe_host.number(values, "checkpoints_free_kib") or 0) * 1024,
        "checkpoint_shared": _probe_host.is_shared("".join(values.get("checkpoints_filesystem", []))),
        "ephemeral_samples": _probe_network.ephemeral_samples(values),
    }
    sent = "".join(values.get("sent", []))
    if date.isdigit() and sent.isdigit():  # skew plus the time that the login took
        facts["clock_offset"] = int(date) - int(sent)
    if "user_ids" in values:
        facts["user_ids"] = values["user_ids"][0]
    return {"findings": findings, "job": state, "facts": facts}
