"""Judges the NPUs of a node: driver, npu-smi's table, what the chips can do, and who holds them."""
from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _npu_chips, _npu_smi, _npu_smi_more
from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding

# Programs by which a launch of ours is known, whichever interpreter runs them.
_LAUNCHED = ("torchrun", "pretrain_gpt.py", "pretrain_mixtral.sh")
_INTERPRETERS = re.compile(r"python[\d.]*|torchrun|bash|sh|env")
# Isolated pages of errors in several bits: 0x80E18401 and 0x80E18402 of kg-config.json; the bounds of ascend-dmi are the same.
_PAGES_WARN, _PAGES_REPLACE = 16, 64
Chips = Sequence[Mapping[str, Any]]


class Process(NamedTuple):
    """A process as the probe saw it in /proc."""

    pid: int
    owner: str
    # Whether it is in the control group of the training unit.
    in_unit: bool
    name: str
    command: str
    # The beginning of the id of the container that it is in; "" for none.
    container: str = ""

    def launched(self) -> str:
        """Name the program of a launch that it runs; "" for an editor, a pager or anything else."""
        words = self.command.split()
        if not words or not _INTERPRETERS.fullmatch(words[0].rsplit("/", 1)[-1]):
            return ""
        return next((program for word in words for program in _LAUNCHED if word.rsplit("/", 1)[-1] == program), "")


def processes(lines: Sequence[str]) -> dict[int, Process]:
    """Read the probe's lines ``PID|OWNER|unit, a container or -|NAME|COMMAND``; what is not of this form is left out."""
    found: dict[int, Process] = {}
    for line in lines:
        pid, _, rest = line.partition("|")
        words = rest.split("|", 3)
        if pid.isdecimal() and len(words) == 4:
            found[int(pid)] = Process(int(pid), words[0], words[1] == "unit", words[2], words[3], words[1] if words[1] not in ("unit", "-") else "")
    return found


def read(values: Mapping[str, Sequence[str]]) -> tuple[dict[str, Any], str]:
    """Read npu-smi's table; the second is why it cannot be read, "" where it can."""
    try:
        return _npu_smi.parse("\n".join(values.get("npu_smi_line", []))), ""
    except _npu_smi.UnknownForm as error:
        return {"version": "", "chips": [], "processes": []}, str(error)


def judge(values: Mapping[str, Sequence[str]], settings: Mapping[str, Any], smi: Mapping[str, Any], unread: str,
          state: str, job: bool) -> Iterable[Finding]:
    """Find what is wrong with the driver, the table and the chips; ``job`` tells that our own unit runs."""
    if not any(line.startswith("Version=") for line in values.get("driver_info", [])):
        yield finding("driver", f"no Version= in {settings['driver_info']}")
    tool = "".join(values.get("npu_smi", []))
    if not tool:
        yield finding("npu_smi", "none on the PATH, in /usr/local/bin or /usr/local/sbin")
    else:
        yield from _table(values, settings, smi, unread)
    if not job:
        yield from _held(smi, settings, processes(values.get("process", [])), values.get("holder", []), state)


def _table(values: Mapping[str, Sequence[str]], settings: Mapping[str, Any], smi: Mapping[str, Any],
           unread: str) -> Iterable[Finding]:
    count = int(settings["nproc_per_node"])
    code = "".join(values.get("npu_smi_rc", ["unknown"]))
    if code == "0" and unread:
        yield finding("npu_table", unread[:600])
        return
    if code != "0" or not smi["chips"]:
        said = " ".join(" ".join(values.get("npu_smi_line", [])).split())[:200]
        yield finding("npu_answers", f"return code {code}: {said or 'no output'}", nproc_per_node=count)
        return
    more = _npu_smi_more.read(values.get("npu_more", []))
    for chip in smi["chips"]:
        why = _codes(more.get((chip["npu"], chip["chip"]), {}).get("health"))
        if not _npu_smi.usable(chip):
            yield finding("npu_health", f"NPU {chip['npu']} chip {chip['chip']} is {chip['health']}{why}")
        elif chip["health"] == "Warning":
            yield finding("npu_warning", f"NPU {chip['npu']} chip {chip['chip']}{why}")
    yield from _memory_errors(more)
    usable = sum(_npu_smi.usable(chip) for chip in smi["chips"])
    if usable < count:
        yield finding("npu_count", f"{usable} usable of {len(smi['chips'])}", nproc_per_node=count)
    # A container sees every card of its host on the bus.
    bus = values.get("pci", [])
    if len(bus) > len(smi["chips"]) and "container" not in values:
        shown = {str(chip["bus_id"]).lower() for chip in smi["chips"]}
        missing = [one for one in bus if one.lower() not in shown]
        yield finding("npu_on_bus", f"{len(bus)} on the bus, {len(smi['chips'])} in npu-smi; not there: {', '.join(missing[:8])}")
    yield from _sizes(smi["chips"])
    yield from _abilities(smi["chips"], settings, values.get("kernels", []))


