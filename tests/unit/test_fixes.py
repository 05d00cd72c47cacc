"""What check_cluster_fix does on which node, and what its program makes of it there."""
from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ascend.cluster.plugins.filter import check_fixes as plan_filter
from ansible_collections.ascend.cluster.plugins.filter import check_unmended as proof_filter
from ansible_collections.ascend.cluster.plugins.module_utils import _checks, _findings, _fixes, _probe

from tests.unit.test_checks import TLS_ON, hccn
from tests.unit.test_probe import SETTINGS, output, smi

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "roles/check_cluster/files/fix.sh"
TOOL = "/usr/local/Ascend/driver/tools/hccn_tool"
NO_IP = "Get ipconf failed, because no ip was preset there!"
FIX_SETTINGS: dict[str, Any] = {"addresses": {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}, "port_ranges": "6000-6015,60000-60031",
                                "unit": "ascend-pretrain.service"}


def nodes(**change: Any) -> dict[str, dict[str, Any]]:
    """Three healthy nodes with two NPUs each; what the probe says of some otherwise."""
    found = {}
    for number, name in enumerate("abc"):
        lines = [line for device in (0, 1) for line in hccn(device, ip=f"ipaddr:10.20.{number}.{device + 1}|netmask:255.255.0.0")]
        found[name] = _probe.node(output(**{"hccn": lines, **change.get(name, {})}), SETTINGS, name)
    return found


def npu(number: int, **answers: str) -> dict[str, list[str]]:
    """Answers of node b, its NPU 1 otherwise."""
    own = {device: f"ipaddr:10.20.{number}.{device + 1}|netmask:255.255.0.0" for device in (0, 1)}
    return {"hccn": [*hccn(0, ip=own[0]), *hccn(1, **{"ip": own[1], **answers})]}


def plan(judged: dict[str, dict[str, Any]], *asked: str) -> dict[str, Any]:
    found = _findings.report(judged, [], {**SETTINGS, "nproc_per_node": 1})["result"]
    hostvars = {host: {"__preflight_node": node} for host, node in judged.items()}
    filled = plan_filter.FilterModule().filters()["check_fixes"](found, hostvars, list(asked), FIX_SETTINGS)
    assert isinstance(filled, dict)
    return filled


def test_every_fix_has_a_check_that_offers_it_and_words() -> None:
    assert _fixes.names() == sorted(_fixes._FIXES) == sorted(_checks.OFFERS)
    for check in _checks.TABLE:
        if check.fix:
            assert f"-e check_cluster_fix={check.fix}`" in _checks.offer(check)
    defaults = (ROOT / "roles/check_cluster/defaults/main.yml").read_text(encoding="utf-8")
    assert ", ".join(_fixes.names()) in defaults


def test_a_tls_switch_becomes_that_of_the_others() -> None:
    done = plan(nodes(b=npu(1, tls=TLS_ON)), "tls_switch")
    assert done["told"] == [f"b: tls_switch: NPU 1: TLS switch from 1 to 0: {TOOL} -i 1 -tls -s enable 0"]
    assert done["scripts"] == {"b": f"attempt {TOOL} -i 1 -tls -s enable 0\nfinish b\n"}
    assert done["left"] == done["errors"] == []


def test_nothing_is_done_unasked_nor_where_nothing_is_found() -> None:
    sick = nodes(b=npu(1, tls=TLS_ON))
    assert plan(sick)["scripts"] == {}
    asked = plan(sick, "npu_address", "limits")
    assert (asked["scripts"], asked["left"][0]) == ({}, "npu_address: nothing is found that it would mend (npu_address)")


def test_a_node_where_our_run_is_in_progress_is_left() -> None:
    done = plan(nodes(b={**npu(1, tls=TLS_ON), "unit_state": "active"}), "tls_switch")
    assert (done["scripts"], done["left"]) == ({}, ["b: tls_switch is left, for our own run is in progress there (playbooks/stop.yml ends it)"])


