"""Judges the NPUs' own network by what hccn_tool said of each: links, addresses, TLS, errors and optics.

What only a comparison shows (an address given twice, another netmask, a TLS switch that differs) is in :mod:`_compare`.
"""
from __future__ import annotations

import datetime
import ipaddress
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _hccn_tool
from ansible_collections.ascend.cluster.plugins.module_utils._checks import Finding, finding
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import Unread

Values = Mapping[str, Sequence[str]]
Fabric = Mapping[int, Mapping[str, Any]]

# A port that is down longer than this was no mere retraining; nor are so many short outages within an hour.
_FLAP_SECONDS = 30
_FLAP_HOURS = 24
_FLAPS = 3
# Milliwatt, where a module does not tell its own limits; and dB. Both: threshold_config.py of Ascend/mind-cluster.
_POWER = {"tx": (0.2, 2.5), "rx": (0.1445, 2.3)}
_SNR = 20.0
# Counters of these words count errors; others count traffic.
_ERROR_WORDS = ("err", "fcs", "bad", "undersize", "oversize", "fragment", "jabber", "drop")
_HEALTHY = ("Success", "Init")
# The detection address of a port that has none.
_NOBODY = "0.0.0.0"  # noqa: S104
# What a product or a medium does not have, or nobody has set, is no missing answer; what these would tell refuses nothing.
_NICE_TO_KNOW = ("stat", "stat again", "optical", "link_stat", "speed", "netdetect")
_NO_ANSWER = ("busy", "no_permission", "timeout", "no_answer", "unknown")


def read(values: Values) -> tuple[dict[int, dict[str, Any]], dict[int, dict[str, int]]]:
    """Read the answers by NPU; the second are the counters of errors that rose between the first and the second look, by how much."""
    fabric = _hccn_tool.read(values.get("hccn", []))
    risen: dict[int, dict[str, int]] = {}
    for device in fabric:
        before, after = value(fabric, device, "stat"), value(fabric, device, "stat again")
        if before and after:
            more = {name: after[name] - before[name] for name in after if name in before and after[name] > before[name]}
            risen[device] = {name: by for name, by in more.items() if any(word in name for word in _ERROR_WORDS)}
    return fabric, risen


def _missing(fabric: Fabric, device: int, query: str) -> str:
    """Name the kind of an answer that is none; "" for a value."""
    answer = fabric.get(device, {}).get(query)
    return answer.kind if isinstance(answer, Unread) else ""


def value(fabric: Fabric, device: int, query: str) -> Any:
    """Give what an NPU answered; None where it gave no value."""
    answer = fabric.get(device, {}).get(query)
    return None if isinstance(answer, Unread) else answer


def judge(values: Values, settings: Mapping[str, Any], fabric: Fabric, risen: Mapping[int, Mapping[str, int]]) -> Iterable[Finding]:
    """Find what is wrong with the NPUs of one node; of several NPUs with the same fault there is one finding."""
    if "hccn_tool" not in values:
        if values.get("npu_smi"):
            yield finding("hccn_tool", f"none beside {settings['driver_info']}, nor on the PATH")
        return
    found: dict[tuple[str, str, tuple[tuple[str, Any], ...]], list[int]] = {}
    conf = _hccn_tool.read_conf("\n".join(values.get("hccn_conf", [])))

    def add(device: int, name: str, text: str, **words: Any) -> None:
        devices = found.setdefault((name, text, tuple(words.items())), [])
        if device not in devices:
            devices.append(device)

    for device in sorted(fabric):
        for query, answer in fabric[device].items():
            # One that hangs was asked nothing more, so all else of it is unknown.
            if isinstance(answer, Unread) and answer.kind in _NO_ANSWER and (query not in _NICE_TO_KNOW or answer.kind == "timeout"):
                if answer.kind == "busy":
                    add(device, "hccn_busy", f"no answer to -{query}")
                else:
                    add(device, "hccn_answers", f"-{query} -g: {answer.words or 'nothing'} ({answer.kind})")
            # Of modules alone it is no more than that there is none; else all queries say the same.
            elif isinstance(answer, Unread) and answer.kind == "absent" and query != "optical":
                add(device, "hccn_answers", f"{answer.words} (absent)")
        _judge_link(device, fabric, add)
        _judge_address(device, fabric, conf.get(device, {}).get("address", ""), add)
        _judge_signal(device, fabric, add)
        if risen.get(device):
            add(device, "link_errors", ", ".join(f"{name} by {by}" for name, by in sorted(risen[device].items())[:4]))
    for device in sorted(int(one) for one in values.get("npu_device", []) if one.isdecimal() and int(one) not in fabric):
        add(device, "hccn_answers", "nothing")
    for (name, text, words), devices in found.items():
        yield finding(name, f"NPU {listed(devices)}: {text}", **dict(words))


def listed(numbers: Sequence[int]) -> str:
    """Word a list of numbers, runs of three and more shortened: ``0-7, 9``."""
    runs: list[list[int]] = []
    for one in sorted(numbers):
        if runs and one == runs[-1][-1] + 1:
            runs[-1].append(one)
        else:
            runs.append([one])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs)


