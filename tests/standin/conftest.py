"""The stand-ins of each stack, laid together once; what is here needs a torch."""
from __future__ import annotations

from pathlib import Path

import pytest

from rehearsal import upstream


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder a stack with both stand-ins."""
    found = {}
    for stack in upstream.stacks():
        found[stack] = tmp_path_factory.mktemp(stack)
        for name in upstream.NAMES:
            upstream.assemble(name, stack, found[stack] / name)
    return found
