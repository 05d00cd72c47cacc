"""Judges the NPUs of a node: driver, npu-smi's table, what the chips can do, and who holds them."""
from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, NamedTuple, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _npu_chips, _npu_smi
from ansible_collections.ascend.cluster.plugins.module_utils._findings import Finding, finding

# Programs by which a launch of ours is known, whichever interpreter runs them.
_LAUNCHED = ("torchrun", "pretrain_gpt.py", "pretrain_mixtral.sh")
_INTERPRETERS = re.compile(r"python[\d.]*|torchrun|bash|sh|env")
Chips = Sequence[Mapping[str, Any]]


class Process(NamedTuple):
    """A process as the probe saw it in /proc."""

    pid: int
    owner: str
    # Whether it is in the control group of the training unit.
    in_unit: bool
    name: str
    command: str

    def launched(self) -> str:
        """Name the program of a launch that it runs; "" for an editor, a pager or anything else."""
        words = self.command.split()
        if not words or not _INTERPRETERS.fullmatch(words[0].rsplit("/", 1)[-1]):
            return ""
        return next((program for word in words for program in _LAUNCHED if word.rsplit("/", 1)[-1] == program), "")


def processes(lines: Sequence[str]) -> dict[int, Process]:
    """Read the probe's lines ``PID|OWNER|unit or -|NAME|COMMAND``; what is not of this form is left out."""
    found: dict[int, Process] = {}
    for line in lines:
        pid, _, rest = line.partition("|")
        words = rest.split("|", 3)
        if pid.isdecimal() and len(words) == 4:
            found[int(pid)] = Process(int(pid), words[0], words[1] == "unit", words[2], words[3])
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
        yield finding("The NPU driver is not installed", f"no Version= in {settings['driver_info']}", "an installed driver",
                      "Install the vendor's driver and firmware (HDK), and reboot.")
    tool = "".join(values.get("npu_smi", []))
    if not tool:
        yield finding("npu-smi is not installed", "none on the PATH, in /usr/local/bin or /usr/local/sbin",
                      "npu-smi, which comes with the driver", "Install the vendor's driver and firmware (HDK).")
    else:
        yield from _table(values, settings, smi, unread)
    if not job:
        yield from _held(smi, settings, processes(values.get("process", [])), state)


def _table(values: Mapping[str, Sequence[str]], settings: Mapping[str, Any], smi: Mapping[str, Any],
           unread: str) -> Iterable[Finding]:
    count = int(settings["nproc_per_node"])
    code = "".join(values.get("npu_smi_rc", ["unknown"]))
    if code == "0" and unread:
        yield finding("npu-smi prints a table that is not understood", unread[:600], "the tables of the generations that are known",
                      "Whether the NPUs are healthy and idle is unknown. Run `npu-smi info` on the node, and report its output.")
        return
    if code != "0" or not smi["chips"]:
        said = " ".join(" ".join(values.get("npu_smi_line", [])).split())[:200]
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
    yield from _abilities(smi["chips"], settings, values.get("kernels", []))


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
            yield finding("The chips do not compute in bf16", f"{name}, {generation.name}",
                          "Atlas A2 (910B1 to 910B4), A3 or 950, as plan_precision is bf16",
                          "Train on such nodes, or set plan_precision to fp16 (group_vars/all/plan.yml).")
        if made_for and made_for != generation.kernels and generation.soc not in installed:
            yield finding("The package of kernels is for other chips", f"{archive.split('/')[-1]} for {name}, {generation.name}",
                          generation.archives, "Set cann_toolkit_kernels_src (group_vars/all/cann_toolkit.yml) to that archive.")


def unknown_chips(chips: Chips) -> list[str]:
    """List the names of chips whose generation npu-smi does not tell."""
    return sorted({str(chip["name"]) or "without a name" for chip in chips if not _npu_chips.generation(chip, chips)})


def _held(smi: Mapping[str, Any], settings: Mapping[str, Any], seen: Mapping[int, Process], state: str) -> Iterable[Finding]:
    own = {pid: process for pid, process in seen.items()
           if process.in_unit or (process.owner == settings["user"] and process.launched())}
    if own:
        yield _leaked(list(own.values()), smi["processes"], settings, state)
    foreign = [process for process in smi["processes"] if process["pid"] not in own]
    if foreign:
        users = sorted({_describe(process, seen) for process in foreign})
        npus = sorted({process["npu"] for process in foreign})
        yield finding("NPUs are in use", f"NPU {', '.join(map(str, npus))} by {', '.join(users[:4])}"
                      + (" …" if len(users) > 4 else ""), "idle NPUs", "Stop these processes, or wait for them.")
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
        yield finding(
            "Memory of NPUs is held, though npu-smi lists no process there", "; ".join(shown[:8]) + (" …" if len(shown) > 8 else ""),
            f"at most {most:g} % in use on an idle chip (preflight_max_npu_memory_used_percent)",
            "A process in a container or of a virtual NPU holds it, or one that died: look with `fuser -v /dev/davinci*` on the node and in "
            "its containers; with nobody there, `npu-smi set -t reset -i <NPU> -c <chip>`, or reboot.")


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
    cause, expected = "Processes of an earlier run are left", f"none while {settings['unit']} does not run"
    if state == "unknown" and any(process.in_unit for process in own):
        return finding(cause, found, expected, "Run playbooks/stop.yml, which stops the unit that they belong to.")
    rest = "One that stays in state D needs a reset of the NPU, or a reboot."
    # On many nodes their numbers differ: there the owner and the program name them.
    remedy = ("On each of them run "
              f"`ansible NODE -b -m ansible.builtin.raw -a \"pkill -KILL -u {settings['user']} -f '{'|'.join(_LAUNCHED)}'\"`. {rest}")
    alone = f"End them: `ansible NODE -b -m ansible.builtin.raw -a 'kill -KILL {' '.join(map(str, pids))}'`. {rest}"
    return {**finding(cause, found, expected, remedy), "remedy_alone": alone}
