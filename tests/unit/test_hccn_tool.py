"""What hccn_tool says, and /etc/hccn.conf."""
from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _hccn_tool
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import Unread, plain
from hypothesis import given, settings
from hypothesis import strategies as st

FOLDER = Path(__file__).parent / "recorded" / "hccn_tool"
CASES = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.yml"))}


def asked(case: dict[str, Any]) -> tuple[int, str]:
    """Device and query of a recorded command, whose order is another on 950."""
    device, query = re.search(r"-i (\d)", case["command"]), re.search(r"-g -(\w+)|-(\w+) -g", case["command"])
    assert device and query
    return int(device.group(1)), query.group(1) or query.group(2)


def answer(case: dict[str, Any], text: str) -> Any:
    device, query = asked(case)
    return _hccn_tool.answer(device, query, case["rc"], text.splitlines())


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_recorded(case: dict[str, Any]) -> None:
    device, query = asked(case)
    lines = [f"{device}|{query}|{case['rc']}|{line}" for line in case["output"].splitlines() or [""]]
    assert {one: plain(found) for one, found in _hccn_tool.read(lines)[device].items()} == {query: case["expected"]}


def test_there_are_cases_of_every_query_and_of_every_kind_of_error() -> None:
    assert {asked(case)[1] for case in CASES.values()} == set(_hccn_tool.QUERIES)
    kinds = {case["expected"]["error"] for case in CASES.values() if isinstance(case["expected"], dict) and "error" in case["expected"]}
    assert kinds == {"not_set", "absent", "busy", "unsupported", "no_permission", "timeout", "no_answer", "unknown"}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_what_is_cut_off_is_never_read_as_something_else(case: dict[str, Any]) -> None:
    """At the ends of all lines, and at some places within each; the next test takes any place."""
    text, whole = case["output"], answer(case, case["output"])
    ends = [place for place, sign in enumerate(text) if sign == "\n"]
    for place in {*(end + more for end in ends for more in (-3, -2, -1, 0, 1)), *range(0, len(text), 11)}:
        compare(case, answer(case, text[:max(place, 0)]), whole)


@settings(deadline=None)
@given(st.sampled_from(sorted(CASES)), st.integers(0, 3000))
def test_what_is_cut_off_anywhere(name: str, place: int) -> None:
    case = CASES[name]
    compare(case, answer(case, case["output"][:place]), answer(case, case["output"]))


def compare(case: dict[str, Any], cut: Any, whole: Any) -> None:
    if isinstance(cut, Unread):
        return
    assert not isinstance(whole, Unread)
    query = asked(case)[1]
    if query in ("netdetect", "mtu"):  # a number at the very end: nothing tells how many digits it has
        assert str(whole).startswith(str(cut))
    elif query == "stat":
        assert all(str(whole[counter]).startswith(str(value)) for counter, value in cut.items())
    elif query == "tls":
        kept, those = ([(one["name"], one["ends"]) for one in found["certificates"]] for found in (cut, whole))
        assert {**cut, "certificates": []} == {**whole, "certificates": []}
        assert kept == those[:len(kept)]
    elif query == "link_stat":
        assert {**cut, "changes": whole["changes"]} == whole
        assert cut["changes"] == whole["changes"][:len(cut["changes"])] and bool(cut["changes"]) == bool(whole["changes"])
        assert cut["current_time"] or cut == whole, "a table of 950 tells where it ends"
    elif query == "optical":
        flags = {"rx_los", "rx_lol", "tx_los", "tx_lol"}  # of the last one a lane may be missing, but never all of a fault
        assert all(value in (None, []) or (bool(value) == bool(whole[key]) if key in flags else value == whole[key]) for key, value in cut.items())
        assert all(cut[key] == whole[key] for key in ("present", "tx_power_mw", "rx_power_mw", "thresholds"))
        assert bool(cut["rx_los"]) == bool(whole["rx_los"])
    else:
        assert cut == whole


