"""The corpus of faults, played: nobody innocent is blamed, and the score is reached. `make test-faults` plays all of it in all ways."""
import hashlib

import pytest

from tests.faults import compose, score

# Large logs take minutes to write and read.
ROWS = [row for row in compose.rows() if not row.huge and "megabytes" not in row.name]


def some(row):
    return int(hashlib.sha256(b"some" + row.name.encode()).hexdigest(), 16) % 5 == 0


@pytest.fixture(scope="session")
def scores(tmp_path_factory):
    return [score.score(row, tmp_path_factory.mktemp("fault")) for row in ROWS]


def test_nobody_innocent_is_blamed(scores):
    assert [(one.name, one.found) for one in scores if one.wrong_blame] == []


@pytest.mark.parametrize(("what", "least"), [("rank", 0.95), ("node", 0.95), ("cause", 0.85), ("said", 0.85)])
@pytest.mark.parametrize("held_out", [False, True])
def test_the_score_is_reached(scores, held_out, what, least):
    right = [getattr(one, what) for one in scores if one.held_out == held_out]
    # The rows held out are not named here: whoever mends patterns shall not see them.
    count, wanted = sum(right), least * len(right)
    assert len(right) > 30
    assert count >= wanted


def test_torchruns_own_summary_knows_less(scores):
    assert sum(one.torchrun_rank for one in scores) < 0.8 * sum(one.rank for one in scores)


@pytest.mark.parametrize("play", [name for name in score.PLAYS if name != "as left"])
@pytest.mark.parametrize("row", [row for row in ROWS if some(row)], ids=lambda row: row.name)
def test_less_to_go_by_brings_no_wrong_blame(row, play, tmp_path):
    assert not score.score(row, tmp_path, **score.PLAYS[play]).wrong_blame
