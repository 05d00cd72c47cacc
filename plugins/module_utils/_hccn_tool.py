"""Reads what ``hccn_tool -i N -<query> -g`` says of an NPU's own network port, and /etc/hccn.conf.

Words and their order are those of the tool's source (src/custom/network/hccn/ascend910B of the public driver, 2026-07) and of
recorded hosts from 23.0 on, which differ in some of them: `netdetect address` and `addr`, `Socket failed` and `Socket fail`,
`[device 0]` and `[devid 0]`. What the tool prints on stderr comes before all of stdout where both go into one pipe.
"""
from __future__ import annotations

import ipaddress
import re
from typing import Any, Callable, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils import _hccn_optical
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import StrangeError, Unread, gather, iso_time, understand

_REFUSALS = (
    ("not_set", r"Get ipconf failed, because no ip was preset|Get gateway failed, because no gateway was preset|No certificate found"),
    ("absent", r"The device is not exist|Get invalid device id|Optical module is not present"),
    ("busy", r"hccn_tool is busy|I2c is busy|The system is in optical module initializing|Get lock failed|The device is occupied"),
    ("unsupported", r"The command is not supported|Command unsupported|The VM does not support|This device does not support|Get unknown option!"),
    ("no_permission", r"permission denied: pls check"),
    ("timeout", r"The cmd line execute timeout"),
    ("no_answer", r"Cmd execute failed|Command execute failed|Control link unreachable|Execute failed: |Get device health status failed"
                  r"|The hccn\.conf can't access|Read file failed|Open file failed|Speed: Unknown!"),
)
#: what net_health can be, by the tool's own table; only Success is healthy
_HEALTH = {word.lower(): word for word in (
    "Success", "Socket fail", "Receive timeout", "Unreachable", "Time exceeded", "Fault", "Init", "Thread error", "Detect ip set", "Unknown")}
_HEALTH["socket failed"] = "Socket fail"

_SWITCH = re.compile(r"dev_id:\s*(\d+), tls switch\[([01])\]\([^)]*\),(?: tls preconfigured\[([01])\]\([^)]*\),)?"
                     r" tls alarm time threshold\[(\d+)\]\s*days")
_CERTIFICATE = re.compile(r"dev_id:\s*(\d+), \[([^\]]+)\] info:")
_CERTIFICATE_FIELD = re.compile(r"(subject|issuer|start_time|end_time)\[(.*)\]")
_EXPIRATION = re.compile(r"tls expiration status\[([012])\]\(.*\)")
_STAT_LINE = re.compile(r"\[dev(?:id|ice) (\d+)\](.*)")
_STAT_ROW = re.compile(r"\|[\d\s|]*\|\s*LINK_(UP|DOWN)\s*\|\s*(\S.*?)\s*\|")
_CONF = re.compile(r"(\w+?)_(\d+)\s*=\s*(.*)")

Lines = Sequence[str]


