"""Judges a node as a host: its Python, system, disks and memory; the pieces of ``values`` are what the probe said."""
from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import KILLED

Values = Mapping[str, Sequence[str]]
_GIB = 1024 * 1024  # KiB
# Of the memory, in huge pages that nobody uses: ranks cannot have it. NPUs of a training take none.
_HUGE_PAGES_SHARE = 0.25
# Of the training's unit. Threads and processes of a rank: torch's and OpenMP's pools, HCCL, CANN's log and the loaders of data.
_OPEN_FILES = 65536
_TASKS_PER_RANK = 2048
_UNLIMITED = ("infinity", str(2**64 - 1))
# MB a second that a disk reads: at half of that a node's part of a checkpoint of the default plan, 338 GB, takes four hours.
_READ_MB = 50
_NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb2", "lustre", "gpfs", "fuseblk", "ceph", "glusterfs", "beegfs")


def one_line(text: str) -> str:
    """Put a text into one line, blanks folded."""
    return " ".join(str(text).split())


def version(text: str) -> tuple[int, ...]:
    """Read a version of numbers alone; () for any other."""
    parts = text.strip().split(".")
    return tuple(int(part) for part in parts) if parts and all(part.isdigit() for part in parts) else ()


def number(values: Values, key: str, name: str = "") -> int | None:
    """Read a number, or the one after ``name`` among the lines of ``key``; None where it is not there."""
    for line in values.get(key, []):
        words = line.split()
        if name and words[:1] == [name]:
            words = words[1:]
        elif name:
            continue
        if words and words[0].isdecimal():
            return int(words[0])
    return None


def is_shared(kind: str) -> bool:
    """Tell from the type of a file system, as stat prints it, whether it is storage that nodes share."""
    return kind.lower().startswith(_NETWORK_FILESYSTEMS)


def judge(values: Values, settings: Mapping[str, Any], job: bool) -> Iterable[Finding]:
    """Find what is wrong with the host; ``job`` tells that our own unit runs."""
    yield from _python(values, settings)
    yield from _system(values, settings)
    yield from _space(values, settings, job)
    yield from _memory(values, settings, job)
    yield from _limits(values, settings)
    yield from _disks(values)


def _python(values: Values, settings: Mapping[str, Any]) -> Iterable[Finding]:
    least = str(settings["min_python"])
    remedy = ("Install a newer Python on the node beside the system's own (on openEuler 20.03 and Kylin V10, which ship 3.7, "
              "for example a Miniforge in /opt), and set ansible_python_interpreter to its path in the inventory.")
    configured = "".join(values.get("python_configured", [])[:1])
    if "python" not in values:
        yield finding("python", f"no {configured}" if configured else "none on the PATH", min_python=least,
                      remedy="Correct ansible_python_interpreter in the inventory." if configured else remedy)
        return
    path, text = "".join(values["python"][:1]), one_line(" ".join(values.get("python_version", [])))
    if list(values.get("python_rc", [])) != ["0"] or not version(text):
        yield finding("python_runs", f"{path}: {text[:200]}", min_python=least, remedy=remedy)
    elif version(text) < version(least):
        yield finding("python_version", f"{text} ({path})", min_python=least, remedy=remedy)


def os_name(values: Values) -> str:
    """Name the operating system as it calls itself."""
    return "".join(values.get("os_PRETTY_NAME", values.get("os_ID", ["no /etc/os-release"]))).strip("\"'")


def _os_words(values: Values) -> list[str]:
    text = " ".join([*values.get("os_ID", []), *values.get("os_ID_LIKE", [])])
    return text.replace('"', " ").replace("'", " ").lower().split()


def _system(values: Values, settings: Mapping[str, Any]) -> Iterable[Finding]:
    if list(values.get("uid", [])) != ["0"]:
        yield finding("root", f"uid {''.join(values.get('uid', ['unknown']))}")
    supported = [str(name).lower() for name in settings["supported_os"]]
    # A platform that the site names for the node says that its system is like that one.
    if not settings["platform"] and not set(_os_words(values)) & set(supported):
        yield finding("operating_system", os_name(values), supported_os=", ".join(supported))
    arch = "".join(values.get("arch", ["unknown"]))
    if arch not in settings["supported_arch"]:
        yield finding("architecture", arch, supported_arch=" or ".join(settings["supported_arch"]))
    if "systemd" not in values:
        yield finding("systemd", "no /run/systemd/system")
    if list(values.get("synchronized", [])) == ["no"] and "container" not in values:  # a container has the clock of its host
        yield finding("clock_synchronized", "NTPSynchronized=no")
    name = "".join(values.get("name", []))
    if name and "name_address" in values and not "".join(values["name_address"]):
        yield finding("own_name", "no address", hostname=name)


