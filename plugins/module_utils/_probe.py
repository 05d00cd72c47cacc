"""Judges what the preflight probe saw on the nodes, and words it for a person.

A *finding* is a mapping of ``cause`` (what is wrong), ``found`` (what this node shows), ``expected`` and ``remedy``
(with the variable or command). Findings that differ in ``found`` only are folded over the nodes that have them.
"""
from __future__ import annotations

import ipaddress
import statistics
from typing import Any, Dict, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _npu_smi

BEGIN = "ASCEND-PROBE 1 BEGIN"
END = "ASCEND-PROBE 1 END"
RUNNING = ("active", "activating", "deactivating", "reloading")
_GIB = 1024 * 1024  # KiB
_NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb2", "lustre", "gpfs", "fuseblk", "ceph", "glusterfs", "beegfs")

Finding = Dict[str, str]


def finding(cause: str, found: str, expected: str, remedy: str) -> Finding:
    """Make a finding; ``remedy`` is one or more whole sentences."""
    return {"cause": cause, "found": found, "expected": expected, "remedy": remedy}


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


def _version(text: str) -> tuple[int, ...]:
    parts = text.strip().split(".")
    return tuple(int(part) for part in parts) if parts and all(part.isdigit() for part in parts) else ()


def _one_line(text: str) -> str:
    return " ".join(str(text).split())


def no_answer(result: Mapping[str, Any], host: str) -> Finding:
    """Word why a node gave no answer: unreachable, no right to become root, or no shell to run the probe."""
    message = _one_line(result.get("msg") or "")
    if message.startswith("Task failed: "):
        message = message[len("Task failed: "):]
    if result.get("unreachable"):
        message = message.replace("Failed to connect to the host via ssh: ", "")
        return finding(
            "The node cannot be reached", message or "no message", "a login by ssh",
            f"Try `ansible {host} -m ansible.builtin.raw -a true`; check ansible_host, ansible_port, ansible_user, "
            "the key and known_hosts.")
    text = " ".join(_one_line(result.get(name) or "") for name in ("stderr", "stdout"))
    text = (message if message and message != "non-zero return code" else "") or text.strip() or "nothing"
    if "password" in text or "sudo" in text:
        return finding(
            "The login user may not become root", text, "sudo without a question",
            "Run with --ask-become-pass, set ansible_become_password (vaulted), or allow sudo for ansible_user.")
    return finding(
        "The node did not run the probe", f"return code {result.get('rc', 'none')}, {text[:300]}",
        "a POSIX shell and coreutils",
        f"Try `ansible {host} -b -m ansible.builtin.raw -a 'uname -a'`.")


def _python(values: Mapping[str, list[str]], settings: Mapping[str, Any]) -> Iterable[Finding]:
    least = str(settings["min_python"])
    remedy = ("Install a newer Python on the node beside the system's own (on openEuler 20.03 and Kylin V10, which ship 3.7, "
              "for example a Miniforge in /opt), and set ansible_python_interpreter to its path in the inventory.")
    expected = f"Python {least} or newer (preflight_min_python)"
    configured = values.get("python_configured", [""])[0]
    if "python" not in values:
        yield finding("No Python for Ansible", f"no {configured}" if configured else "none on the PATH", expected,
                      "Correct ansible_python_interpreter in the inventory." if configured else remedy)
        return
    path, text = values["python"][0], _one_line(" ".join(values.get("python_version", [])))
    if values.get("python_rc") != ["0"] or not _version(text):
        yield finding("Python does not run", f"{path}: {text[:200]}", expected, remedy)
    elif _version(text) < _version(least):
        yield finding("Python is too old for Ansible", f"{text} ({path})", expected, remedy)


def _os_words(values: Mapping[str, list[str]]) -> list[str]:
    text = " ".join(values.get("os_ID", []) + values.get("os_ID_LIKE", []))
    return text.replace('"', " ").replace("'", " ").lower().split()