@settings(deadline=None)
@given(st.lists(st.sampled_from([f"{device}|{query}|{rc}|{line}" for case in CASES.values() for line in case["output"].splitlines() for device in (0, 3)
                                 for query in ("link", "tls", "optical", "link_stat", "stat", "lldp") for rc in (0, 124)]
                                + ["", "|", "0|link", "x|link|0|link status: UP", "0|link||x", "0||0|", "0|link|0|", "ASCEND"]), max_size=12))
def test_any_mixture_of_lines_is_read_or_quoted(lines: list[str]) -> None:
    for answers in _hccn_tool.read(lines).values():
        for query, value in answers.items():
            assert query != "link" or isinstance(value, Unread) or f"link status: {value}" in "\n".join(lines)


@pytest.mark.parametrize("code", [0, 1, 13, 255])
def test_the_words_decide_and_not_the_exit_status(code: int) -> None:
    assert _hccn_tool.answer(0, "link", code, ["link status: DOWN"]) == "DOWN"
    assert _hccn_tool.answer(0, "gateway", code, ["Get gateway failed, because no gateway was preset there!"]).kind == "not_set"
    assert _hccn_tool.answer(0, "link", code, ["link state: good"]) == Unread(
        "unknown", "link state: good" + (f" (exit status {code})" if code else ""))


def test_no_address_is_said_by_nothing_at_all_only_where_the_tool_did_not_fail() -> None:
    assert [_hccn_tool.answer(0, "ip", code, [""]).kind for code in (0, 1, 139)] == ["not_set", "no_answer", "no_answer"]
    assert _hccn_tool.answer(0, "link", 0, [""]).kind == "no_answer"


def test_words_of_a_switch_are_not_taken_for_those_of_the_tool() -> None:
    assert changed("lldp", ("Huarong DX511", "Description: Cmd execute failed! permission denied: pls check")) == "400GE1/1/20:2"


@pytest.mark.parametrize("code", [124, 137])
def test_what_was_killed_has_no_value_whatever_it_printed(code: int) -> None:
    assert _hccn_tool.answer(0, "link", code, ["link status: UP"]) == Unread("timeout", "link status: UP")


@pytest.mark.parametrize(("query", "text"), [
    ("link", "link status: UP\nlink status: UP"), ("link", "link status: UP\nassertion failed"), ("link", "vnic link status: UP"),
    ("net_health", "net health status: Successful"), ("ip", "ipaddr:10.0.0.1"), ("ip", "ipaddr:10.0.0.256\nnetmask:255.255.0.0"),
    ("ip", "ipaddr:10.0.0.1\nnetmask:0.0.255.255"), ("ip", "ipaddr:10.0.0.1\nnetmask:255.0.255.0"), ("ip", "netmask:255.0.0.0\nipaddr:10.0.0.1"),
    ("mtu", "mtu:9703"), ("mtu", "mtu:67"), ("speed", "Speed: fast"), ("vnic", "vnic link status: UP"), ("stat", "packet statistics:"),
    ("stat", "packet statistics:\nroce_cqe_num:NA"), ("ping", "3 packets transmitted, 4 received, 0.00% packet loss"),
    ("ping", "device 0 PING 10.0.0.1\nrecv seq=0,time=0.1ms"), ("lldp", "Port ID TLV\n        Ifname: 400GE1/1/20:2"),
    ("link_stat", "[devid 1]current time        : Wed Aug  2 03:36:43 2022"),
    ("tls", "dev_id:1, tls switch[0](0:disable, 1:enable), tls alarm time threshold[60]days"),
    ("tls", "dev_id:0, tls switch[2](0:disable, 1:enable), tls alarm time threshold[60]days"),
])
def test_what_is_not_understood_is_quoted(query: str, text: str) -> None:
    assert _hccn_tool.answer(0, query, 0, text.splitlines()) == Unread("unknown", " ".join(text.split()))


def changed(case: str, *pairs: tuple[str, str]) -> Any:
    text = CASES[case]["output"]
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return answer(CASES[case], text)


