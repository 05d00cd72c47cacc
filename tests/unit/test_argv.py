"""Command line arguments from a mapping."""
import pytest
from ansible_collections.ascend.cluster.plugins.module_utils._argv import argv


def test_values_flags_and_what_is_left_out():
    assert argv({"num-layers": 32, "bf16": True, "fp16": False, "load": "", "x": None, "lr": 1.25e-06, "data-path": ["a", 1]}) == [
        "--num-layers", "32", "--bf16", "--lr", "1.25e-06", "--data-path", "a", "1"]


def test_zero_is_a_value():
    assert argv({"eval-iters": 0}) == ["--eval-iters", "0"]


@pytest.mark.parametrize("options", [{"--lr": 1}, {"lr": {"a": 1}}])
def test_what_cannot_be_an_argument_is_refused(options):
    with pytest.raises(ValueError, match="option"):
        argv(options)