def _judge_link(device: int, fabric: Fabric, add: Any) -> None:
    link, health = value(fabric, device, "link"), value(fabric, device, "net_health")
    if link not in (None, "UP"):
        optical = value(fabric, device, "optical")
        # A link by copper has none either, and "not present" is said of modules that carry traffic: it explains, no more.
        absent = _missing(fabric, device, "optical") == "absent" or (optical is not None and optical["present"] is False)
        add(device, "link", f"{link}, and no optical module is seen" if absent else str(link))
    # An alarm of a link that is down says the same once more; and where no address is to be detected there is nothing to be healthy.
    elif health is not None and health not in _HEALTHY and value(fabric, device, "netdetect") != _NOBODY:
        add(device, "net_health", str(health))
    stat = value(fabric, device, "link_stat")
    if stat and stat["current_time"] and link == "UP":
        outages = list(_outages(stat))
        for seconds, when in outages:
            if seconds > _FLAP_SECONDS:
                add(device, "link_flaps", f"{seconds} s until {when:%Y-%m-%dT%H:%M:%S}", hours=_FLAP_HOURS)
        ends = [when for _, when in outages]
        most = max((sum(first <= when < first + datetime.timedelta(hours=1) for when in ends) for first in ends), default=0)
        if most >= _FLAPS:
            add(device, "link_flaps", f"{most} times within an hour, last at {max(ends):%Y-%m-%dT%H:%M:%S}", hours=_FLAP_HOURS)


def _outages(stat: Mapping[str, Any]) -> Iterable[tuple[int, datetime.datetime]]:
    """Give seconds and end of each time that the port was down in the last hours."""
    now = datetime.datetime.fromisoformat(stat["current_time"])
    down: datetime.datetime | None = None
    for when, state in sorted(stat["changes"]):
        moment = datetime.datetime.fromisoformat(when)
        if state == "DOWN":
            down = down or moment
        elif down is not None:
            if (now - moment).total_seconds() < _FLAP_HOURS * 3600:
                yield int((moment - down).total_seconds()), moment
            down = None


def _judge_address(device: int, fabric: Fabric, conf: str, add: Any) -> None:
    address = value(fabric, device, "ip")
    missing = _missing(fabric, device, "ip") == "not_set"
    if missing:
        add(device, "npu_address", "none")
    if conf and (missing or (address and address["address"] != conf)):
        add(device, "hccn_conf", f"{conf} in the file, {address['address'] if address else 'none'} on the NPU")
    gateway = value(fabric, device, "gateway")
    if address and gateway not in (None, _NOBODY):
        own = ipaddress.ip_interface(f"{address['address']}/{address['netmask']}")
        if gateway == address["address"] or ipaddress.ip_address(gateway) not in own.network:
            add(device, "npu_gateway", f"{gateway} for {own}")
    tls = value(fabric, device, "tls")
    if tls and tls["switch"] == 1:
        for certificate in tls["certificates"]:
            if certificate.get("expiration") == 2:
                add(device, "tls_certificate", str(certificate["name"]))


def _judge_signal(device: int, fabric: Fabric, add: Any) -> None:
    optical = value(fabric, device, "optical")
    if not optical:
        return
    for way, (low, high) in _POWER.items():
        limits = optical["thresholds"]
        least, most = limits.get(f"{way}_power_low_mw") or low, limits.get(f"{way}_power_high_mw") or high
        for lane, power in enumerate(optical[f"{way}_power_mw"]):
            if power is not None and not least <= power <= most:
                add(device, "optical_power", f"{way.capitalize()} lane {lane} has {power:g} mW", least=f"{least:g}", most=f"{most:g}")
    for side in ("host", "media"):
        for lane, ratio in enumerate(optical[f"{side}_snr_db"]):
            if ratio is not None and ratio < _SNR:
                add(device, "optical_snr", f"{side} lane {lane} has {ratio:g} dB")


def unjudged(fabric: Fabric) -> dict[str, list[int]]:
    """Tell by query of which NPUs nothing is known though no finding says so: the tool there does not know it, or fails in what is nice to know."""
    found: dict[str, list[int]] = {}
    for device in sorted(fabric):
        for query, answer in fabric[device].items():
            nice = query in _NICE_TO_KNOW and isinstance(answer, Unread) and answer.kind in _NO_ANSWER and answer.kind != "timeout"
            if (nice or _missing(fabric, device, query) == "unsupported") and query not in ("stat again", "netdetect"):
                found.setdefault(query, []).append(device)
    return found


def facts(fabric: Fabric, values: Values) -> dict[str, dict[str, Any]]:
    """Keep what is compared between NPUs, by number; and what /etc/hccn.conf has for one without an address."""
    kept: dict[str, dict[str, Any]] = {}
    conf = _hccn_tool.read_conf("\n".join(values.get("hccn_conf", [])))
    for device in fabric:
        address, tls = value(fabric, device, "ip"), value(fabric, device, "tls")
        kept[str(device)] = {
            "address": address["address"] if address else "", "netmask": address["netmask"] if address else "",
            "gateway": value(fabric, device, "gateway") or "", "tls": tls["switch"] if tls else "",
            "mtu": value(fabric, device, "mtu") or "", "speed": value(fabric, device, "speed") or "",
            "no_address": _missing(fabric, device, "ip") == "not_set",
            **{f"conf_{key}": conf.get(device, {}).get(key, "") for key in ("address", "netmask")}}
    return kept
