"""The vendor's error codes: complete, in both languages, with a role that blames nobody who only waited."""
import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _fault_codes_cann, _fault_codes_comm
from ansible_collections.ascend.cluster.plugins.module_utils._fault_codes import CODE, CODES, RETURN_CODE, family, find

ROWS = _fault_codes_comm.ROWS + _fault_codes_cann.ROWS
ROLES = {"cause", "cascade", "confirmation"}
# The verdict's keys that a code can give, and "" where it gives none.
CAUSES = {"", "unknown", "wrong_setting", "npu_out_of_memory", "host_out_of_memory", "python_exception", "import_error", "disk_full", "port_in_use",
          "address_unreachable", "last_process_running", "device_error", "operator_failed", "version_mismatch", "permission_denied"}
CHINESE = re.compile(r"[一-鿿]")


def test_a_code_has_one_row():
    codes = [row[0] for row in ROWS]
    assert sorted(codes) == sorted(set(codes)) == sorted(CODES)


def test_there_are_enough_of_the_families_that_a_training_prints():
    assert sum(code.startswith(("EI", "EJ", "EZ", "ERR")) for code in CODES) >= 40
    assert len(CODES) >= 110


@pytest.mark.parametrize("row", CODES.values(), ids=lambda row: row.code)
def test_row(row):
    assert row.role in ROLES
    assert row.cause in CAUSES
    # Whoever is at fault must be told as what; who only confirms names no cause.
    assert bool(row.cause) is (row.role == "cause") or row.code in ("EI0008", "EI0015")
    for text in (row.en, row.remedy_en):
        assert text[0].isupper() or text.split()[0] in ("torch_npu",)
        assert text.endswith((".", "?"))
        assert not CHINESE.search(text)
    for text in (row.zh, row.remedy_zh):
        assert CHINESE.search(text)
        assert text.endswith(("。", "？"))
    assert row.source.startswith("https://")
    assert re.search(r"^(CANN|torch_npu) (\d|master)", row.version)
    assert CODE.fullmatch(row.code) or re.fullmatch(r"\d{6}", row.code)
    assert family(row.code)


def test_remedies_name_variables_tags_and_playbooks_that_exist():
    root = Path(__file__).parents[2]
    known = {name for role in ("plan", "pretrain") for name in yaml.safe_load((root / f"roles/{role}/defaults/main.yml").read_text())}
    for row in CODES.values():
        for text in (row.remedy_en, row.remedy_zh):
            assert set(re.findall(r"(?:plan|pretrain)_\w+", text)) <= known, row.code
            for playbook in re.findall(r"[\w/]+\.yml", text):
                assert (root / playbook).is_file(), row.code
            for tags in re.findall(r"--tags ([\w,]+)", text):
                assert all((root / f"playbooks/{tag}.yml").is_file() for tag in tags.split(",")), row.code


@pytest.mark.parametrize("code", [
    "EI0002", "EI0005", "EI0006", "EI0008", "EI0009", "EI0012", "EI0013", "EI0015", "EI9999", "ERR02200", "ERR02011", "EE1002",
    "107020", "507046", "507048", "507055", "507057"])
def test_who_only_waited_or_lost_a_peer_is_not_to_blame(code):
    assert find(code).role == "cascade"


@pytest.mark.parametrize("code", ["ERR00100", "ERR01100", "ERR99999", "EE9999", "EH9999", "EE1001", "507011", "507013", "507018", "361001"])
def test_what_follows_any_error_is_no_cause(code):
    assert find(code).role == "confirmation"


@pytest.mark.parametrize(("code", "cause", "words"), [
    ("EJ0001", "last_process_running", ("playbooks/stop.yml", "10 s", "10 秒")),
    ("E30003", "last_process_running", ("playbooks/stop.yml", "10 s")),
    ("EJ0002", "device_error", ("hccn_tool -i N -link -g",)),
    ("EJ0003", "port_in_use", ("HCCL_IF_BASE_PORT",)),
    ("EI0001", "wrong_setting", ("pretrain_environment_extra", "pretrain_socket_ifname")),
    ("EI0011", "npu_out_of_memory", ("npu-smi info", "plan_micro_batch_size")),
    ("EL0004", "npu_out_of_memory", ("npu-smi info",)),
    ("ERR00006", "npu_out_of_memory", ("npu-smi info",)),
    ("207018", "npu_out_of_memory", ("npu-smi info",)),
    ("EE1013", "host_out_of_memory", ("free -g",)),
    ("507054", "device_error", ("npu-smi info -t ecc -i N",)),
    ("507014", "device_error", ("npu-smi info",)),
    ("EZ9999", "operator_failed", ("cann_toolkit",)),
    ("507015", "operator_failed", ("cann_toolkit",)),
    ("EL0007", "permission_denied", ("HwHiAiUser",)),
    ("E40020", "import_error", ("cann_toolkit",)),
    ("EE1015", "version_mismatch", ("driver", "驱动")),
])
def test_meaning(code, cause, words):
    row = find(code)
    assert (row.role, row.cause) == ("cause", cause)
    for word in words:
        assert word in row.en + row.remedy_en + row.zh + row.remedy_zh