def _codes(health: Any) -> str:
    """Name the codes and words of a chip's health; "" where npu-smi told none."""
    if not isinstance(health, dict) or not health["codes"]:
        return ""
    return f" ({', '.join(health['codes'])}{': ' + '; '.join(health['information'])[:200] if health['information'] else ''})"


def _memory_errors(more: Mapping[tuple[int, int], Mapping[str, Any]]) -> Iterable[Finding]:
    """Find chips whose memory has errors that cannot be corrected, or has been repaired so often that it is worn."""
    for (npu, number), answers in sorted(more.items()):
        counters = answers.get("ecc")
        if not isinstance(counters, dict):  # an inference card, or a version that does not tell
            continue
        for kind in ("hbm", "ddr"):
            errors, pages = counters.get(f"{kind}_double_bit_error_count", 0), counters.get(f"{kind}_double_bit_isolated_pages_count", 0)
            where = f"NPU {npu} chip {number}: {kind.upper()}"
            if pages >= _PAGES_REPLACE:
                yield finding("npu_memory_worn", f"{where} has {pages} isolated pages", most=_PAGES_REPLACE - 1)
            elif pages >= _PAGES_WARN:
                yield finding("npu_memory_errors", f"{where} has {pages} isolated pages", pages=_PAGES_WARN)
            elif errors:
                yield finding("npu_memory_errors", f"{where} has {errors} double bit errors since the start", pages=_PAGES_WARN)


def _sizes(chips: Chips) -> Iterable[Finding]:
    usual: dict[str, int] = {}
    for chip in chips:
        usual[chip["name"]] = max(usual.get(chip["name"], 0), int(chip["memory_total_mib"]))
    for chip in chips:
        most, total = usual[chip["name"]], int(chip["memory_total_mib"])
        if 0 < total < most * 0.95:
            yield finding("npu_memory_size", f"NPU {chip['npu']} chip {chip['chip']} has {total} MiB", usual=most)


def _abilities(chips: Chips, settings: Mapping[str, Any], installed: Sequence[str]) -> Iterable[Finding]:
    """Compare the chips' generation with the plan's bf16 and with the kernels that are or will be installed."""
    names: dict[_npu_chips.Generation, str] = {}
    for chip in chips:
        generation = _npu_chips.generation(chip, chips)
        if generation:
            names.setdefault(generation, str(chip["name"]))
    archive = str(settings["kernels_src"])
    made_for = _npu_chips.kernels_of(archive)
    for generation, name in names.items():
        if settings["precision"] == "bf16" and generation.bf16 is False:
            yield finding("bf16", f"{name}, {generation.name}")
        if made_for and made_for != generation.kernels and generation.soc not in installed:
            yield finding("kernels_package", f"{archive.split('/')[-1]} for {name}, {generation.name}", archives=generation.archives)


def unknown_chips(chips: Chips) -> list[str]:
    """List the names of chips whose generation npu-smi does not tell."""
    return sorted({str(chip["name"]) or "without a name" for chip in chips if not _npu_chips.generation(chip, chips)})


