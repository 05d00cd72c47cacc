"""Rules of a plan are a stack's data: one that nobody has, and what both stacks' files have to be."""
from __future__ import annotations

import argparse
import enum
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.ascend.cluster.plugins.filter import last_logged_iteration, plan_errors, plan_warnings
from ansible_collections.ascend.cluster.plugins.module_utils import _plan, _shards

from rehearsal import option_table
from tests import stacks

NAMES = ("recipe", "current")

# A stack with a few options, where three experts or more are chosen, and little else is refused.
MADE_UP: dict[str, Any] = {
    "plan": {"moe_color": "red"},
    "options": {
        "of": {"Megatron-LM": "0123456789abcdef", "Mindful": "fedcba9876543210"},
        "whole": "num-experts moe-router-topk tensor-model-parallel-size expert-model-parallel-size expert-tensor-parallel-size train-iters log-interval",
        "fraction": "lr", "flag": "bf16 fp16 shiny", "words": "data-path", "text": "load", "choices": {"moe-color": "red green"},
    },
    "rules": {
        **{rule.__name__: False for rule in _plan.RULES},
        "values": True, "bounds": True, "known_options": {"unjudged": "shiny"}, "routing": {"topk_of": [3, 4], "unless": {"moe-color": "green"}},
        "shards": {"written_where": "expert_data_parallel_rank"}, "precision": {"fp32": True},
        "combinations": {"of": [{"when": {"shiny": True, "moe-color": ["green", None]}, "expect": {"num-experts": "> 2"}},
                                {"expect": {"load": False}, "because": "nobody may load"}]},
    },
}


@pytest.mark.parametrize(("plan", "errors"), [
    ({"num-experts": 8, "moe-router-topk": 3, "lr": 0.1}, []),
    ({"num-experts": 8, "moe-router-topk": 2}, ["plan_moe_router_topk is 2, expected 3 or 4: this stack routes no other way."]),
    ({"num-experts": 8, "moe-router-topk": 2, "moe-color": "green"}, []),
    ({"moe-color": "blue"}, ["plan_moe_color is 'blue', expected one of red, green."]),
    ({"plan_seq_length": 4096}, ["plan_seq_length is 4096, which is no option of Megatron-LM 01234567 or Mindful fedcba98. Set it to false: the parser "
                                 "would refuse it."]),
    ({"sequence-parallel": "no", "tensor-model-parallel-size": 2, "num-layers": 3}, None),
    ({"shiny": True, "num-experts": 2}, ["plan_num_experts is 2, expected more than 2, because plan_extra_arguments['shiny'] is True and because "
                                         "plan_moe_color is not set."]),
    ({"shiny": True, "num-experts": 2, "moe-color": "red"}, []),
    ({"load": "/x"}, ["plan_load is /x, expected none: nobody may load."]), ({"precision": "fp32"}, []), ({"tensor-model-parallel-size": 7}, []),
])
def test_a_stack_that_nobody_has_is_judged_by_its_data(plan: dict[str, Any], errors: list[str] | None) -> None:
    found = _plan.plan_errors(plan, MADE_UP, 4)
    assert found == errors if errors is not None else len(found) == 2


def test_its_shards_and_warnings() -> None:
    plan = {"tensor-model-parallel-size": 2, "expert-model-parallel-size": 2, "expert-tensor-parallel-size": 1}
    assert _shards.expected_shards(plan, MADE_UP, 0, 4, 1, 10) == [f"iter_0000010/mp_rank_0{rank}_00{rank}/model_optim_rng.pt" for rank in (0, 1)]
    assert plan_warnings.FilterModule().filters()["plan_warnings"]({"shiny": True, "shinny": 1}, MADE_UP) == [
        "plan_extra_arguments has 'shinny', which is no option of Megatron-LM 01234567 or Mindful fedcba98: is 'shiny' meant?",
        "plan_extra_arguments['shiny'] is True: what it needs is not judged here, the training may refuse it at its start."]
    assert last_logged_iteration.FilterModule().filters()["last_logged_iteration"]({"train-iters": 25, "log-interval": 10}, MADE_UP) == 20


def test_an_option_that_a_stack_does_not_have_counts_as_absent() -> None:
    recipe = stacks.read("recipe")
    assert _shards.expected_shards({"expert-tensor-parallel-size": "x"}, recipe, 0, 2, 1, 10) == _shards.expected_shards({}, recipe, 0, 2, 1, 10)
    assert len(_plan.plan_errors({"expert-tensor-parallel-size": "x"}, recipe, 2)) == 1


def test_the_filter_names_a_stacks_mistake() -> None:
    with pytest.raises(AnsibleFilterError, match=r"rules of the stack: rotary is 'perhaps'\. Expected of every rule in plugins/module_utils/"):
        plan_errors.plan_errors({}, {**MADE_UP, "rules": {**MADE_UP["rules"], "rotary": "perhaps"}}, 1)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_of_options_is_as_it_is_recorded(name: str) -> None:
    table = stacks.read(name)["options"]
    of = table["of"]
    path = stacks.PROJECT / f"stacks/{name}_options.yml"
    assert path.read_text(encoding="utf-8") == option_table.as_yaml(table, of)
    assert len(of) == 2 and all(len(commit) == 40 for commit in of.values())


def test_kinds_of_options_are_those_of_the_parsers_actions() -> None:
    shade = enum.Enum("shade", ["dark", "light"])
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", "--number", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--on", action="store_true")
    parser.add_argument("--no-off", action="store_false", dest="off")
    parser.add_argument("--files", nargs="*")
    parser.add_argument("--pair", nargs=2, type=int)
    parser.add_argument("--name", nargs="?")
    parser.add_argument("--level", type=int, choices=[0, 1])
    parser.add_argument("--shade", type=lambda word: shade[word], choices=list(shade))
    assert option_table.by_kind(parser._actions) == {
        "whole": "count number", "fraction": "rate", "flag": "no-off on", "words": "files pair", "text": "name",
        "choices": {"level": "0 1", "shade": "dark light"}}


def test_every_rule_holds_somewhere() -> None:
    rules = [stacks.read(name)["rules"] for name in NAMES]
    assert not [rule.__name__ for rule in _plan.RULES if all(said[rule.__name__] is False for said in rules)]
    assert {frozenset(said) for said in rules} == {frozenset(rule.__name__ for rule in _plan.RULES)}
