"""The modules that ask npu-smi and hccn_tool, with the simulated tools."""
from __future__ import annotations

import importlib
import json
import threading
from pathlib import Path
from typing import Any, Callable

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.cluster.plugins.module_utils import _tool_run
from ansible_collections.ascend.cluster.plugins.module_utils._tool_answers import Unread
from ansible_collections.ascend.cluster.plugins.modules import hccn_info, npu_info

ROOT = Path(__file__).parents[2] / "rehearsal/hardware/root"
NPU_SMI = ROOT / "usr/local/sbin/npu-smi"
HCCN_TOOL = ROOT / "usr/local/Ascend/driver/tools/hccn_tool"

Node = Callable[..., None]


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Node:
    """A node of four NPUs; call it with the lines of its faults."""
    monkeypatch.setenv("REHEARSAL_ROOT", str(tmp_path))
    (tmp_path / "etc/rehearsal").mkdir(parents=True)
    (tmp_path / "etc/rehearsal/node.env").write_text("NODE_INDEX=2\nNPU_COUNT=4\n")

    def write(*lines: str) -> None:
        (tmp_path / "etc/rehearsal/faults").write_text("".join(f"{line}\n" for line in lines))

    return write


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(module: Any, **options: Any) -> dict[str, Any]:
        given = {"npu_smi": str(NPU_SMI), **({"tool": str(HCCN_TOOL), "conf": str(tmp_path / "etc/hccn.conf")} if module is hccn_info else {})}
        with patch_module_args({**given, **options, "_ansible_check_mode": True}), pytest.raises(SystemExit):
            module.main()
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not found.get("changed")
        return found

    return call


@pytest.mark.parametrize("name", ["npu_info", "hccn_info"])
def test_what_is_documented_is_what_is_taken(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"ansible_collections.ascend.cluster.plugins.modules.{name}")
    documented = yaml.safe_load(module.DOCUMENTATION)
    taken: dict[str, Any] = {}

    def stop(**given: Any) -> None:
        taken.update(given)
        raise SystemExit

    monkeypatch.setattr(module, "AnsibleModule", stop)
    with pytest.raises(SystemExit):
        module.main()
    assert taken["supports_check_mode"] is True
    assert {key: {part: value for part, value in option.items() if part != "description"} for key, option in documented["options"].items()} == (
        taken["argument_spec"])
    assert (documented["module"], documented["attributes"]["check_mode"]["support"]) == (name, "full")
    for example in yaml.safe_load(module.EXAMPLES):
        options = example[f"ascend.cluster.{name}"] or {}
        assert set(options) <= set(taken["argument_spec"])


def test_a_node_that_is_well(faults: Node, ask: Any, tmp_path: Path) -> None:
    (tmp_path / "etc/hccn.conf").write_text("address_0=10.20.2.1\ntls_enable_0=0\n")
    found = ask(hccn_info)
    assert list(found["devices"]) == ["0", "1", "2", "3"]
    assert [one["ip"]["address"] for one in found["devices"].values()] == ["10.20.2.1", "10.20.2.2", "10.20.2.3", "10.20.2.4"]
    assert set(found["devices"]["3"]) == {*hccn_info.QUERIES}
    assert not any("error" in value for one in found["devices"].values() for value in one.values() if isinstance(value, dict))
    assert found["conf"] == {"0": {"address": "10.20.2.1", "tls_enable": "0"}}
    npus = ask(npu_info)
    assert npus["version"] == "23.0.5"
    assert [(chip["npu"], chip["device"], chip["health"], chip["faults"]["codes"], chip["processes"]) for chip in npus["chips"]] == [
        (npu, npu, "OK", [], []) for npu in range(4)]
    assert not any(number for chip in npus["chips"] for number in chip["ecc"].values())


def test_values_and_reasons(faults: Node, ask: Any) -> None:
    faults("link_down_1", "busy_once_2", "ip_3=none", "optical_3=absent")
    found = ask(hccn_info, queries=["link", "ip", "optical"], devices=[1, 2, 3])["devices"]
    assert [one["link"] for one in found.values()] == ["DOWN", "UP", "UP"]
    assert found["3"]["ip"] == {"error": "not_set", "words": "Get ipconf failed, because no ip was preset there!"}
    assert found["3"]["optical"] == {"error": "absent", "words": "Optical module is not present."}
    assert found["2"]["optical"]["present"] is True


def test_pings(faults: Node, ask: Any) -> None:
    faults("ping_loss_1")
    found = ask(hccn_info, queries=[], ping=["10.20.1.1", "10.20.1.2"], devices=[0, 1])["devices"]
    assert {device: [one["received"] for one in answers.values()] for device, answers in found.items()} == {"0": [3, 3], "1": [0, 0]}
    assert list(found["0"]) == ["ping 10.20.1.1", "ping 10.20.1.2"]


