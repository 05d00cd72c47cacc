"""Rules of a parallel plan: what a stack's Megatron-LM and AscendSpeed or MindSpeed refuse, or silently make another plan of.

A *plan* is a mapping of options to values (``num-layers``), or of variables (``plan_num_layers``). A *stack* is the mapping of its file
``stacks/<name>.yml``. Read here are ``rules``: of every rule in _plan_rules_*.py, whether it holds, or its
parameters; ``options``: the table of _plan_options.py; and the names in ``plan``, which are variables of role plan.
"""
from __future__ import annotations

import inspect
from typing import Any, Iterator, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils import (
    _plan_rules_model,
    _plan_rules_optimizer,
    _plan_rules_options,
    _plan_rules_training,
)
from ansible_collections.ascend.cluster.plugins.module_utils._plan_options import words
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Finding, Plan, Rule, Stack

# The one that looks at every rank comes last.
RULES = tuple(sorted((*_plan_rules_options.RULES, *_plan_rules_model.RULES, *_plan_rules_training.RULES, *_plan_rules_optimizer.RULES),
                     key=lambda rule: rule is _plan_rules_model.shards))


def _holding(stack: Stack) -> Iterator[tuple[Rule, Mapping[str, Any]]]:
    """The rules that hold in a stack, with their parameters.

    Raises:
        ValueError: when the stack does not say of every rule whether it holds, or has a rule or a parameter that is not known.
    """
    said, named = stack["rules"], [rule.__name__ for rule in RULES]
    wrong = [f"{name} is not there" for name in named if name not in said] + [f"{name} is no rule" for name in said if name not in named]
    for rule in RULES:
        parameters = said.get(rule.__name__)
        if parameters is True or isinstance(parameters, Mapping):
            parameters = {} if parameters is True else parameters
            try:
                inspect.signature(rule).bind(None, **parameters)
                yield rule, parameters
            except TypeError as error:
                wrong.append(f"{rule.__name__}: {error}")
        elif parameters is not False and rule.__name__ in said:
            wrong.append(f"{rule.__name__} is {parameters!r}")
    if wrong:
        raise ValueError(f"rules of the stack: {'; '.join(wrong)}. Expected of every rule in plugins/module_utils/_plan_rules_*.py, "
                         "and of no other: true, false or a mapping of its parameters.")


def data_parallel_size(plan: Mapping[str, Any], stack: Stack, world_size: int) -> int:
    """Data parallel size: ``world_size / (TP x PP x CP)``.

    Raises:
        ValueError: when the world size is not such a multiple.
    """
    read = Plan(plan, stack, world_size)
    if not read.dp:
        raise ValueError(f"world size {world_size} is not a multiple of TP x PP x CP = {read.tp * read.pp * read.cp}")
    return read.dp


def _findings(plan: Mapping[str, Any], stack: Stack, world_size: int) -> Iterator[Finding]:
    read = Plan(plan, stack, world_size)
    return (finding for rule, parameters in list(_holding(stack)) for finding in rule(read, **parameters))


def broken_rules(plan: Mapping[str, Any], stack: Stack, world_size: int) -> list[Finding]:
    """List every rule that the plan breaks on ``world_size`` ranks, with its name; see :func:`plan_errors`."""
    return list(_findings(plan, stack, world_size))


def keeps_rules(plan: Mapping[str, Any], stack: Stack, world_size: int) -> bool:
    """Whether the plan breaks no rule: it looks no further than the first that is broken."""
    return next(_findings(plan, stack, world_size), None) is None


def plan_errors(plan: Mapping[str, Any], stack: Stack, world_size: int) -> list[str]:
    """Say of every rule that the plan breaks on ``world_size`` ranks; an empty list means that it can be launched.

    Only arguments that are there are judged, so a part of a plan may be given. Each message names what was found,
    what was expected and the variables to change.

    Raises:
        ValueError: when the stack's rules are not those of these files.
    """
    return [finding.message for finding in broken_rules(plan, stack, world_size)]


def plan_warnings(plan: Mapping[str, Any], stack: Stack) -> list[str]:
    """List what can be launched but is hardly meant."""
    read = Plan(plan, stack)
    warnings = []
    iterations, interval = read.iterations, read.number("save_interval")
    if iterations % interval != 0:
        # AscendSpeed's pretrain() saves after the last iteration also then (ascendspeed/training.py).
        last = iterations - iterations % interval
        warnings.append(f"plan_train_iters is {iterations}, not a multiple of plan_save_interval, {interval}: the last checkpoint "
                        f"is saved at iteration {iterations}, the one before at {last if last else 'none'}.")
    for name in plan:
        if not name.startswith("plan_") and read.variable(name) == f"plan_extra_arguments['{name}']" and name not in read.options.known:
            near = read.options.near(name)
            warnings.append(f"plan_extra_arguments has {name!r}, which is no option of {read.options.origin}"
                            + (f": {near}" if near else ". Is it one of the version in use?"))
    said = stack["rules"]["known_options"]
    unjudged = words(said.get("unjudged", "")) if isinstance(said, Mapping) else frozenset()
    warnings += [f"{read.is_(name)}: what it needs is not judged here, the training may refuse it at its start."
                 for name in read.given if read.options.name(name) in unjudged]
    return warnings


def last_logged_iteration(plan: Mapping[str, Any], stack: Stack) -> int:
    """The last iteration that the training logs: Megatron-LM logs those whose number ``log-interval`` divides (training.py:748).

    Returns:
        The number of the iteration; 0 when none is logged, or when the plan does not say how long it trains.
    """
    read = Plan(plan, stack)
    # Without the option the interval is upstream's own (arguments.py:992).
    interval = read.number("log_interval", 100)
    return read.iterations // interval * interval