def _system(values: Mapping[str, list[str]], settings: Mapping[str, Any]) -> Iterable[Finding]:
    if values.get("uid") != ["0"]:
        yield finding("The probe did not run as root", f"uid {''.join(values.get('uid', ['unknown']))}", "uid 0",
                      "Allow sudo for ansible_user, or log in as root.")
    pretty = "".join(values.get("os_PRETTY_NAME", values.get("os_ID", ["no /etc/os-release"]))).strip("\"'")
    supported = [str(name).lower() for name in settings["supported_os"]]
    if not set(_os_words(values)) & set(supported):
        yield finding("The operating system is not supported", pretty, "one of " + ", ".join(supported),
                      "Use another system, or add its os-release ID to preflight_supported_os and a vars file to role node_base.")
    arch = "".join(values.get("arch", ["unknown"]))
    if arch not in settings["supported_arch"]:
        yield finding("The architecture is not supported", arch, " or ".join(settings["supported_arch"]),
                      "CANN and torch_npu are built for these only (preflight_supported_arch).")
    if "systemd" not in values:
        yield finding("systemd does not run", "no /run/systemd/system", "systemd as init",
                      "The training runs as a systemd unit; use a node, or a container, that boots systemd.")


def _space(values: Mapping[str, list[str]], settings: Mapping[str, Any], job: bool) -> Iterable[Finding]:
    # What a disk holds once there were launches is mostly checkpoints: that is no reason to refuse to follow or resume.
    used = job or "workspace_used" in values
    wanted = [("workspace", float(settings["min_free_gib"]), "cluster_workspace", "preflight_min_free_gib")]
    if "cann_installed" not in values:
        wanted.append(("cann", float(settings["min_cann_free_gib"]), "cann_toolkit_install_path",
                       "preflight_min_cann_free_gib"))
    for name, least, place, setting in wanted:
        parent = "".join(values.get(f"{name}_parent", ["?"]))
        free = "".join(values.get(f"{name}_free_kib", []))
        path = settings[f"{name}_path"]
        if not free.isdigit():
            yield finding(f"The free space for {path} is unknown", f"df said nothing about {parent} in 30 s",
                          f"at least {least:g} GiB", f"Run `df -P {parent}` on the node; a dead mount hangs there.")
        elif int(free) / _GIB < least and not (used and name == "workspace"):
            yield finding(f"Too little free space for {path}", f"{int(free) / _GIB:.1f} GiB at {parent}",
                          f"at least {least:g} GiB ({setting})", f"Free some, or point {place} at a larger disk.")
    kind = "".join(values.get("cann_filesystem", []))
    if "cann_installed" not in values and kind.lower().startswith(_NETWORK_FILESYSTEMS):
        yield finding(f"{settings['cann_path']} lies on shared storage", kind, "a local disk",
                      "CANN's file locks do not work there; set cann_toolkit_install_path to a local disk.")