def read(lines: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Read the answers of many queries.

    Args:
        lines: ``DEVICE|QUERY|RC|TEXT``, a line for each that the tool printed, at least one a query. RC is the tool's exit status, 124
            when it was killed after its time. More words behind the query keep two of the same apart: ``ping 10.20.0.2``, ``stat again``.

    Returns:
        By device and query the value, or an Unread. A query that was asked and is not there got no line at all:
        see answer() below for all that can be asked.
    """
    found: dict[int, dict[str, Any]] = {}
    for (device, query), (code, text) in gather(lines).items():
        if device.isdecimal():
            found.setdefault(int(device), {})[query] = answer(int(device), query, code, text)
    return found


def answer(device: int, query: str, code: int, text: Lines) -> Any:
    """Read one answer.

    An Unread, or for

    * link: "UP" or "DOWN",
    * net_health: Success, Socket fail, Receive timeout, Unreachable, Time exceeded, Fault, Init, Thread error, Detect ip set or Unknown,
    * ip: ``address`` and ``netmask``; gateway and netdetect: an address, 0.0.0.0 where no address is to be detected,
    * tls: ``switch`` (0 or 1), ``preconfigured`` (0, 1 or None), ``alarm_days``, and ``certificates`` with ``name``, ``ends`` (time in UTC)
      and ``expiration`` (0 normal, 1 near, 2 expired, None where it is not told),
    * stat: number of each counter,
    * optical: see _hccn_optical.py,
    * link_stat: ``current_time`` (of the host; None on 950), ``up_count``, ``down_count`` (None where it is not told), and ``changes``, the
      newest first: [time, "UP" or "DOWN"],
    * mtu in bytes; speed in Mb/s; lldp: name of the switch's port,
    * ping: ``sent``, ``received``, ``loss_percent``.
    """
    name = (query.split() or [""])[0]
    if name == "ip" and code == 0 and not any(line.strip() for line in text):
        return Unread("not_set", "nothing, exit status 0")  # as 910A with 23.0.5 was recorded
    return understand(code, text, _REFUSALS, lambda lines: _reader(name)(device, lines))


def read_conf(text: str) -> dict[int, dict[str, str]]:
    """Read /etc/hccn.conf: by device the values of ``address``, ``netmask``, ``gateway``, ``netdetect``, ``tls_enable`` and all others."""
    found: dict[int, dict[str, str]] = {}
    for line in text.splitlines():
        match = _CONF.fullmatch(line.strip())
        if match:
            key, device, value = match.groups()
            found.setdefault(int(device), {})[key] = value
    return found


def _reader(name: str) -> Callable[[int, Lines], Any]:
    try:
        return QUERIES[name]
    except KeyError:
        raise StrangeError(name) from None


def _one(lines: Lines, pattern: str) -> str:
    """Return the group of the only line, which has to be of this form."""
    found = re.fullmatch(pattern, lines[0])
    if len(lines) != 1 or not found:
        raise StrangeError(lines[0])
    return found.group(1)


def _address(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise StrangeError(text) from None


def _link(_device: int, lines: Lines) -> str:
    return _one(lines, "link status: *(UP|DOWN)")


def _net_health(_device: int, lines: Lines) -> str:
    word = _one(lines, "net health status: *(.+)").lower()
    if word not in _HEALTH:
        raise StrangeError(word)
    return _HEALTH[word]


def _ip(_device: int, lines: Lines) -> dict[str, str]:
    address, netmask = (_address(_one(part, rf"{word}: *([\d.]+)")) for word, part in (("ipaddr", lines[:1]), ("netmask", lines[1:] or [""])))
    hosts = int(ipaddress.IPv4Address(netmask)) ^ 0xFFFFFFFF
    if hosts & (hosts + 1):
        raise StrangeError(netmask)
    return {"address": address, "netmask": netmask}


def _gateway(_device: int, lines: Lines) -> str:
    return _address(_one(lines, r"default gateway: *([\d.]+), *Iface: *eth\d+"))


def _netdetect(_device: int, lines: Lines) -> str:
    return _address(_one(lines, r"netdetect addr(?:ess)?: *([\d.]+)"))


def _mtu(_device: int, lines: Lines) -> int:
    mtu = int(_one(lines, r"mtu: *(\d{1,5})"))
    if not 68 <= mtu <= 9702:  # what the tool takes
        raise StrangeError(str(mtu))
    return mtu


def _speed(_device: int, lines: Lines) -> int:
    return int(_one(lines, r"Speed: *(\d+) *Mb/s"))


def _tls(device: int, lines: Lines) -> dict[str, Any]:
    found: dict[str, Any] = {}
    certificates: list[dict[str, Any]] = []
    before = 0
    for line in lines:
        switch, certificate = _SWITCH.fullmatch(line), _CERTIFICATE.fullmatch(line)
        field, expiration = _CERTIFICATE_FIELD.fullmatch(line), _EXPIRATION.fullmatch(line)
        told = switch or certificate
        if told and int(told.group(1)) != device:
            raise StrangeError(line)
        if switch and not found:
            found = {"switch": int(switch.group(2)), "preconfigured": int(switch.group(3)) if switch.group(3) else None,
                     "alarm_days": int(switch.group(4)), "certificates": certificates}
        elif certificate:
            certificates.append({"name": certificate.group(2), "ends": None, "expiration": None})
        elif field and certificates:
            if field.group(1) == "end_time":
                certificates[-1]["ends"] = iso_time(re.sub(" GMT$", "", field.group(2))) + "Z"
        elif expiration and certificates and certificates[-1]["expiration"] is None:
            certificates[-1]["expiration"] = int(expiration.group(1))
        elif expiration and expiration.group(1) == "2":
            before += 1  # the line of an expired one goes to stderr, ahead of all others
        else:
            raise StrangeError(line)
    silent = [one for one in certificates if one["expiration"] is None]
    if before and len(silent) == before:
        for one in silent:
            one["expiration"] = 2
    elif before or 0 < len(silent) < len(certificates):
        raise StrangeError("an expiration of no certificate, or a certificate without one")
    if not found or not all(one["ends"] for one in certificates):
        raise StrangeError("cut off")
    return found


def _counters(_device: int, lines: Lines) -> dict[str, int]:
    if lines[0] != "packet statistics:" or len(lines) == 1:
        raise StrangeError(lines[0])
    found = {}
    for line in lines[1:]:
        name, _, number = (part.strip() for part in line.partition(":"))
        if not name or not number.isdecimal():
            raise StrangeError(line)
        found[name] = int(number)
    return found


def _link_stat(device: int, lines: Lines) -> dict[str, Any]:
    found: dict[str, Any] = {"current_time": None, "down_count": None}
    changes: list[list[str]] = []
    rules = 0  # of the table that a 950 prints
    for line in lines:
        prefix, row = _STAT_LINE.fullmatch(line), _STAT_ROW.fullmatch(line)
        if prefix and int(prefix.group(1)) != device:
            raise StrangeError(line)
        rest = prefix.group(2).strip() if prefix else line
        key, _, value = (part.strip() for part in rest.partition(":"))
        change = re.fullmatch(r"(\w{3} .*\d{4}) +LINK (UP|DOWN)", rest)
        if row:
            changes.append([iso_time(row.group(2)), row.group(1)])
        elif change:
            changes.append([iso_time(change.group(1)), change.group(2)])
        elif key == "current time":
            found["current_time"] = iso_time(value)
        elif key in ("link up count", "link down count") and value.isdecimal():
            found[key[5:].replace(" ", "_")] = int(value)
        elif key == "link change records" and value in ("", "NA"):
            found["told"] = value
        elif re.fullmatch(r"\+[-+]+\+", line):
            rules += 1
        elif not line.startswith("| NPU"):
            raise StrangeError(line)
    told = found.pop("told", None)
    whole = bool(changes) != (told == "NA") and found["current_time"] if rules == 0 and told is not None else rules == 3
    if "up_count" not in found or not whole:
        raise StrangeError("cut off")
    return {**found, "changes": changes}


def _lldp(_device: int, lines: Lines) -> str:
    for line, value in zip(lines, lines[1:-1]):  # the last line may be cut off
        if line == "Port ID TLV" and ": " in value:
            return value.partition(": ")[2].strip()
    raise StrangeError(lines[0])


def _ping(_device: int, lines: Lines) -> dict[str, Any]:
    found = re.fullmatch(r"(\d+) packets transmitted, (\d+) received, ([\d.]+)% packets? loss", lines[-1])
    if not found or int(found.group(2)) > int(found.group(1)):
        raise StrangeError(lines[-1])
    return {"sent": int(found.group(1)), "received": int(found.group(2)), "loss_percent": float(found.group(3))}


#: what can be asked by ``hccn_tool -i N -<name> -g``; ping takes an address besides
QUERIES: dict[str, Callable[[int, Lines], Any]] = {
    "link": _link, "net_health": _net_health, "ip": _ip, "gateway": _gateway, "netdetect": _netdetect, "tls": _tls, "stat": _counters,
    "optical": lambda _device, lines: _hccn_optical.read(lines), "link_stat": _link_stat, "mtu": _mtu, "speed": _speed, "lldp": _lldp, "ping": _ping}
