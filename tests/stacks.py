"""A stack's data, as the filter reads it."""
import copy
from typing import Any

from ansible_collections.ascend.cluster.plugins.module_utils import _stack_data

from tests.playing import PROJECT

NAMES = _stack_data.names(PROJECT / "stacks")


def read(name: str) -> dict[str, Any]:
    """A stack of the project, for a test to change."""
    return copy.deepcopy(_stack_data.load(name, str(PROJECT)))
