"""Which nodes are measured together, and who is to blame."""
from __future__ import annotations

import importlib.util
import sys
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

FILES = Path(__file__).parents[2] / "roles/check_cluster/files/cluster_check"


def load(name: str) -> ModuleType:
    """A module of the program that needs no torch."""
    spec = importlib.util.spec_from_file_location(f"cluster_check_{name}", FILES / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


pairs = load("pairs")


def play(count: int, works, rounds: int = 3):
    """Play rounds as the master does; the results, and how many rounds it took."""
    results: list[tuple[list[int], bool]] = []
    for number in range(rounds):
        groups = pairs.next_round(range(count), results)
        if not groups or (number > 1 and not pairs.suspected(results)):
            return results, number
        taken = [node for group in groups for node in group]
        assert len(taken) == len(set(taken)), groups
        results += [(group, works(*group)) for group in groups]
    return results, rounds


@given(st.integers(3, 40), st.data())
def test_a_bad_node_is_found_whichever_it_is_and_nobody_else(count: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, count - 1))
    results, rounds = play(count, lambda one, other: bad not in (one, other))
    assert pairs.blame(results) == ({bad}, [])
    assert rounds == (3 if count == 3 and bad == 0 else 2)


@given(st.integers(3, 40), st.data())
def test_nobody_innocent_is_ever_blamed(count: int, data: st.DataObject) -> None:
    bad = set(data.draw(st.lists(st.integers(0, count - 1), max_size=count, unique=True)))
    results, _ = play(count, lambda one, other: not bad & {one, other})
    blamed, unsure = pairs.blame(results)
    assert blamed <= bad
    assert all(bad & set(group) for group in unsure)
    # With a good one for each that is suspected two rounds tell all.
    if len(bad) * 4 <= count:
        assert (blamed, unsure) == (bad, [])


@given(st.integers(2, 40))
def test_a_whole_cluster_meets_two_different_partners(count: int) -> None:
    results, rounds = play(count, lambda one, other: True)
    met = [frozenset(group) for group, _ in results]
    assert len(met) == len(set(met)) and rounds == (1 if count == 2 else 2)
    assert {node for group in met for node in group} == set(range(count))
    assert pairs.blame(results) == (set(), [])
    per_node = {node: sum(node in group for group in met) for node in range(count)}
    assert sum(number < 2 for number in per_node.values()) <= 2 or count < 5


def test_a_bad_way_blames_nobody() -> None:
    results, _ = play(6, lambda one, other: {one, other} != {0, 1})
    assert pairs.blame(results) == (set(), [[0, 1]])
    assert pairs.blame([([0, 1], False)]) == (set(), [[0, 1]])


@given(st.integers(2, 33))
def test_a_tournament_lets_each_meet_every_other_once(count: int) -> None:
    rounds = pairs.tournament(list(range(count)))
    assert len(rounds) == (count - 1 if count % 2 == 0 else count)
    for groups in rounds:
        assert len({node for group in groups for node in group}) == 2 * len(groups) == count - count % 2
    met = [frozenset(group) for groups in rounds for group in groups]
    assert sorted(map(sorted, met)) == sorted(map(list, combinations(range(count), 2)))


@pytest.mark.parametrize("nodes", [[], [3]])
def test_nobody_to_meet(nodes: list[int]) -> None:
    assert pairs.next_round(nodes, []) == [] and [group for groups in pairs.tournament(nodes) for group in groups] == []


vendor = load("vendor")


def test_the_vendors_table_is_read() -> None:
    text = ("the minbytes is 8192\ndata_size(Bytes): | aveg_time(us): | alg_bandwidth(GB/s): | check_result:\n"
            "8192                | 12.50          | 0.65              | success\n268435456           | 1500.00        | 178.95              | success\n")
    assert vendor.read(text, 8) == {"gb_per_second": pytest.approx(178.95 * 14 / 8), "checked": "success"}
    assert vendor.read("268435456 1500.00 178.95 NULL\n", 2)["checked"] == "NULL"
    assert vendor.read("hccl interface return errreturn err ./common/src/hccl_test_main.cc:73", 8) == {}


def test_why_the_vendors_test_did_not_measure(tmp_path: Path) -> None:
    def run(count: int = 2, seconds: float = 60) -> dict[str, object]:
        found = vendor.all_reduce(count, 1, {"ASCEND_HOME_PATH": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}, seconds)
        assert found.pop("tool") == "hccl_test"
        return dict(found)

    assert run(1) == {"why": "no hccl_test and no mpirun and no second NPU"}
    for name, text in (("bin/mpirun", "#!/bin/sh\nshift 2\nexec \"$@\"\n"),
                       ("tools/hccl_test/bin/all_reduce_test", "#!/bin/sh\necho \"$@\"; echo '4|1.0|2.0|success'\n")):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
        path.chmod(0o755)
    assert run() == {"gb_per_second": 2.0, "checked": "success"}
    path.write_text("#!/bin/sh\necho broken: $*; exit 3\n")
    assert run() == {"why": "status 3: broken: -b 1048576 -e 1048576 -d fp32 -o sum -p 2"}
    path.write_text("#!/bin/sh\nsleep 60\n")
    assert run(seconds=0.2) == {"why": "no answer within 0.2 s"}
