"""Our rules of a plan beside what the real parse_args, validate_args, group set-up, model and schedule say of the same plans."""
import json
import os
import shutil
import subprocess
from collections import Counter, defaultdict

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _argv, _plan, _plan_options, _shards
from ansible_collections.ascend.cluster.plugins.module_utils._plan_values import Plan

from rehearsal import artifacts
from tests.playing import PROJECT
from tests.upstream import plans

SEED, COUNT = 20240424, 3000
PYTHON = PROJECT / ".rehearsal/plans/bin/python"
FOLDER = PROJECT / ".rehearsal/upstream/plans"
REPORT = PROJECT / ".rehearsal/upstream/plans.txt"

# Rules that are stricter than the real code before its first iteration, each with its reason.
STRICTER = {
    "interleaved_micro_batches": "refused by the schedule at the first iteration (ascendspeed/core/pipeline_parallel/schedules.py:96-100)",
    "sequence_per_rank": "refused in the first forward pass (megatron/core/tensor_parallel/mappings.py:117-121)",
    "recomputation": "a unit past the last layer is an IndexError in the first forward pass (megatron/legacy/model/transformer.py:1618-1640)",
    "query_groups": "heads that groups do not divide do not fit the shapes of the first forward pass (ascendspeed/model/transformer.py:437-444)",
    "heads_per_context_rank": "the heads of a tensor rank are dealt out in the first forward pass (ascendspeed/core/context_parallel/)",
    "ramp_of_the_batch": "each step's size is checked while it trains (megatron/training/microbatches.py:136-142)",
    "routing": "with one expert the second choice is the first again (ascendspeed/components/moe/gate.py)",
    "shared_embedding_bucket": "the real code counts the weights of the finished model, and may be lucky",
    "rotary": "AscendSpeed says it is Megatron Core while arguments with overlap-param-gather are validated (ascendspeed/arguments.py:162-165)",
    "only_in_core": "as rotary",
    "something_logged": "upstream trains without a word; success could not be told from failure",
    "split": "shares of 0 in all become nan, and no split has a sample",
    "bounds:log-interval": "0 divides by zero at the first iteration (megatron/training/training.py:748); less is no interval",
    "bounds:save-interval": "0 divides by zero at the end (ascendspeed/training.py:135); less is no interval",
    "bounds:eval-interval": "0 divides by zero; less is no interval",
    "bounds:expert-interval": "0 divides by zero where there are experts; less is no interval",
    "bounds:manual-gc-interval": "refused in the training loop, with manual-gc (megatron/training/training.py:924)",
    "bounds:make-vocab-size-divisible-by": "0 divides by zero; less pads to nothing",
    "bounds:hidden-size": "a model of size 0 has nothing to train",
    "bounds:ffn-hidden-size": "a model of size 0 has nothing to train",
    "bounds:kv-channels": "a head of size 0 has nothing to attend with",
    "bounds:num-query-groups": "a head of size 0 has nothing to attend with",
    "bounds:max-position-embeddings": "no less than a sequence of as small a length",
    "bounds:train-iters": "below 0 nothing is trained, and with lr-decay-iters nobody notices (ascendspeed/training.py:126)",
    "bounds:seq-length": "a sequence of length 0 has nothing to train on",
}


