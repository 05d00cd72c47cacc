"""The order of molecule's tests."""
from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

TESTS = Path(__file__).parents[2] / "molecule/site/tests"
CONFTEST = runpy.run_path(str(TESTS / "conftest.py"))


def collected(*names: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(path=TESTS / name, number=number) for number, name in enumerate(names)]


def test_every_file_has_a_place() -> None:
    items = collected(*(path.name for path in sorted(TESTS.glob("test_*.py"))))
    CONFTEST["pytest_collection_modifyitems"](items)
    assert len(items) > 5
    assert items[0].path.name == "test_site.py"
    assert items[-1].path.name == "test_broken_runs.py"


def test_within_a_file_the_order_stays() -> None:
    items = collected("test_broken_runs.py", "test_site.py", "test_broken_runs.py", "test_site.py")
    CONFTEST["pytest_collection_modifyitems"](items)
    assert [item.number for item in items] == [1, 3, 0, 2]


def test_a_file_without_a_place_is_refused() -> None:
    with pytest.raises(pytest.UsageError, match=r"ORDER of molecule/site/tests/conftest.py, which does not list test_a.py, test_b.py: put each"):
        CONFTEST["pytest_collection_modifyitems"](collected("test_b.py", "test_site.py", "test_a.py"))
