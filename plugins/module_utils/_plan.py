"""Rules of a parallel plan: what Megatron-LM 9de386d0 and AscendSpeed 9264e3c0 refuse, or silently make another plan of.

A *plan* is a mapping of options to values (``num-layers``), or of variables (``plan_num_layers``).
"""
from __future__ import annotations

import difflib
from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils import _plan_options, _plan_rules_model, _plan_rules_training
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Finding, Plan, variable

RULES = (*_plan_rules_model.RULES, *_plan_rules_training.RULES)


def data_parallel_size(plan: Mapping[str, Any], world_size: int) -> int:
    """Data parallel size: ``world_size / (TP x PP x CP)``.

    Raises:
        ValueError: when the world size is not such a multiple.
    """
    read = Plan(plan, world_size)
    if not read.dp:
        raise ValueError(f"world size {world_size} is not a multiple of TP x PP x CP = {read.tp * read.pp * read.cp}")
    return read.dp


def broken_rules(plan: Mapping[str, Any], world_size: int) -> list[Finding]:
    """List every rule that the plan breaks on ``world_size`` ranks, with its name; see :func:`plan_errors`."""
    read = Plan(plan, world_size)
    return [finding for rule in RULES for finding in rule(read)]


def plan_errors(plan: Mapping[str, Any], world_size: int) -> list[str]:
    """Say of every rule that the plan breaks on ``world_size`` ranks; an empty list means that it can be launched.

    Only arguments that are there are judged, so a part of a plan may be given. Each message names what was found,
    what was expected and the variables to change.
    """
    return [finding.message for finding in broken_rules(plan, world_size)]


def plan_warnings(plan: Mapping[str, Any]) -> list[str]:
    """List what can be launched but is hardly meant."""
    read = Plan(plan)
    warnings = []
    iterations, interval = read.iterations, read.number("save_interval")
    if iterations % interval != 0:
        # AscendSpeed's pretrain() saves after the last iteration also then (ascendspeed/training.py).
        last = iterations - iterations % interval
        warnings.append(f"plan_train_iters is {iterations}, not a multiple of plan_save_interval, {interval}: the last checkpoint "
                        f"is saved at iteration {iterations}, the one before at {last if last else 'none'}.")
    for name in plan:
        if not name.startswith("plan_") and variable(name) == f"plan_extra_arguments['{name}']" and name not in _plan_options.KNOWN:
            near = difflib.get_close_matches(name, _plan_options.KNOWN, n=1)
            warnings.append(f"plan_extra_arguments has {name!r}, which is no option of Megatron-LM 9de386d0 or AscendSpeed 9264e3c0"
                            + (f": is {near[0]!r} meant?" if near else ". Is it one of the version in use?"))
    return warnings


def last_logged_iteration(plan: Mapping[str, Any]) -> int:
    """The last iteration that the training logs: Megatron-LM logs those whose number ``log-interval`` divides (training.py:748).

    Returns:
        The number of the iteration; 0 when none is logged, or when the plan does not say how long it trains.
    """
    read = Plan(plan)
    # Without the option the interval is upstream's own (arguments.py:992).
    interval = read.number("log_interval", 100)
    return read.iterations // interval * interval