def _space(values: Values, settings: Mapping[str, Any], job: bool) -> Iterable[Finding]:
    # What a disk holds once there were launches is mostly checkpoints: that is no reason to refuse to follow or resume.
    used = job or "workspace_used" in values
    wanted = [("workspace", float(settings["min_free_gib"]), "cluster_workspace", "preflight_min_free_gib")]
    if "cann_installed" not in values:
        wanted.append(("cann", float(settings["min_cann_free_gib"]), "cann_toolkit_install_path", "preflight_min_cann_free_gib"))
    for name, least, place, setting in wanted:
        parent = "".join(values.get(f"{name}_parent", ["?"]))
        free = "".join(values.get(f"{name}_free_kib", []))
        path = settings[f"{name}_path"]
        if not free.isdigit():
            yield finding("space_known", f"no answer about {parent}", path=path, least=f"{least:g}", parent=parent)
        elif int(free) / _GIB < least and not (used and name == "workspace"):
            yield finding("space", f"{int(free) / _GIB:.1f} GiB at {parent}", path=path, least=f"{least:g}", setting=setting, place=place)
        inodes = number(values, f"{name}_free_inodes")
        if inodes is not None and inodes < 100_000:
            yield finding("inodes", f"{inodes:,} at {parent}", path=path, place=place)
        if f"{name}_readonly" in values:
            yield finding("writable", "".join(values[f"{name}_readonly"][:1]), path=path)
    kind = "".join(values.get("cann_filesystem", []))
    if "cann_installed" not in values and is_shared(kind):
        yield finding("cann_local_disk", kind, cann_path=settings["cann_path"])


def _memory(values: Values, settings: Mapping[str, Any], job: bool) -> Iterable[Finding]:
    total, available = number(values, "meminfo", "MemTotal"), number(values, "meminfo", "MemAvailable")
    least = int(settings["nproc_per_node"]) * float(settings["memory_gib_per_rank"])
    if available is not None and not job and available / _GIB < least:
        yield finding("memory_available", f"{available / _GIB:.1f} GiB", least=f"{least:g}", ranks=settings["nproc_per_node"])
    swap, free = number(values, "meminfo", "SwapTotal"), number(values, "meminfo", "SwapFree")
    if swap is not None and free is not None and swap - free > _GIB:
        yield finding("swap", f"{(swap - free) / _GIB:.1f} GiB swapped out")
    free_pages, size = number(values, "meminfo", "HugePages_Free"), number(values, "meminfo", "Hugepagesize")
    if total and free_pages and size and free_pages * size > total * _HUGE_PAGES_SHARE:
        yield finding("huge_pages", f"{free_pages * size / _GIB:.1f} GiB of {total / _GIB:.1f}", most=f"{_HUGE_PAGES_SHARE:.0%}".replace("%", " %"))
    for line in values.get("memory_limit", []):
        limit, _, place = line.partition(" ")
        # Control groups v1 say "no limit" by a huge number.
        if limit.isdecimal() and total is not None and int(limit) < total * 1024 * 0.95:
            yield finding("memory_limit", f"{int(limit) / 1024 / _GIB:.1f} GiB of {total / _GIB:.1f} in {place}")


def low_limits(values: Values, settings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Tell which limits are low: the property of systemd, what it is, and what it has to be at least; Default…: the service manager's own."""
    tasks = str(_TASKS_PER_RANK * int(settings["nproc_per_node"]))
    least = {"LimitNOFILE": str(_OPEN_FILES), "LimitNPROC": tasks, "DefaultLimitNPROC": tasks, "TasksMax": tasks, "LimitMEMLOCK": "infinity"}
    low = []
    for line in values.get("unit_limit", []):
        name, _, value = line.partition("=")
        name = name.replace("Soft", "")
        wanted = least.get(name, "0")
        if value.isdecimal() and value not in _UNLIMITED and (wanted == "infinity" or int(value) < int(wanted)):
            low.append((name, value, wanted))
    return low


def _limits(values: Values, settings: Mapping[str, Any]) -> Iterable[Finding]:
    for name, value, wanted in low_limits(values, settings):
        where = "of the service manager (/etc/systemd/system.conf)" if name.startswith("Default") else f"of {settings['unit']}"
        yield finding("limits", f"{name} {where} is {value}", wanted=wanted if wanted == "infinity" else f"at least {wanted}", unit=settings["unit"])


def read_speeds(values: Values) -> Iterable[tuple[str, str, str]]:
    """Status of dd, file, and what dd said last, of each file that was read."""
    for line in values.get("read_speed", []):
        code, _, rest = line.partition(" ")
        file, _, said = rest.partition(" ")
        yield code, file, said


def _disks(values: Values) -> Iterable[Finding]:
    files = values.get("roots_file", [])
    if files:
        yield finding("roots_files", ", ".join(files[:3]) + (f" … ({'20 or more' if len(files) == 20 else len(files)} files)" if len(files) > 3 else ""))
    for line in values.get("disk_health", []):
        name, _, said = line.partition(" ")
        word = said.partition(":")[2].strip()
        if ("overall-health" in said or "Health Status" in said) and word and not word.startswith(("PASSED", "OK")):
            yield finding("disk_health", f"{name}: {word}", disk=name)
        elif said.startswith("critical_warning") and re.fullmatch(r"0x[0-9a-fA-F]+|\d+", word) and int(word, 0):
            yield finding("disk_health", f"{name}: critical_warning {word}", disk=name)
    for code, file, said in read_speeds(values):
        timed = re.search(r"^(\d+) bytes .*copied, ([\d.e+-]+) s", said)
        if code in map(str, KILLED):
            yield finding("read_speed", f"not 256 MiB of {file} in 20 s", least=_READ_MB)
        elif "Input/output error" in said:
            yield finding("read_error", f"{file}: {said[:200]}")
        elif code == "0" and timed and float(timed[2]) > 0 and int(timed[1]) / 1e6 / float(timed[2]) < _READ_MB:
            yield finding("read_speed", f"{int(timed[1]) / 1e6 / float(timed[2]):.0f} MB/s from {file}", least=_READ_MB)
