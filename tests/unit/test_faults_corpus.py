"""The corpus of faults itself: complete, named, and composed as the run folders are."""
import ast
import json
import re

import pytest
import yaml

from tests.faults import compose as corpus
from tests.faults.compose import compose, held_out, rows

CAUSES = {"stopped", "wrong_setting",
    "npu_out_of_memory", "host_out_of_memory", "python_exception", "import_error", "data_worker", "killed", "launcher_killed", "unit_killed",
    "machine_lost", "disk_full", "checkpoint_unreadable", "exit_early", "index_cache_missing", "port_in_use", "address_unreachable",
    "wrong_interface", "tokenizer_unreadable", "nan_loss", "nan_grad", "skipped_iterations", "last_process_running", "device_error",
    "operator_failed", "tls_mismatch", "version_mismatch", "permission_denied", "collective_timeout", "unknown",
}
KINDS = {
    "oom_one_rank", "oom_all_ranks", "oom_two_nodes", "exception_one_rank", "exception_everywhere", "data_worker", "import", "sigkill_rank",
    "signal_rank", "sigkill_torchrun", "sigkill_unit", "machine_lost", "hccl_cause_first", "hccl_cause_last", "hccl_clock", "clock", "two_nodes",
    "nan_loss", "nan_grad", "skipped", "disk_full", "shard", "exit_early", "index_cache", "port", "address", "interface", "tokenizer", "tbe_noise",
    "forkserver_noise", "carriage_returns", "glued", "huge", "older_log", "rotated", "by_hand", "only_symptoms", "cascade_before_cause",
    "early_errors", "caught_traceback", "user_words", "device", "operator", "version", "tls", "link_down", "kernel_oom", "chinese", "permission",
    "unknown_code", "launcher", "stopped_culprit",
}
ROWS = {row.name: row for row in rows()}
SMALL = [name for name, row in ROWS.items() if not row.huge]


def events(row):
    return [event for node in row.content["nodes"].values() for event in (node or {}).get("holds", [])]


def text(folder):
    # As bytes first: a carriage return must stay one.
    return {str(path.relative_to(folder)): path.read_bytes().decode() for path in folder.rglob("*") if path.is_file()}


def test_the_table_is_large_and_complete():
    assert len(rows()) == len(ROWS) >= 48
    assert {row.kind for row in rows()} == KINDS
    assert {row.expect.cause for row in rows()} == CAUSES
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name) for name in ROWS)


def test_a_third_is_held_out():
    assert 0.25 <= sum(map(held_out, ROWS)) / len(ROWS) <= 0.42


def test_culprits_are_spread():
    two = [row.expect.node for row in rows() if row.nodes == 2 and row.expect.node]
    assert 0.35 < two.count("node1") / len(two) < 0.6
    single = [row.expect.ranks[0] for row in rows() if len(row.expect.ranks) == 1]
    assert single.count(0) / len(single) < 0.1