@pytest.fixture(scope="module")
def ask():
    """Runs the asking program with the real code as the roles leave it: its folder made a package, AscendSpeed's patches applied."""
    artifacts.build("real")
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in artifacts.repositories():
        bundle = artifacts.FOLDER / f"sources-real/{name}.bundle"
        subprocess.run(["git", "clone", "--quiet", "--branch", "pinned", bundle, FOLDER / name], check=True)
    (FOLDER / "Megatron-LM/megatron/__init__.py").touch()
    for patch in sorted((FOLDER / "AscendSpeed/ascendspeed/run").glob("*.patch")):
        subprocess.run(["git", "apply", patch], cwd=FOLDER / "Megatron-LM", check=True)
    path = os.pathsep.join(map(str, (PROJECT / "rehearsal/npu_on_cpu", FOLDER / "Megatron-LM", FOLDER / "AscendSpeed")))

    def run(*words, questions=""):
        done = subprocess.run([PYTHON, "-W", "ignore", PROJECT / "tests/upstream/real_plans.py", *words], input=questions, text=True,
                              stdout=subprocess.PIPE, check=True, cwd=FOLDER, env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
        return done.stdout
    return run


@pytest.fixture(scope="module")
def asked(ask):
    """Each plan, its world size, our findings and the real answer."""
    made = plans.plans(SEED, COUNT)
    questions = "".join(json.dumps({"words": _argv.argv(plan), "world_size": world, "folders": number % 10 == 0 and world <= 64}) + "\n"
                        for number, (plan, world) in enumerate(made))
    answers = [json.loads(line) for line in ask(questions=questions).splitlines()]
    assert len(answers) == COUNT
    cases = [(plan, world, _plan.broken_rules(plan, world), answer) for (plan, world), answer in zip(made, answers)]
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
    unnamed = [told(*case) for case in stricter if {finding.rule for finding in case[2]} - STRICTER.keys()]
    assert not unnamed, f"{len(unnamed)} plans:\n" + "\n".join(unnamed)
    never = sorted(STRICTER.keys() - {finding.rule for case in stricter for finding in case[2]})
    assert not never, f"named, and never stricter: {never}"


def test_every_rule_has_refused_what_the_real_code_refuses(asked):
    """Alone: so that it is this rule and no other, and the real code agrees."""
    agreed = {finding.rule for _, _, findings, answer in asked for finding in findings
              if len({finding.rule for finding in findings}) == 1 and not answer["accepted"]}
    expected = {rule.__name__ for rule in _plan.RULES} - {"values", "bounds"}
    expected |= {f"bounds:{name}" for name in (*_plan_options.LEAST, *_plan_options.RANGE)}
    never = sorted(expected - agreed - STRICTER.keys())
    assert not never, f"never alone in refusing what the real code refuses: {never}; see {REPORT}"
    kinds = {kind for kind in ("WHOLE", "FRACTION", "FLAG", "CHOICES")
             if any(name.startswith("values:") and name.split(":")[1] in getattr(_plan_options, kind) for name in agreed)}
    assert kinds == {"WHOLE", "FRACTION", "FLAG", "CHOICES"}


def test_there_are_enough_plans_of_each_kind(asked):
    accepted = sum(answer["accepted"] for *_, answer in asked)
    assert accepted >= COUNT / 5
    assert COUNT - accepted >= COUNT / 5
    worlds = {world for _, world, *_ in asked}
    assert 1 in worlds and max(worlds) >= 128


def test_iterations_are_counted_as_the_real_code_does(asked):
    for plan, _, findings, answer in asked:
        if answer["accepted"] and not findings:
            assert Plan(plan).iterations == answer["iterations"], plan


def test_shards_are_written_and_read_where_the_real_code_has_them(asked):
    compared = 0
    for plan, world, _, answer in asked:
        if not answer.get("folders"):
            continue
        compared += 1
        for size in {1, 2, 8, world}:
            for node in range(world // size if world % size == 0 else 0):
                mine = answer["folders"][node * size:(node + 1) * size]
                own = {"use-distributed-optimizer": False}
                written = _shards.expected_shards({**plan, **own}, node, size, world // size, 20)
                assert written == sorted({path for path, writes in mine if writes}), (plan, world, size, node)
                assert _shards.required_shards({**plan, **own}, node, size, world // size, 20) == sorted({path for path, _ in mine})
    assert compared >= 50


def test_the_options_are_those_of_the_real_parser(ask):
    real = json.loads(ask("options"))
    ours = {name: kind for kinds, kind in ((_plan_options.WHOLE, "int"), (_plan_options.FRACTION, "float"), (_plan_options.FLAG, "flag"),
                                           (_plan_options.WORDS, "words"), (_plan_options.TEXT, "text")) for name in kinds}
    ours.update({name: list(choices) for name, choices in _plan_options.CHOICES.items()}, **{"moe-model-type": real["moe-model-type"]})
    real = {name: "text" if kind in ("str", "bool") else kind for name, kind in real.items() if name not in ("h", "help")}
    assert ours == real