@pytest.mark.parametrize(("conf", "call", "left"), [
    (["address_1=10.20.1.9", "netmask_1=255.255.0.0"], f"attempt {TOOL} -i 1 -ip -s address 10.20.1.9 netmask 255.255.0.0\n", ""),
    (["address_0=10.20.1.1"], "", "/etc/hccn.conf has no address and netmask for NPU 1 that can be used (found none and none)"),
    (["address_1=10.20.1.9"], "", "(found 10.20.1.9 and none)"),
    (["address_1=$(reboot)", "netmask_1=255.255.0.0"], "", "(found $(reboot) and 255.255.0.0)"),
    (["address_1=10.20.1.9", "netmask_1=255.0.255.0"], "", "(found 10.20.1.9 and 255.0.255.0)"),
    (["address_1=10.20.2.1", "netmask_1=255.255.0.0"], "", "/etc/hccn.conf has 10.20.2.1 for NPU 1, which is that of NPU 0 of c"),
])
def test_an_address_is_that_of_the_file_or_none(conf: list[str], call: str, left: str) -> None:
    done = plan(nodes(b={**npu(1, ip=NO_IP), "hccn_conf": conf}), "npu_address")
    assert done["scripts"].get("b", "") == (f"{call}finish b\n" if call else "")
    assert left in "".join(done["left"]) and bool(done["left"]) == bool(left)


def test_two_npus_without_an_address_do_not_get_the_same() -> None:
    lines = [*hccn(0, ip=NO_IP), *hccn(1, ip=NO_IP)]
    conf = ["address_0=10.20.1.9", "netmask_0=255.255.0.0", "address_1=10.20.1.9", "netmask_1=255.255.0.0"]
    done = plan(nodes(b={"hccn": lines, "hccn_conf": conf}), "npu_address")
    assert done["scripts"]["b"].count("attempt") == 1 and "which is that of NPU 0 of b" in done["left"][0]


@pytest.mark.parametrize(("seen", "function"), [
    (["firewalld", "nftables (a chain of input with policy drop)"], "open_firewalld"), (["nftables (a chain of input with policy drop)"], "open_nftables"),
    (["ufw", "iptables (INPUT has policy DROP)"], "open_ufw")])
def test_a_firewall_is_opened_for_the_other_nodes_and_the_ports_of_a_run(seen: list[str], function: str) -> None:
    done = plan(nodes(b={"firewall": seen}), "firewall")
    # HCCL's ports lie in the kernel's range: united, as nftables wants them.
    assert shlex.split(done["scripts"]["b"].splitlines()[0]) == [function, "6000-6015 32768-60999", "10.0.0.1", "10.0.0.3"]
    assert "b: firewall: " in done["told"][0] and " lets 10.0.0.1, 10.0.0.3 in on TCP 6000-6015, 32768-60999" in done["told"][0]


@pytest.mark.parametrize(("change", "settings", "words"), [
    ({"firewall": ["iptables (INPUT has policy DROP)"]}, {}, "its firewall (iptables (INPUT has policy DROP)) is none of firewalld, ufw, nftables"),
    ({"firewall": ["ufw"], "ephemeral": []}, {}, "its range of ports"),
    ({"firewall": ["ufw"]}, {"addresses": {"a": "node-a", "b": "10.0.0.2"}}, "node-a is no address; set cluster_address"),
])
def test_a_firewall_that_is_left(change: dict[str, Any], settings: dict[str, Any], words: str) -> None:
    judged = nodes(b=change)
    done = _fixes.plan(judged, [{"node": "b", "check": "firewall"}], ["firewall"], {**FIX_SETTINGS, **settings})
    assert done["calls"] == {} and words in done["left"][0]


def test_unknown_names_are_refused_with_the_list() -> None:
    done = plan(nodes(b=npu(1, tls=TLS_ON)), "tls_switch", "tls", "reboot")
    assert done["scripts"] == {}
    assert "names tls, reboot: expected some of firewall, limits, npu_address, tls_switch" in done["errors"][0]