@pytest.mark.parametrize("name", ROWS)
def test_a_row_is_whole(name):
    row = ROWS[name]
    expect = row.expect
    assert row.how.endswith(".") and (row.source == "composed" or row.source.startswith("https://"))
    assert set(expect.causes) <= CAUSES
    assert expect.say
    assert expect.mixed_tells in ("all", "node", "nothing")
    names = [f"node{i + 1}" for i in range(row.nodes)]
    assert set(expect.nodes) <= {"", *names}
    # The ranks are those of the nodes, and nobody is right and innocent at once.
    owners = {names[rank // row.ranks_per_node] for rank in expect.ranks}
    assert owners <= set(expect.nodes)
    assert not {*expect.nodes, *expect.ranks} & set(expect.innocent)
    assert {item for item in expect.innocent if isinstance(item, str)} <= set(names)


def test_every_piece_is_used_and_has_a_source():
    pieces = {path.stem for path in (corpus.HERE / "pieces").glob("*.txt")}
    sources = yaml.safe_load((corpus.HERE / "pieces" / "sources.yml").read_text())
    assert pieces == set(sources)
    assert all(source == "composed" or source.startswith("https://") for source in sources.values())
    assert {event["piece"] for row in rows() for event in events(row) if "piece" in event} | {"start", "start_rank0"} == pieces


def test_it_knows_nothing_of_what_it_tests():
    names = [node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for path in corpus.HERE.glob("[ct]o*.py")
             for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert names
    assert not [name for name in names if "ansible" in name or "plugins" in name]


@pytest.mark.parametrize("name", SMALL)
def test_a_row_becomes_run_folders(name, tmp_path):
    row = ROWS[name]
    nodes = compose(row, tmp_path)
    assert [node.node_rank for node in nodes] == list(range(row.nodes))
    assert [node.name for node in nodes] == [f"node{i + 1}" for i in range(row.nodes)]
    for node in nodes:
        files = text(node.folder)
        if node.outcome == "unreachable":
            assert files == {}
            continue
        ranks = [f"ranks/none_k2m1x0/attempt_0/{local}/{stream}.log" for local in range(row.ranks_per_node) for stream in ("stdout", "stderr")]
        assert set(ranks) < set(files)
        assert "train.log" in files
        # What a rank wrote stands in the whole log, behind the prefix that tells who it was.
        whole = files["train.log"] + files.get("train.log.1", "")
        if row.content.get("glued"):
            whole = whole.replace("[default", "\n[default")
        whole = set(whole.split("\n"))
        for path in ranks:
            local = path.split("/")[3]
            assert {f"[default{local}]:{line}" for line in files[path].split("\n")[:-1]} <= whole
        for path, found in files.items():
            assert "@" not in re.sub(r"\w@\w", "", found).replace("[@", ""), path
            if path.startswith("failures/"):
                record = json.loads(found)
                assert record["rank"] == node.node_rank * row.ranks_per_node + record["local_rank"]
                assert record["type"] and (record["kind"] == "exit" or record["message"])
        assert ("result" in files) == (node.outcome != "failed" or "without telling a result" not in node.reason)


@pytest.mark.parametrize("name", SMALL)
def test_mixed_shuffled_and_without_times(name, tmp_path):
    row = ROWS[name]
    nodes = compose(row, tmp_path, shuffle=7, times=False, layout="mixed")
    assert {node.node_rank for node in nodes} == set(range(row.nodes))
    for node in nodes:
        assert node.ended_at == 0
        for path, found in text(node.folder).items():
            assert path.partition(".")[0] in ("train", "result", "journal")
            assert not re.search(r"\d\d:\d\d:\d\d|2025", found), path
            assert row.content.get("tee") or "[default" not in found


def test_interleaving_keeps_each_rank_in_order(tmp_path):
    row = ROWS["traceback_that_a_library_caught_on_every_rank"]
    plain, mixed = (compose(row, tmp_path / str(seed), shuffle=seed) for seed in (None, 3))
    first, second = (next(node.folder / "train.log" for node in nodes if node.node_rank == 0).read_text().splitlines() for nodes in (plain, mixed))
    assert first != second
    other = compose(row, tmp_path / "4", shuffle=4)
    assert second != next(node.folder / "train.log" for node in other if node.node_rank == 0).read_text().splitlines()
    # torchrun's summary and the launch script's last word stay where they are.
    assert first[-30:] == second[-30:]
    assert sorted(first) == sorted(second)
    for local in range(8):
        own = f"[default{local}]:"
        assert [line for line in first if line.startswith(own)] == [line for line in second if line.startswith(own)]


def test_a_clock_that_is_ahead_shows_in_lines_records_and_ends(tmp_path):
    row = ROWS["ej0001_on_a_node_whose_clock_is_30_s_ahead"]
    one, two = compose(row, tmp_path)
    assert two.clock == {"low": 29.7, "high": 30.3}
    assert one.clock == {"low": -0.3, "high": 0.3}
    assert "EJ0001: 2025-11-26-03:07:42" in (two.folder / "train.log").read_text()
    assert "2025-11-26-03:07:32" in (one.folder / "train.log").read_text()
    assert two.ended_at == corpus.T0 + 3 + 30


def test_the_torch_of_the_time(tmp_path):
    old = compose(ROWS["sigkill_of_rank_13_without_a_word"], tmp_path / "old")[1].folder / "train.log"
    new = compose(ROWS["sigkill_of_rank_4_beside_peers_that_torchrun_ended"], tmp_path / "new")[0].folder / "train.log"
    assert "api: [ERROR] failed (exitcode: -9) local_rank: 5" in old.read_text()
    assert "<NO_OTHER_FAILURES>" in old.read_text()
    assert "exitcode  : -15 (pid: 41000)  (SIGTERM)" in new.read_text()
    assert "[rank15]: ValueError" in (compose(ROWS["value_error_rank_15_with_its_record"], tmp_path / "27")[1].folder / "train.log").read_text()


def test_a_huge_row_is_made_on_demand(tmp_path, monkeypatch):
    row = ROWS["one_gigabyte_of_log_before_the_cause"]
    monkeypatch.setattr(corpus, "_repeat", lambda log, line, megabytes: log.write(f"{megabytes} MB of {line}"))
    log = (compose(row, tmp_path)[1].folder / "train.log").read_text()
    assert "[default0]:DEBUG" in log and "1024 MB of" in log
    assert log.index("MB of") < log.index("NPU out of memory")


def test_two_ranks_share_lines_where_they_are_glued(tmp_path):
    log = (compose(ROWS["two_ranks_write_into_one_line"], tmp_path)[0].folder / "train.log").read_text()
    assert re.search(r"^\[default4\]:RuntimeError: NPU out of memory.*\[default5\]:RuntimeError: NPU out of memory", log, re.M)


def test_a_rotated_log_has_the_cause_in_its_first_part(tmp_path):
    folder = compose(ROWS["log_was_rotated_under_the_run"], tmp_path)[1].folder
    assert "sequence of 4097 tokens" in (folder / "train.log.1").read_text()
    assert "sequence of 4097 tokens" not in (folder / "train.log").read_text()