def _hardware(values: Mapping[str, list[str]], settings: Mapping[str, Any], smi: Mapping[str, Any],
              job: bool) -> Iterable[Finding]:
    if not any(line.startswith("Version=") for line in values.get("driver_info", [])):
        yield finding("The NPU driver is not installed", f"no Version= in {settings['driver_info']}", "an installed driver",
                      "Install the vendor's driver and firmware (HDK), and reboot.")
    count = int(settings["nproc_per_node"])
    tool = "".join(values.get("npu_smi", []))
    if not tool:
        yield finding("npu-smi is not installed", "none on the PATH, in /usr/local/bin or /usr/local/sbin",
                      "npu-smi, which comes with the driver", "Install the vendor's driver and firmware (HDK).")
        return
    code = "".join(values.get("npu_smi_rc", ["unknown"]))
    if code != "0" or not smi["chips"]:
        said = _one_line(" ".join(values.get("npu_smi_line", [])))[:200]
        yield finding("npu-smi shows no NPU", f"return code {code}: {said or 'no output'}", f"{count} NPUs",
                      "Run `npu-smi info` on the node; after 30 s it counts as stuck (return code 124). "
                      "Check that driver and firmware fit, and `dmesg`.")
        return
    for chip in smi["chips"]:
        if not _npu_smi.usable(chip):
            yield finding("An NPU is not healthy", f"NPU {chip['npu']} chip {chip['chip']} is {chip['health']}",
                          " or ".join(_npu_smi.USABLE), "Run `npu-smi info -t health -i <NPU>`; reset or replace it.")
    usable = sum(_npu_smi.usable(chip) for chip in smi["chips"])
    if usable < count:
        yield finding("Too few NPUs", f"{usable} usable of {len(smi['chips'])}", f"at least {count} (plan_nproc_per_node)",
                      "Repair the node, take it out of the inventory group, or lower plan_nproc_per_node for all nodes.")
    if not job and smi["processes"]:
        users = sorted({f"{process['name']} (pid {process['pid']})" for process in smi["processes"]})
        npus = sorted({process["npu"] for process in smi["processes"]})
        yield finding("NPUs are in use", f"NPU {', '.join(map(str, npus))} by {', '.join(users[:4])}"
                      + (" …" if len(users) > 4 else ""), "idle NPUs", "Stop these processes, or wait for them.")


def _network(values: Mapping[str, list[str]], settings: Mapping[str, Any], job: bool) -> Iterable[Finding]:
    own = {_address(line.split()[0]) for line in values.get("address", []) if line.split()}
    address = _address(str(settings.get("address") or ""))
    if address and own and address not in own:
        others = sorted(other for other in own if other and not other.startswith(("127.", "::1", "fe80")))
        yield finding("cluster_address is not an address of the node", f"{address}, while it has {', '.join(others) or 'none'}",
                      "its address on the network of the training", "Set cluster_address for the node in the inventory.")
    if settings.get("nfs") and "nfs_client" not in values:
        yield finding("The kernel has no NFS client", "neither nfs4 in /proc/filesystems nor a module nfsv4", "NFS 4 (data_share_mode is nfs)",
                      "Install the modules of the running kernel, or set data_share_mode to copy.")
    if job:
        return
    master = str(settings.get("master_port") or "")
    for line in sorted(set(values.get("listen", []))):
        words = line.split(None, 2)
        if not words or not words[0].isdecimal():
            continue
        port, pid, name = [*words, "-", "-"][:3]
        who = f"{name} (pid {pid})" if pid != "-" else "an unknown process"
        if port == master:
            yield finding(f"The master port {port} is in use", f"by {who}", "a free port",
                          "Stop that process, or set pretrain_master_port to a free port.")
        elif _within(port, settings["hccl_ports"]):
            yield finding("A port of HCCL is in use", f"{port} by {who}",
                          f"{settings['hccl_ports']} to be free (preflight_hccl_ports)",
                          "Stop that process, or move HCCL_IF_BASE_PORT and preflight_hccl_ports.")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.split("%")[0]))
    except ValueError:
        return ""


def _within(port: str, ranges: str) -> bool:
    for word in str(ranges).replace(",", " ").split():
        low, _, high = word.partition("-")
        if int(low) <= int(port) <= int(high or low):
            return True
    return False