@pytest.mark.parametrize(("said", "words"), [
    ("end=b\ndone=x", "every command said that it was done"),
    ("failed=hccn_tool -i 1: Cmd execute failed! (exit status 1)\r\nend=b", "hccn_tool -i 1: Cmd execute failed!"),
    ("sudo: a password is required", "did not say what became of it: sudo: a password is required"), ("", "did not say what became of it: nothing")])
def test_what_is_found_again_was_not_mended(said: str, words: str) -> None:
    sick = nodes(b=npu(1, tls=TLS_ON))
    proof = proof_filter.FilterModule().filters()["check_unmended"]
    found = _findings.report(sick, [], SETTINGS)["result"]
    seen = {host: {"__preflight_node": node} for host, node in sick.items()}
    lines = proof(found, plan(sick, "tls_switch")["calls"], {"b": said}, seen)
    assert len(lines) == 1 and lines[0].startswith("b: tls_switch did not help: The TLS switch of NPUs differs: NPU 1: 1; ") and words in lines[0]
    healthy = nodes()
    seen = {host: {"__preflight_node": node} for host, node in healthy.items()}
    assert proof(_findings.report(healthy, [], SETTINGS)["result"], plan(sick, "tls_switch")["calls"], {"b": said}, seen) == []


@pytest.mark.parametrize(("second", "words"), [
    ({**npu(1, tls="The command is not supported on this product.")}, "NPU 1: tls is unknown, not 0"), ({"hccn": hccn(0)}, "NPU 1: tls is unknown, not 0"),
    (None, "the second look got no answer")])
def test_what_the_second_look_does_not_show_is_not_proved(second: dict[str, Any] | None, words: str) -> None:
    calls = plan(nodes(b=npu(1, tls=TLS_ON)), "tls_switch")["calls"]
    after = {"b": _probe.node({}, SETTINGS, "b")} if second is None else nodes(b=second)
    lines = _fixes.still_there(calls, [], {"b": "end=b"}, after)
    assert lines == [f"b: tls_switch is not proved: {words}; every command said that it was done"]


def test_a_firewall_that_not_all_were_seen_to_pass_is_not_proved() -> None:
    calls = {"b": [["firewall", "words", "open_ufw", ()]]}
    found = [{"node": "b", "check": "firewall", "cause": "A firewall is active", "found": "ufw"}]
    assert _fixes.still_there(calls, found, {"b": "end=b"}, nodes())[0].startswith("b: firewall is not proved: A firewall is active: ufw; ")


def test_links_of_npus_that_somebody_uses_are_left() -> None:
    busy = smi("910b4_idle", ("2858 / 32768", "20000/ 32768"))
    done = plan(nodes(b={**npu(1, tls=TLS_ON), "npu_smi_line": busy, "firewall": ["ufw"]}), "tls_switch", "firewall")
    assert list(done["scripts"]) == ["b"] and "hccn_tool" not in done["scripts"]["b"] and "open_ufw" in done["scripts"]["b"]
    assert done["left"] == ["b: tls_switch is left, for its NPUs may be in use (Memory of NPUs is held, though npu-smi lists no process there): "
                            "mend that first"]


def test_a_node_whose_job_is_unknown_is_left() -> None:
    done = plan(nodes(b={**npu(1, tls=TLS_ON), "unit_state": []}), "tls_switch")
    assert (done["scripts"], done["left"]) == ({}, ["b: tls_switch is left, for whether our own run is in progress there is unknown"])


def test_a_tie_of_the_tls_switch_is_left_to_the_user() -> None:
    on = {"hccn": [*hccn(0, tls=TLS_ON.replace("dev_id:1", "dev_id:0"), ip="ipaddr:10.20.1.1|netmask:255.255.0.0"),
                   *hccn(1, tls=TLS_ON, ip="ipaddr:10.20.1.2|netmask:255.255.0.0")]}
    judged = nodes(b=on)
    done = plan({host: judged[host] for host in "ab"}, "tls_switch")
    assert done["scripts"] == {} and "b: tls_switch is left: as many NPUs have it one way as the other (0 on 2 and 1 on 2)" in done["left"][0]