@pytest.mark.parametrize("code", ["EI0002", "EI0006", "EI0013", "107020"])
def test_a_wait_sends_the_reader_to_the_other_ranks(code):
    assert "first error of any other rank" in find(code).remedy_en
    assert "其他 rank 或节点最早的报错" in find(code).remedy_zh


# Forms of torch_npu 2.1 to 2.7 and CANN 7.0 to 9.1 from public reports: hiyouga/LlamaFactory 3839, vllm-project/vllm-ascend 486,
# the vendor's page of EJ0003 (CANN 8.5.0), hw-native-sys/PTOAS 864, Ascend/pytorch 43, and EE1002 in hicann/runtime.
@pytest.mark.parametrize(("line", "codes"), [
    ("EJ0001: 2024-05-21-11:57:54.167.645 Failed to initialize the HCCP process. Reason: Maybe the last training process is running.", ["EJ0001"]),
    ("EI0006: [PID: 1292363] 2025-04-08-18:07:20.444.436 Getting socket times out. Reason: Remote Rank did not send the data in time.", ["EI0006"]),
    ("[PID: 2267203] 2025-11-21-11:38:29.575.404 Bind_Failed(EJ0003): Failed to bind the IP port. Reason: ...", ["EJ0003"]),
    ("EZ9999[PID: 1833390] 2026-06-27-19:27:06.722.601 (EZ9999):  The error from device(chipId:0, dieId:0), error code = 0, ...", ["EZ9999", "EZ9999"]),
    ("[ERROR] 2024-05-21-11:57:54 (PID:927000, Device:3, RankID:3) ERR02200 DIST call hccl api failed.", ["ERR02200"]),
    ("EH9999  wait for compute device to finish failed, runtime result = 107020.[FUNC:ReportCallError]", ["EH9999"]),
    ("Stream synchronize timeout. SyncGetDeviceMsg. ErrorCode=EE1002.", ["EE1002"]),
    ("pc start: 0x12c0c1442fb080, sha 8fE30003a1, VE40001, E300031, ERR022001, 1E10001, E0001, TEI0006, EI0006_x", []),
])
def test_a_code_is_found_in_a_line_of_each_form(line, codes):
    assert CODE.findall(line) == codes


@pytest.mark.parametrize(("line", "code"), [
    ("NPU function error: aclrtSynchronizeDevice, error code is 507046", "507046"),
    ("[W NPUStream.cpp:365] Warning: NPU warning, error code is 107020[Error]: .", "107020"),
    ("EH9999  wait for compute device to finish failed, runtime result = 107020.[FUNC:ReportCallError]", "107020"),
])
def test_a_return_code_is_found(line, code):
    assert RETURN_CODE.findall(line) == [code]


def test_another_number_is_no_return_code():
    assert RETURN_CODE.findall("HcclAllreduce, error code is 6; error code is 5070460; took 507046 ms") == []


@pytest.mark.parametrize(("code", "words"), [
    ("EI0099", ("HCCL", "集合通信")), ("EJ0009", ("HCCP",)), ("EL0099", ("driver", "驱动")), ("EZ0099", ("operators", "算子")),
    ("E30099", ("AI CPU",)), ("ERR02999", ("torch_npu", "DIST")), ("ERR99001", ("torch_npu",)), ("507777", ("CANN", "返回码"))])
def test_a_code_that_is_not_in_the_table_has_its_component(code, words):
    assert find(code) is None
    for word in words:
        assert word in family(code)


def test_a_module_that_the_vendor_does_not_list_is_left_out():
    assert family("ERR99001") == "torch_npu / torch_npu"
    assert family("E50000") == "CANN / CANN"


@pytest.mark.parametrize("text", ["", "ERR1", "RuntimeError", "50701", "EI00061", "E00006", "ei0006"])
def test_what_is_no_code_has_no_component(text):
    assert find(text) is None
    assert family(text) == ""
