"""Plans to ask the real code of a stack about, and what makes them; the stack is named by STACK, recipe without it.

What a stack's plans are, and what is broken in them, is in ``plans_<stack>.py``.
"""
from __future__ import annotations

import itertools
import json
import os
import random
from typing import Any, Callable

from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.ascend.cluster.plugins.module_utils import _plan_options
from ansible_collections.ascend.cluster.plugins.module_utils._plan_options import Options

from tests import stacks
from tests.playing import PROJECT

Settings = dict[str, Any]
# A change of a plan in a world of so many ranks, that may return another number of ranks.
Change = Callable[[Settings, random.Random, int], Any]

STACK = os.environ.get("STACK", "recipe")
DATA = stacks.read(STACK)
OPTIONS = Options(DATA["options"])
# Options that end the training for a reason of their own, whatever their value is.
ABANDONED = {"batch-size", "warmup", "model-parallel-size", "checkpoint-activations"}


def role_settings() -> Settings:
    """Role plan's plan_settings, of its defaults."""
    loader = DataLoader()
    known = {**loader.load_from_file(str(PROJECT / "roles/plan/defaults/main.yml"), trusted_as_template=True),
             **loader.load_from_file(str(PROJECT / "roles/plan/vars/main.yml"), trusted_as_template=True), "cluster_stack_data": DATA}
    known.update({f"cluster_{name}": f"/{name}" for name in ("tokenizer_dir", "checkpoint_dir", "data_prefix", "data_cache_dir")})
    return json.loads(json.dumps(Templar(loader, variables=known).template(known["plan_settings"])))


ROLE = role_settings()


def sets(**values: Any) -> Change:
    """A change of some options."""
    return lambda plan, luck, world: plan.update({name.replace("_", "-"): value for name, value in values.items()})


def off_by(name: str, least: int = 1) -> Change:
    """Make a size another one, that hardly fits the others."""
    def change(plan: Settings, luck: random.Random, world: int) -> None:
        value = plan.get(name)
        plan[name] = max(least, (value if isinstance(value, int) else 1) + luck.choice([-3, -1, 1, 3, 5]))
    return change


def too_small() -> list[Change]:
    """Every counted option of the stack below its least value."""
    return [sets(**{name: least - short}) for name, least in _plan_options.LEAST.items() if name in OPTIONS.known for short in (1, 2)]


def outside() -> list[Change]:
    """Every option of the stack that has a range, outside of it."""
    def one(name: str) -> Change:
        least, most, _ = _plan_options.RANGE[name]
        return lambda plan, luck, world: plan.update({name: luck.choice([least - 0.5, most + 1.0 if most < 2 else float("nan")])})
    return [one(name) for name in _plan_options.RANGE if name in OPTIONS.known]


def unreadable(plan: Settings, luck: random.Random, world: int) -> None:
    """An option with a value that no parser can read as what it takes."""
    elsewhere = DATA["rules"]["values"] if isinstance(DATA["rules"]["values"], dict) else {}
    values = {"whole": (OPTIONS.whole, ["many", 1.5, True, [1, 2]]), "fraction": (OPTIONS.fraction, ["1e", True, "a half"]),
              "flag": (OPTIONS.flag, ["true", "yes", 1, "false"]),
              "choice": (OPTIONS.choices.keys() - set(elsewhere.get("compared_elsewhere", ())), ["other", True, 7])}
    options, wrong = values[luck.choice(list(values))]
    sets(**{luck.choice(sorted(options - ABANDONED)): luck.choice(wrong)})(plan, luck, world)


def plans(own: Any) -> list[tuple[Settings, int]]:
    """Of a stack's module: a third valid, or nearly so; in the others each change in turn, now and then two, or another number of ranks.

    The last ones are broken by a change of ALONE, and nothing else.
    """
    luck = random.Random(own.SEED)
    changes = itertools.cycle(own.BREAKS)

    def changed(change: Change, plan: Settings, world: int) -> int:
        other = change(plan, luck, world)
        return world if other is None else other

    def broken() -> tuple[Settings, int]:
        plan, world = own.valid(luck)
        world = changed(next(changes), plan, world)
        if luck.random() < 0.3:
            world = changed(luck.choice(own.BREAKS), plan, world)
        if luck.random() < 0.1:
            world = max(world + luck.choice([-world // 2, -1, 1, 3, -world]), 0)
        return plan, world
    def alone(change: Change) -> tuple[Settings, int]:
        plan, world = own.valid(luck)
        return plan, changed(change, plan, world)
    made = [own.valid(luck) if number % 3 == 0 else broken() for number in range(own.COUNT - len(own.ALONE))]
    return made + [alone(change) for change in own.ALONE]