class Node:
    """A folder whose programs stand for those of a node; each call of one is a line of its log."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.log = folder / "bin", folder / "log"
        self.bin.mkdir()
        self.log.touch()

    def has(self, name: str, body: str) -> None:
        (self.bin / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{self.log}\n{body}\n', encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def run(self, *calls: str) -> subprocess.CompletedProcess[str]:
        text = PROGRAM.read_text(encoding="utf-8") + "\n" + "\n".join(calls) + "\nfinish node1\n"
        return subprocess.run(["/bin/sh", "-c", text, "fix"], env={"PATH": f"{self.bin}:{os.environ['PATH']}"}, capture_output=True, text=True, check=False)

    def calls(self, *words: str) -> list[str]:
        return [line for line in self.log.read_text(encoding="utf-8").splitlines() if all(word in line for word in words)]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_busy_tool_is_asked_again_and_a_failure_is_told(node: Node) -> None:
    node.has("sleep", "")
    node.has("hccn_tool", f'[ "$(grep -c hccn_tool {node.log})" -gt 2 ] || {{ echo "hccn_tool is busy, please try again."; exit 11; }}')
    done = node.run("attempt hccn_tool -i 1 -tls -s enable 0")
    assert (done.returncode, done.stdout) == (0, "done=hccn_tool -i 1 -tls -s enable 0\nend=node1\n")
    node.has("hccn_tool", "printf 'no\\nway\\n' >&2; exit 3")
    done = node.run("attempt hccn_tool -i 1 -x", "attempt true")
    assert (done.returncode, done.stdout) == (1, "failed=hccn_tool -i 1 -x: no way (exit status 3)\ndone=true\nend=node1\n")


def test_firewalld_gets_a_rule_a_port_and_address_for_now_and_for_good_and_no_second_time(node: Node) -> None:
    node.has("ip", 'echo "10.0.0.1 dev eth7 src 10.0.0.2 uid 0"')
    node.has("firewall-cmd", f"""case "$*" in
      --get-zone-of-interface=eth7) echo cluster ;;
      *--list-rich-rules) grep "^firewall-cmd ${{*% --list-rich-rules}} --add" {node.log} | sed 's/ --add-rich-rule=/\\n/g' | grep '^rule' ;;
    esac""")
    call = "open_firewalld '6000-6015 16666' 10.0.0.1 fd00::1"
    assert node.run(call).returncode == 0
    rules = " ".join(f'--add-rich-rule=rule family="{family}" source address="{address}" port port="{port}" protocol="tcp" accept'
                     for family, address in (("ipv4", "10.0.0.1"), ("ipv6", "fd00::1")) for port in ("6000-6015", "16666"))
    assert node.calls("--add-rich-rule") == [f"firewall-cmd {lasting}--zone=cluster {rules}" for lasting in ("--permanent ", "")]
    assert len(node.calls("firewall-cmd")) == 5
    again = node.run(call)
    assert "done=" not in again.stdout and again.stdout.count("kept=rule") == 8 and len(node.calls("--add-rich-rule")) == 2
    node.run(call + " 10.0.0.4")
    assert [line.count("--add-rich-rule=") for line in node.calls("--add-rich-rule")] == [4, 4, 2, 2]


def test_ufw_gets_one_rule_an_address_and_no_second_time(node: Node) -> None:
    # As `ufw show added` words them.
    added = r"s/^ufw allow proto tcp from \(.*\) to any port \(.*\) comment \(.*\)/ufw allow from \1 to any port \2 proto tcp comment \3/p"
    node.has("ufw", f"[ \"$*\" != 'show added' ] || sed -n '{added}' {node.log}")
    call = "open_ufw '6000-6015 16666' 10.0.0.1 10.0.0.11"
    assert node.run(call).returncode == 0
    rules = [f"ufw allow proto tcp from {address} to any port 6000:6015,16666 comment ascend-cluster" for address in ("10.0.0.1", "10.0.0.11")]
    assert node.calls("ufw allow proto") == rules
    assert "done=" not in node.run(call).stdout and node.calls("ufw allow proto") == rules


def test_nftables_gets_a_rule_an_address_in_each_chain_of_input_that_drops(node: Node) -> None:
    node.has("nft", f"""case "$*" in
      'list chains') cat <<'CHAINS'
