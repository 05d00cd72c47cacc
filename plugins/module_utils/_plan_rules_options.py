"""Rules of a plan: its options, their values, and which go together.

Lines are those of Megatron-LM 9de386d0, where a file without a folder is one of megatron/training/, and of AscendSpeed (AS) 9264e3c0; the
same checks of Megatron-LM a845aa7e are named after "current". The combinations of a stack name their sources beside them, in its file.
"""
from __future__ import annotations

import operator
from typing import Any, Callable, Iterator, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._plan_options import outside, plain
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Finding, Plan, Rule, rule


def values(plan: Plan, compared_elsewhere: Sequence[str] = ()) -> Iterator[Finding]:
    """The parser's types and choices (arguments.py:620-1590, AS arguments.py:39-228): what it cannot read ends every rank."""
    for name, value in plan.written.items():
        option = plan.options.name(name)
        expected = "" if option in compared_elsewhere else plan.options.misread(option, value)
        # The role reads its own variables as true or false, whatever they are written like.
        if option in plan.options.flag and f"plan_{name}" not in plan.names and value is not True:
            expected = "true or false, without quotes: the option takes no value"
        if expected:
            yield Finding(f"values:{option}", f"{plan.variable(name)} is {value!r}, expected {expected}.")


def bounds(plan: Plan) -> Iterator[Finding]:
    """The least of what is counted, and the range of what is not."""
    for name, value in plan.written.items():
        option = plan.options.name(name)
        expected = "" if plan.options.misread(option, value) else outside(option, value)
        if expected:
            yield Finding(f"bounds:{option}", f"{plan.is_(name)}, expected {expected}.")


@rule
def spelling(plan: Plan) -> Iterator[str]:
    """Options are taken literally (arguments.py:22-23, allow_abbrev)."""
    for name in plan.names:
        option = plan.options.name(name)
        if not name.startswith("plan_") and name not in plan.options.known and option in plan.options.known:
            yield f"plan_extra_arguments has {name!r}, expected the option's own spelling: {option!r}."


@rule
def known_options(plan: Plan, further: bool = False, unjudged: str = "") -> Iterator[str]:
    """The parser ends at an option that it does not know (arguments.py:37-40); with `further` those of plan_extra_arguments too, else a warning.

    Of the words of `unjudged` plan_warnings says that no rule knows what they need.
    """
    for name in plan.names:
        option, own = plan.options.name(name), plain(name) in plan.own
        if plain(name) in plan.written and option not in plan.options.known and plain(name) != "precision" and (own or further):
            near = plan.options.near(option)
            yield (f"{plan.is_(plain(name))}, which is no option of {plan.options.origin}{f': {near}' if near and not own else '.'} "
                   f"{'Set it to false' if own else 'Remove it'}: the parser would refuse it.")


@rule
def abandoned(plan: Plan) -> Iterator[str]:
    """Options that were given up (arguments.py:199-214)."""
    for name, instead in (("batch_size", "plan_micro_batch_size"), ("warmup", "plan_lr_warmup_fraction"),
                          ("model_parallel_size", "plan_tensor_model_parallel_size"),
                          ("checkpoint_activations", "plan_recompute_granularity and plan_recompute_method")):
        if plan.has(name):
            yield f"{plan.is_(name)}: Megatron-LM takes this option no more. Remove it, and set {instead}."


@rule
def exclusive(plan: Plan) -> Iterator[str]:
    """Two options for one thing (arguments.py:342-343, 373-374; core/datasets/blended_megatron_dataset_config.py:69-71)."""
    for name, other in (("encoder_num_layers", "num_layers"), ("encoder_seq_length", "seq_length"), ("train_data_path", "data_path"),
                        ("valid_data_path", "data_path"), ("test_data_path", "data_path")):
        if plan.has(name, other):
            yield f"{plan.is_(name)}, expected none beside {plan.options.name(other)!r}, which is {plan.text(other)}. Remove it."


_COMPARED: Mapping[str, tuple[Callable[[int, int], bool], str]] = {
    ">": (operator.gt, "more than"), "<=": (operator.le, "at most"), ">=": (operator.ge, "at least"), "<": (operator.lt, "less than"),
}


def _met(plan: Plan, option: str, wanted: Any) -> bool:
    """Whether an option is as a combination has it.

    ``true`` and ``false``: it is there, or not. A list: one of its words, null for an option that is not there. ``> 1``: compared with a number.
    """
    value = plan.effective(plain(option))
    if isinstance(wanted, bool):
        return (value is not None) == wanted
    if isinstance(wanted, str):
        sign, number = wanted.split()
        return value is not None and _COMPARED[sign][0](int(str(value)), int(number))
    return any(value is None if word is None else value is not None and str(value) == str(word) for word in wanted)


def _in_words(plan: Plan, option: str, wanted: Any) -> str:
    if option in ("bf16", "fp16"):
        return option if wanted else f"not {option}"
    if isinstance(wanted, bool):
        return "none" if not wanted else "true" if option in plan.options.flag else "a value"
    if isinstance(wanted, str):
        sign, number = wanted.split()
        return f"{_COMPARED[sign][1]} {number}"
    return " or ".join("none" if word is None else str(word) for word in wanted)


def combinations(plan: Plan, of: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Options that need or exclude others: where all of `when` is so, all of `expect` has to be; `because` where that is not upstream's own refusal."""
    for combination in of:
        when = combination.get("when", {})
        # A part of a plan is not judged by what it lacks.
        if plan.named.isdisjoint(map(plain, when or combination["expect"])) or not all(_met(plan, *condition) for condition in when.items()):
            continue
        for option, wanted in combination["expect"].items():
            if not _met(plan, option, wanted):
                causes = [f"because {plan.is_(plain(other))}" for other in when] + [combination[key] for key in ("because",) if key in combination]
                yield Finding(f"combinations:{next(iter(when), option)}:{option}",
                              f"{plan.is_(plain(option))}, expected {_in_words(plan, option, wanted)}{', ' if when else ': '}{' and '.join(causes)}.")


RULES: tuple[Rule, ...] = (values, bounds, spelling, known_options, abandoned, exclusive, combinations)