def node(result: Mapping[str, Any], settings: Mapping[str, Any], host: str) -> dict[str, Any]:
    """Judge one node from the result of the task that ran the probe.

    Args:
        result: what ``ansible.builtin.raw`` returned (``stdout``, ``rc``, ``msg``, ``unreachable``).
        settings: ``min_python``, ``supported_os``, ``supported_arch``, ``min_free_gib``, ``min_cann_free_gib``,
            ``workspace_path``, ``cann_path``, ``driver_info``, ``nproc_per_node``, ``hccl_ports`` ("60000-60031"),
            ``address`` (the node's cluster address or ""), ``master_port`` (on the master, else ""), ``nfs`` (whether
            the nodes are going to share by NFS).
        host: its name in the inventory.

    Returns:
        ``findings``, ``job`` (systemd's state of the training unit; "unknown" when it cannot be told) and ``facts``
        (``npus``, ``npu_names``, ``driver``, ``python``, ``clock_offset`` in seconds, ``user_ids`` uid:gid of
        the training user where there is one; all absent without an answer).
    """
    try:
        values = parse(str(result.get("stdout") or ""))
    except ValueError:
        return {"findings": [no_answer(result, host)], "job": "unknown", "facts": {}}
    state = "".join(values.get("unit_state", [])) or "unknown"
    job = state in RUNNING
    smi = _npu_smi.parse("\n".join(values.get("npu_smi_line", [])))
    findings = [*_python(values, settings), *_system(values, settings), *_space(values, settings, job),
                *_hardware(values, settings, smi, job), *_network(values, settings, job)]
    driver = [line.partition("=")[2].strip() for line in values.get("driver_info", []) if line.startswith("Version=")]
    date = "".join(values.get("date", []))
    facts: dict[str, Any] = {
        "npus": sum(_npu_smi.usable(chip) for chip in smi["chips"]), "npu_names": sorted({c["name"] for c in smi["chips"]}),
        "driver": driver[0] if driver else "", "python": _one_line(" ".join(values.get("python_version", []))),
        "arch": "".join(values.get("arch", [])),
    }
    sent = "".join(values.get("sent", []))
    if date.isdigit() and sent.isdigit():  # skew plus the time that the login took
        facts["clock_offset"] = int(date) - int(sent)
    if "user_ids" in values:
        facts["user_ids"] = values["user_ids"][0]
    return {"findings": findings, "job": state, "facts": facts}