table inet filter {{
	chain input {{
		type filter hook input priority filter; policy drop;
	}}
	chain forward {{
		type filter hook forward priority filter; policy drop;
	}}
}}
table ip other {{
	chain INPUT {{
		type filter hook input priority filter; policy accept;
	}}
}}
CHAINS
      ;;
      list*) sed -n 's/.*accept //p' {node.log} ;;
    esac""")
    call = "open_nftables '6000-6015 16666' 10.0.0.1 fd00::1"
    done = node.run(call)
    assert done.returncode == 0
    rules = ['nft insert rule inet filter input ip saddr 10.0.0.1 tcp dport { 6000-6015, 16666 } accept comment "ascend-cluster 10.0.0.1 6000-6015 16666"',
             'nft insert rule inet filter input ip6 saddr fd00::1 tcp dport { 6000-6015, 16666 } accept comment "ascend-cluster fd00::1 6000-6015 16666"']
    assert node.calls("nft insert") == rules
    assert "done=" not in node.run(call).stdout and node.calls("nft insert") == rules
    node.has("nft", node.bin.joinpath("nft").read_text(encoding="utf-8").replace("list*)", "insert*) exit 1 ;; list*)"))
    assert node.run("open_nftables 29400 10.0.0.1").returncode == 1


def test_limits_that_are_low_get_a_drop_in_of_the_unit() -> None:
    low = ["LimitNOFILESoft=1024", "LimitMEMLOCKSoft=65536", "LimitNPROCSoft=999999", "TasksMax=infinity"]
    done = plan(nodes(b={"unit_limit": low}), "limits")
    assert shlex.split(done["scripts"]["b"].splitlines()[0]) == ["set_limits", "ascend-pretrain.service", "LimitNOFILE 65536", "LimitMEMLOCK infinity"]
    manager = plan(nodes(b={"unit_limit": ["DefaultLimitNPROCSoft=99"]}), "limits")
    assert manager["scripts"] == {} and "DefaultLimitNPROC is the service manager's own: set it in /etc/systemd/system.conf" in manager["left"][0]


def test_a_drop_in_keeps_hard_limits_that_are_higher_and_its_other_lines(node: Node, tmp_path: Path) -> None:
    node.has("systemctl", 'case "$*" in *LimitNOFILE*) echo 524288 ;; *LimitNPROC*) echo 100 ;; *) echo infinity ;; esac')
    calls = ["set_limits x.service 'LimitNOFILE 65536' 'TasksMax 4096'", "set_limits x.service 'LimitMEMLOCK infinity' 'LimitNPROC 4096'"]
    head = "# Made by check_cluster_fix: what the checks found too low for the training.\n[Service]\nLimitNOFILE=65536:524288\nTasksMax=4096\n"
    file = tmp_path / "x.service.d/50-check-cluster.conf"
    for call, text in zip(calls, (head, f"{head}LimitMEMLOCK=infinity\nLimitNPROC=4096\n")):
        first, second = (node.run(f"SYSTEMD={tmp_path}", call) for _ in range(2))
        assert (first.stdout, second.stdout) == ("done=systemctl daemon-reload\nend=node1\n", f"kept={file}\nend=node1\n")
        assert file.read_text(encoding="utf-8") == text
