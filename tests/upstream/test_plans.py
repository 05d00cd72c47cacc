"""Our rules of a plan beside what the real parse_args, validate_args, group set-up, model and schedule say of the same plans."""
import importlib
import json
from collections import Counter, defaultdict

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _argv, _plan, _plan_options, _shards
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan

from tests.playing import PROJECT
from tests.upstream import plans

OWN = importlib.import_module(f"tests.upstream.plans_{plans.STACK}")
COMBINATIONS = plans.DATA["rules"]["combinations"]["of"] if plans.DATA["rules"]["combinations"] else []
SEED, COUNT, STRICTER = OWN.SEED, OWN.COUNT, OWN.STRICTER
REPORT = PROJECT / f".rehearsal/upstream/plans-{plans.STACK}.txt"


@pytest.fixture(scope="module")
def asked(ask):
    """Each plan, its world size, our findings and the real answer."""
    made = plans.plans(OWN)
    questions = "".join(json.dumps({"words": _argv.argv(plan), "world_size": world, "folders": number % 10 == 0 and world <= 64}) + "\n"
                        for number, (plan, world) in enumerate(made))
    answers = [json.loads(line) for line in ask(questions=questions).splitlines()]
    assert len(answers) == COUNT
    cases = [(plan, world, _plan.broken_rules(plan, plans.DATA, world), answer) for (plan, world), answer in zip(made, answers)]
    write_report(cases)
    return cases


def write_report(cases):
    """How many were accepted and refused by whom, and by which of our rules."""
    both = Counter(("ours refuses" if findings else "ours accepts") + (", real accepts" if answer["accepted"] else ", real refuses")
                   for _, _, findings, answer in cases)
    rules = defaultdict(Counter)
    for _, _, findings, answer in cases:
        for name in {finding.rule for finding in findings}:
            alone = len({finding.rule for finding in findings}) == 1
            rules[name]["plans"] += 1
            rules[name]["alone, and the real code refuses" if alone and not answer["accepted"] else "alone, and it accepts" if alone else "with others"] += 1
    lines = [f"{COUNT} plans of seed {SEED}"] + [f"  {count:5} {what}" for what, count in sorted(both.items())]
    lines += [f"  real refusals by {stage}: {count}" for stage, count in
              Counter(answer["stage"] for *_, answer in cases if not answer["accepted"]).most_common()]
    lines += [f"  {name}: {', '.join(f'{count} {what}' for what, count in sorted(found.items()))}" for name, found in sorted(rules.items())]
    REPORT.write_text("\n".join(lines) + "\n", encoding="utf-8")


def told(plan, world, findings, answer):
    changed = {name: value for name, value in plan.items() if plans.ROLE.get(name) != value}
    return f"world {world}, {changed}\n  ours: {findings}\n  real: {answer}"


def test_ours_is_never_laxer(asked):
    laxer = [told(*case) for case in asked if not case[2] and not case[3]["accepted"]]
    assert not laxer, f"{len(laxer)} plans:\n" + "\n".join(laxer)


def test_ours_is_stricter_only_where_it_says_why(asked):
    stricter = [case for case in asked if case[2] and case[3]["accepted"]]
    unnamed = [told(*case) for case in stricter if {finding.rule for finding in case[2]} - STRICTER.keys() - OWN.BECAUSE]
    assert not unnamed, f"{len(unnamed)} plans:\n" + "\n".join(unnamed)
    never = sorted(STRICTER.keys() - {finding.rule for case in stricter for finding in case[2]})
    assert not never, f"named, and never stricter: {never}"


def test_every_rule_has_refused_what_the_real_code_refuses(asked):
    """Alone: so that it is this rule and no other, and the real code agrees."""
    agreed = {finding.rule for _, _, findings, answer in asked for finding in findings
              if len({finding.rule for finding in findings}) == 1 and not answer["accepted"]}
    expected = {name for name, said in plans.DATA["rules"].items() if said is not False} - {"values", "bounds", "combinations"}
    expected |= {f"bounds:{name}" for name in (*_plan_options.LEAST, *_plan_options.RANGE) if name in plans.OPTIONS.known}
    # A combination, whose options need others in turn, also with others.
    agreed |= {finding.rule for _, _, findings, answer in asked for finding in findings if finding.rule.startswith("combinations:") and not answer["accepted"]}
    expected |= {f"combinations:{next(iter(combination.get('when', {})), option)}:{option}" for combination in COMBINATIONS for option in combination["expect"]}
    never = sorted(expected - agreed - STRICTER.keys() - OWN.BECAUSE - OWN.UNASKED.keys())
    assert not never, f"never alone in refusing what the real code refuses: {never}; see {REPORT}"
    read = {name.split(":")[1] for name in agreed if name.startswith("values:")}
    assert all(read & kind for kind in (plans.OPTIONS.whole, plans.OPTIONS.fraction, plans.OPTIONS.flag, plans.OPTIONS.choices.keys()))


def test_there_are_enough_plans_of_each_kind(asked):
    accepted = sum(answer["accepted"] for *_, answer in asked)
    assert accepted >= COUNT / 5
    assert COUNT - accepted >= COUNT / 5
    worlds = {world for _, world, *_ in asked}
    assert 1 in worlds and max(worlds) >= 128


def test_iterations_are_counted_as_the_real_code_does(asked):
    for plan, _, findings, answer in asked:
        if answer["accepted"] and not findings:
            assert Plan(plan, plans.DATA).iterations == answer["iterations"], plan


def test_shards_are_written_and_read_where_the_real_code_has_them(asked):
    compared = 0
    for plan, world, findings, answer in asked:
        if not answer.get("folders"):
            continue
        compared += 1
        for size in {1, 2, 8, world}:
            for node in range(world // size if world % size == 0 else 0):
                mine = answer["folders"][node * size:(node + 1) * size]
                own, models = {"use-distributed-optimizer": False}, {path for path, *_ in mine}
                written = _shards.expected_shards({**plan, **own}, plans.DATA, node, size, world // size, 20)
                assert written == sorted({path for path, writes, _ in mine if writes}), (plan, world, size, node)
                assert _shards.required_shards({**plan, **own}, plans.DATA, node, size, world // size, 20) == sorted(models)
                if findings:
                    continue  # a checkpoint with gaps
                own = {"use-distributed-optimizer": True, "no-save-optim": False}
                optimizers = {path.replace("model_optim_rng", "distrib_optim") for path, _, writes in mine if writes}
                assert _shards.expected_shards({**plan, **own}, plans.DATA, node, size, world // size, 20) == sorted({*written, *optimizers})
                assert _shards.required_shards({**plan, **own}, plans.DATA, node, size, world // size, 20) == sorted(models | optimizers)
    assert compared >= 50


def test_the_options_are_those_of_the_real_parser(ask):
    assert yaml.safe_load(ask("options")) == {kind: words for kind, words in plans.DATA["options"].items() if kind != "of"}