def _held(smi: Mapping[str, Any], settings: Mapping[str, Any], seen: Mapping[int, Process], holders: Sequence[str], state: str) -> Iterable[Finding]:
    own = {pid: process for pid, process in seen.items()
           if process.in_unit or (process.owner == settings["user"] and process.launched())}
    if own:
        yield _leaked(list(own.values()), smi["processes"], settings, state)
    foreign = [process for process in smi["processes"] if process["pid"] not in own]
    contained = {seen[process["pid"]] for process in foreign if process["pid"] in seen and seen[process["pid"]].container}
    foreign = [process for process in foreign if process["pid"] not in {one.pid for one in contained}]
    if foreign:
        users = sorted({_describe(process, seen) for process in foreign})
        npus = sorted({process["npu"] for process in foreign})
        yield finding("npus_idle", f"NPU {', '.join(map(str, npus))} by {', '.join(users[:4])}" + (" …" if len(users) > 4 else ""))
    listed = {(process["npu"], process["chip"]) for process in smi["processes"]}
    most = float(settings["max_npu_memory_used_percent"])
    held: dict[str, list[str]] = {}
    for chip in smi["chips"]:
        used, total = int(chip["memory_used_mib"]), int(chip["memory_total_mib"])
        if (chip["npu"], chip["chip"]) not in listed and used * 100 > total * most:
            where = f"{chip['npu']} chip {chip['chip']}" if sum(one["npu"] == chip["npu"] for one in smi["chips"]) > 1 else str(chip["npu"])
            held.setdefault(f"{used} of {total} MiB", []).append(where)
    if held:
        shown = [f"NPU {', '.join(npus)}: {memory}" for memory, npus in held.items()]
        # Whoever has an NPU open, and is not listed.
        open_by = [seen[int(pid)] for pid in holders if pid.isdecimal() and int(pid) in seen and int(pid) not in own
                   and int(pid) not in {process["pid"] for process in smi["processes"]}]
        contained |= {process for process in open_by if process.container}
        by = [f"{process.name} (pid {process.pid} of {process.owner})" for process in open_by if not process.container]
        yield finding("npu_memory_held", "; ".join(shown[:8]) + (" …" if len(shown) > 8 else "") + (f"; open NPUs have {', '.join(by[:4])}" if by else ""),
                      max_npu_memory_used_percent=f"{most:g}")
    if contained:
        named = [f"{process.name} (pid {process.pid}) in {process.container}" for process in sorted(contained, key=lambda one: one.pid)]
        yield finding("npu_container", ", ".join(named[:4]) + (f" … ({len(named)} in all)" if len(named) > 4 else ""))


def _describe(process: Mapping[str, Any], seen: Mapping[int, Process]) -> str:
    """Name a process that npu-smi lists, and its owner where /proc has the same one (in a container its ids are others)."""
    known = seen.get(process["pid"])
    name = str(process["name"])
    if known and not known.name.startswith(name[:15]) and name not in known.command:
        known = None
    return f"{name or (known.name if known else 'a process')} (pid {process['pid']}{f' of {known.owner}' if known else ''})"


def _leaked(own: Sequence[Process], listed: Sequence[Mapping[str, Any]], settings: Mapping[str, Any], state: str) -> Finding:
    pids = sorted(process.pid for process in own)
    npus = sorted({process["npu"] for process in listed if process["pid"] in pids})
    shown = [f"{process.launched() or process.name} (pid {process.pid})" for process in sorted(own, key=lambda one: one.pid)]
    found = (", ".join(shown[:4]) + (f" … ({len(shown)} in all)" if len(shown) > 4 else "") + f" of {settings['user']}"
             + (f" on NPU {', '.join(map(str, npus))}" if npus else ""))
    unit = settings["unit"]
    if state == "unknown" and any(process.in_unit for process in own):
        return finding("left_processes", found, unit=unit, remedy="Run playbooks/stop.yml, which stops the unit that they belong to.")
    rest = "One that stays in state D needs a reset of the NPU, or a reboot."
    # On many nodes their numbers differ: there the owner and the program name them.
    remedy = ("On each of them run "
              f"`ansible NODE -b -m ansible.builtin.raw -a \"pkill -KILL -u {settings['user']} -f '{'|'.join(_LAUNCHED)}'\"`. {rest}")
    alone = f"End them: `ansible NODE -b -m ansible.builtin.raw -a 'kill -KILL {' '.join(map(str, pids))}'`. {rest}"
    return {**finding("left_processes", found, unit=unit, remedy=remedy), "remedy_alone": alone}