def _between_nodes(nodes: Mapping[str, Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, list[Finding]]:
    """Find what is wrong only in comparison: counts of NPUs, driver versions, clocks."""
    found: dict[str, list[Finding]] = {host: [] for host in nodes}
    count = int(settings["nproc_per_node"])

    def odd(name: str, hosts: Sequence[str], cause: str, expected: str, remedy: str) -> None:
        values = [nodes[host]["facts"][name] for host in hosts]
        if len(set(values)) > 1:
            usual = statistics.mode(values)
            for host, value in zip(hosts, values):
                if value != usual:
                    found[host].append(finding(cause, str(value), f"{usual}, as on {values.count(usual)} of "
                                               f"{len(values)} nodes{expected}", remedy))

    odd("npus", [host for host in nodes if nodes[host]["facts"].get("npus", 0) >= count],
        "The number of usable NPUs differs between the nodes", "",
        "Repair the node, or take it out of the inventory group: every node starts plan_nproc_per_node ranks.")
    odd("driver", [host for host in nodes if nodes[host]["facts"].get("driver")],
        "The driver version differs between the nodes", "",
        "Install the same driver and firmware on all nodes: HCCL fails between different ones.")
    if settings.get("nfs"):
        odd("user_ids", [host for host in nodes if nodes[host]["facts"].get("user_ids")],
            "The training user has other numbers (uid:gid) than on the other nodes", "",
            "NFS knows users by number: give cluster_user the same uid and gid on all nodes (usermod -u, groupmod -g); "
            "node_base_uid sets them where the user is made.")
    offsets = {host: data["facts"]["clock_offset"] for host, data in nodes.items() if "clock_offset" in data["facts"]}
    if offsets:
        middle = statistics.median_low(offsets.values())
        most = float(settings["max_clock_skew_seconds"])
        for host, offset in offsets.items():
            if abs(offset - middle) > most:
                found[host].append(finding(
                    "The clock differs from the other nodes", f"{offset - middle:+.0f} s",
                    f"at most {most:g} s (preflight_max_clock_skew_seconds)", "Start chrony or another time service there."))
    return found


def fold_names(hosts: Sequence[str]) -> str:
    """Shorten a list of nodes: ``node3, node4, node5 … node19 (17 nodes)``."""
    if len(hosts) <= 4:
        return ", ".join(hosts)
    return f"{', '.join(hosts[:3])} … {hosts[-1]} ({len(hosts)} nodes)"


def _word(cause: str, expected: str, remedy: str, found: Sequence[tuple[str, str]]) -> str:
    by_value: dict[str, list[str]] = {}
    for host, value in found:
        by_value.setdefault(value, []).append(host)
    if len(by_value) == 1:
        shown = next(iter(by_value))
    else:
        some = [f"{value} on {fold_names(hosts)}" for value, hosts in list(by_value.items())[:4]]
        shown = "; ".join(some) + (f"; and {len(by_value) - 4} more" if len(by_value) > 4 else "")
    return f"{cause}: found {shown}; expected {expected}. {remedy}"


def report(nodes: Mapping[str, Mapping[str, Any]], errors: Sequence[str], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Put the findings about the cluster and of all nodes into one message.

    Args:
        nodes: what :func:`node` returned, by name, in the order of the inventory.
        errors: messages about the inventory and the plan.
        settings: ``nproc_per_node``, ``max_clock_skew_seconds`` and ``nfs``.

    Returns:
        ``message``: for the refusal, "" when there is nothing to refuse; ``summary``: one line about the nodes;
        ``count``: number of different findings.
    """
    between = _between_nodes(nodes, settings)
    # Equal findings over the nodes that have them, then those with the same set of nodes under one heading.
    folded: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
    for host, data in nodes.items():
        for item in [*data["findings"], *between[host]]:
            remedy = item["remedy"].replace(f"`ansible {host} ", "`ansible NODE ")
            folded.setdefault((item["cause"], item["expected"], remedy), []).append((host, item["found"]))
    headings: dict[tuple[str, ...], list[str]] = {}
    for (cause, expected, remedy), found in folded.items():
        hosts = tuple(dict.fromkeys(host for host, _ in found))
        if len(hosts) == 1:
            remedy = remedy.replace("`ansible NODE ", f"`ansible {hosts[0]} ")
            found = [(hosts[0], ", ".join(value for _, value in found))]
        headings.setdefault(hosts, []).append(_word(cause, expected, remedy, found))
    count = len(errors) + sum(len(texts) for texts in headings.values())
    blocks = []
    if errors:
        blocks.append("\n".join(["The inventory and the plan:", *(f"  - {error}" for error in errors)]))
    for hosts, texts in headings.items():
        blocks.append("\n".join([f"{fold_names(hosts)}:", *(f"  - {text}" for text in texts)]))
    message = ""
    if count:
        bad = len({host for hosts in headings for host in hosts})
        where = f" on {bad} of {len(nodes)} nodes" if bad else ""
        message = "\n\n".join([f"Preflight: {count} finding{'s' if count != 1 else ''}{where}. Nothing has been changed.",
                               *blocks])
    return {"message": message, "count": count, "summary": summary(nodes)}


def summary(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: how many nodes, their NPUs, drivers and Python versions."""
    facts = [data["facts"] for data in nodes.values() if data["facts"]]

    def seen(values: Iterable[Any]) -> str:
        return ", ".join(sorted({str(value) for value in values if value != ""})) or "unknown"

    running = sum(data["job"] in RUNNING for data in nodes.values())
    return (f"{len(nodes)} node{'s' if len(nodes) != 1 else ''} ready: NPUs on each {seen(fact['npus'] for fact in facts)} "
            f"({seen(name for fact in facts for name in fact['npu_names'])}), "
            f"driver {seen(fact['driver'] for fact in facts)}, Python {seen(fact['python'] for fact in facts)}, "
            f"{seen(fact['arch'] for fact in facts)}"
            + (f"; the training job runs on {running}" if running else ""))
