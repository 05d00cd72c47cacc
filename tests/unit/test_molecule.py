"""The order of molecule's tests."""
from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

MOLECULE = Path(__file__).parents[2] / "molecule"
CONFTEST = runpy.run_path(str(MOLECULE / "conftest.py"))


def collected(scenario: str, *names: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(path=MOLECULE / scenario / "tests" / name, number=number) for number, name in enumerate(names)]


@pytest.mark.parametrize(("scenario", "first", "last"), [
    ("site", "test_site.py", "test_runs.py"), ("faults", "test_resume.py", "test_planted_links.py"), ("nfs", "test_machines.py", "test_reboot.py")])
def test_every_file_has_a_place(scenario: str, first: str, last: str) -> None:
    items = collected(scenario, *(path.name for path in sorted((MOLECULE / scenario / "tests").glob("test_*.py"))))
    CONFTEST["pytest_collection_modifyitems"](items)
    assert items[0].path.name == first
    assert items[-1].path.name == last


def test_within_a_file_the_order_stays() -> None:
    items = collected("site", "test_data_share.py", "test_site.py", "test_data_share.py", "test_site.py")
    CONFTEST["pytest_collection_modifyitems"](items)
    assert [item.number for item in items] == [1, 3, 0, 2]


def test_a_file_without_a_place_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match=r"ORDER of molecule/conftest.py, which does not list site/test_a.py, site/test_b.py: put each"):
        CONFTEST["pytest_collection_modifyitems"](collected("site", "test_b.py", "test_site.py", "test_a.py"))