def test_an_npu_that_hangs_costs_one_time_out_and_no_other_npu(faults: Node, ask: Any) -> None:
    faults("hang_hccn_1")
    found = ask(hccn_info, timeout=5, devices=[0, 1])["devices"]
    assert found["0"]["link"] == "UP"
    assert found["1"]["link"] == {"error": "timeout", "words": ""}
    assert found["1"]["lldp"] == {"error": "timeout", "words": f"not asked, as `{HCCN_TOOL} -i 1 -link -g` did not end"}


def test_chips_that_are_not_well(faults: Node, ask: Any) -> None:
    faults("npu_health_1=Alarm", "npu_code_1=80E18401", "npu_ecc_2=1", "npu_isolated_2=64", "npu_busy_3=4711", "npu_memory_3=30000")
    chips = ask(npu_info)["chips"]
    assert [chip["health"] for chip in chips] == ["OK", "Alarm", "OK", "OK"]
    assert chips[1]["faults"] == {"codes": ["80E18401"], "information": [
        "node type=adda, sensor type=Heartbeat Sensor, event state=Heartbeat Lost."]}
    assert chips[2]["ecc"]["hbm_double_bit_isolated_pages_count"] == 64
    assert (chips[3]["processes"], chips[3]["memory_used_mib"]) == ([{"pid": 4711, "name": "python", "memory_mib": 26542}], 30000)


@pytest.mark.parametrize(("fault", "words"), [
    ("hang_npu_smi", "npu-smi info` did not end within 1 s (option timeout)"),
    ("npu_smi_fails", "shows no NPU, exit status 255: DrvMngGetConsoleLogLevel failed. (ret=4) dcmi module initialize failed. ret is -8005"),
    ("npu_health_1=", "prints a table that is not understood: a row that does not fit its headings: | 1 910B3 |"),
])
def test_npu_smi_that_does_not_tell(faults: Node, ask: Any, fault: str, words: str) -> None:
    faults(fault)
    found = ask(npu_info, timeout=1 if "hang" in fault else 60)
    assert found["failed"]
    assert words in found["msg"]


def test_hccn_info_needs_the_tool_and_the_numbers(faults: Node, ask: Any) -> None:
    assert "/nowhere (option tool) is no program that" in ask(hccn_info, tool="/nowhere")["msg"]
    faults("npu_smi_fails")
    said = ask(hccn_info)["msg"]
    assert "does not tell which NPUs there are (no_answer): DrvMngGetConsoleLogLevel failed." in said
    assert "set option devices" in said
    assert ask(hccn_info, devices=[0], queries=["link"])["devices"] == {"0": {"link": "UP"}}


def test_without_device_numbers_the_table_is_still_told(faults: Node, ask: Any, tmp_path: Path) -> None:
    program = tmp_path / "npu-smi"
    program.write_text(f'#!/bin/sh\n[ "$*" = info ] || {{ echo "This device does not support querying."; exit 1; }}\nexec {NPU_SMI} info\n')
    program.chmod(0o755)
    chips = ask(npu_info, npu_smi=str(program))["chips"]
    assert [(chip["health"], chip["device"], chip["ecc"]["error"]) for chip in chips] == [("OK", None, "unsupported")] * 4


def test_eight_are_at_work_at_once_and_no_more() -> None:
    together, lock = threading.Barrier(_tool_run.AT_ONCE), threading.Lock()
    running, most = [0], [0]

    def work(number: int) -> int:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        together.wait()  # passes only where eight wait at once
        with lock:
            running[0] -= 1
        return number

    assert _tool_run.side_by_side(work, range(24)) == list(range(24))
    assert most == [8]


def test_a_tool_whose_children_hang_is_left_after_its_time() -> None:
    code, lines = _tool_run.run(["sh", "-c", "echo link status: UP; sleep 600 & sleep 600"], 1)
    assert code == 124
    assert "UP" not in "".join(lines) or lines == ["link status: UP"]


def test_both_streams_and_the_exit_status() -> None:
    assert _tool_run.run(["sh", "-c", "echo one; echo two >&2; exit 13"], 30) == (13, ["one", "two"])
    assert _tool_run.run(["sh", "-c", "kill -SEGV $$"], 30)[0] == 256 - 11


def test_busy_is_asked_again_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tool_run, "PAUSES", (0.0, 0.0))
    answers = iter([Unread("busy", "x")] * 5)
    assert _tool_run.ask(["true"], 30, lambda _code, _lines: next(answers)) == Unread("busy", "x")
    assert len(list(answers)) == 2
