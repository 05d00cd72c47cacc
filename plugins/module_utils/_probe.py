"""Judges what the preflight probe saw on a node; :mod:`_findings` puts the findings of all nodes together."""
from __future__ import annotations

from typing import Any, Iterable, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils import _npu_smi, _probe_npus
from ansible_collections.ascend.cluster.plugins.module_utils._findings import RUNNING, Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._topology import ip_address

BEGIN = "ASCEND-PROBE 1 BEGIN"
END = "ASCEND-PROBE 1 END"
_GIB = 1024 * 1024  # KiB
_NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb2", "lustre", "gpfs", "fuseblk", "ceph", "glusterfs", "beegfs")


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
    # A platform that the site names for the node says that its system is like that one.
    if not settings["platform"] and not set(_os_words(values)) & set(supported):
        yield finding("The operating system is not supported", pretty, "one of " + ", ".join(supported) + " in ID or ID_LIKE of /etc/os-release",
                      "Use another system; or, where it takes packages like Debian or RedHat, set node_base_platform to that one "
                      "for the node (inventory or group_vars/all/node_base.yml).")
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
        return str(ip_address(text))
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
            the nodes are going to share by NFS), ``platform`` (node_base_platform), ``precision`` (of the plan),
            ``kernels_src`` (the archive of kernels, "" where unknown), ``max_npu_memory_used_percent``, ``user`` (who
            trains) and ``unit`` (the training's systemd unit).
        host: its name in the inventory.

    Returns:
        ``findings``, ``job`` (systemd's state of the training unit; "unknown" when it cannot be told) and ``facts``
        (``npus``, ``npu_names``, ``unknown_chips`` (names whose generation cannot be told), ``driver``, ``python``,
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
    findings = [*_python(values, settings), *_system(values, settings), *_space(values, settings, job),
                *_probe_npus.judge(values, settings, smi, unread, state, job), *_network(values, settings, job)]
    driver = [line.partition("=")[2].strip() for line in values.get("driver_info", []) if line.startswith("Version=")]
    date = "".join(values.get("date", []))
    facts: dict[str, Any] = {
        "npus": sum(_npu_smi.usable(chip) for chip in smi["chips"]), "npu_names": sorted({c["name"] for c in smi["chips"]}),
        "unknown_chips": _probe_npus.unknown_chips(smi["chips"]),
        "driver": driver[0] if driver else "", "python": _one_line(" ".join(values.get("python_version", []))),
        "arch": "".join(values.get("arch", [])),
    }
    sent = "".join(values.get("sent", []))
    if date.isdigit() and sent.isdigit():  # skew plus the time that the login took
        facts["clock_offset"] = int(date) - int(sent)
    if "user_ids" in values:
        facts["user_ids"] = values["user_ids"][0]
    return {"findings": findings, "job": state, "facts": facts}