@pytest.mark.parametrize(("old", "new"), [
    ("Tx Power1            : 1.3968 mW\n", ""), ("Rx Power0            : 1.0189 mW", "Rx Power0            : 1.0189 dBm"),
    ("Media SNR Lane3      : 23.2969 dB\n", ""), ("present              : not present", "present              : perhaps"), ("0xff", "yes"),
    ("RxPower Low Thres    : 0.1445 mW\n", ""), ("Rx Los Flag          : 0xff\n", ""), ("optical info:\n", ""), ("Vcc                  :", "Vcc"),
])
def test_an_optical_module_with_lines_that_are_missing_or_strange(old: str, new: str) -> None:
    assert changed("optical_910a_full", (old, new)).kind == "unknown"


def test_a_lane_that_is_missing_altogether_does_not_shift_the_others() -> None:
    assert changed("optical_910a_full", ("Tx Power1            : 1.3968 mW\nRx Power1            : 0.0054 mW\n", "")).kind == "unknown"


def test_labels_of_an_optical_module_that_we_do_not_need_may_be_new() -> None:
    found = changed("optical_910a_full", ("Vcc High", "vendor rev           : A1\nVcc High"))
    assert plain(found) == CASES["optical_910a_full"]["expected"]


def test_an_expired_certificate_among_others_is_found_when_its_line_comes_first() -> None:
    text = CASES["tls_certificates_950"]["output"].splitlines()
    place = next(number for number, line in enumerate(text) if "[ca1 cert]" in line) - 1
    line = text.pop(place).strip().replace("status[0]", "status[2]")
    found = _hccn_tool.answer(0, "tls", 0, [line, *text])
    assert [one["expiration"] for one in found["certificates"]] == [2, 0, 0, 1]
    assert _hccn_tool.answer(0, "tls", 0, text).kind == "unknown", "one certificate without its line"
    assert _hccn_tool.answer(0, "tls", 0, [line, line, *text]).kind == "unknown", "more lines than certificates without one"


def test_the_same_query_may_be_asked_twice_and_lines_of_devices_may_mix() -> None:
    found = _hccn_tool.read(["0|stat|0|packet statistics:", "1|link|0|link status: DOWN", "0|stat again|0|packet statistics:", "0|stat|0|roce_cqe_num:1",
                             "0|stat again|0|roce_cqe_num:5", "0|ping 10.0.0.2|0|3 packets transmitted, 3 received, 0.00% packet loss"])
    assert found == {0: {"stat": {"roce_cqe_num": 1}, "stat again": {"roce_cqe_num": 5},
                         "ping 10.0.0.2": {"sent": 3, "received": 3, "loss_percent": 0.0}}, 1: {"link": "DOWN"}}


def test_an_answer_may_hold_the_bar_that_parts_it() -> None:
    assert _hccn_tool.read(["0|link|0|a|b"]) == {0: {"link": Unread("unknown", "a|b")}}


def test_a_long_answer_is_shortened() -> None:
    assert len(_hccn_tool.answer(0, "link", 0, ["x" * 1000]).words) == 300


# Kept from a host of 8 x 910B with 24.1, and from an A3: a value with blanks, other orders of keys (public C++ unit test of a NPU collector,
# Huawei, Apache-2.0, runtime_manager XpuCollectorTest), keys of IPv6 (public unit test of HIXL); comments and a line of dots are ours.
CONF = """\
# made by the installer
address_0=127.0.0.45
netmask_0=255.255.0.0
netdetect_0=127.0.0.1
gateway_0=127.0.0.1
send_arp_status_0=1
tls_enable_0=0
...
address_12 = 127.0.0.250
arp_12=-i eth12 -s 127.0.0.43 78:dd:33:71:6f:79
IPv6address_0=121::101
"""


def test_the_configuration_file() -> None:
    assert _hccn_tool.read_conf(CONF) == {
        0: {"address": "127.0.0.45", "netmask": "255.255.0.0", "netdetect": "127.0.0.1", "gateway": "127.0.0.1", "send_arp_status": "1",
            "tls_enable": "0", "IPv6address": "121::101"},
        12: {"address": "127.0.0.250", "arp": "-i eth12 -s 127.0.0.43 78:dd:33:71:6f:79"}}
    assert _hccn_tool.read_conf("") == {}
