"""The options of a stack's parser: what kind of value each takes, by the table ``stacks/<name>_options.yml``.

`python -m rehearsal.record_options` makes such a table of the real parser, and `make test-upstream` compares the two.
"""
from __future__ import annotations

import difflib
from typing import Any, Mapping

# The least value of what is counted, where the training would divide by zero, stand still or stop with another.
LEAST = {
    **dict.fromkeys((
        "context-parallel-size", "eval-interval", "expert-interval", "expert-model-parallel-size", "ffn-hidden-size", "global-batch-size",
        "hidden-size", "kv-channels", "log-interval", "lr-decay-iters", "lr-decay-samples", "make-vocab-size-divisible-by",
        "max-position-embeddings", "micro-batch-size", "num-attention-heads", "num-experts", "num-layers",
        "num-layers-per-virtual-pipeline-stage", "num-query-groups", "pipeline-model-parallel-size", "save-interval", "seed", "seq-length",
        "tensor-model-parallel-size", "train-iters", "train-samples"), 1),
    "manual-gc-interval": 0,
}

# From here to there, ends included, and in words.
_POSITIVE = (0.0, float("inf"), "a number of at least 0")
_PART = (0.0, 1.0, "a number from 0 to 1")
_BELOW_1 = (0.0, 1.0 - 2.0**-53, "a number from 0 to less than 1")
RANGE = {
    **dict.fromkeys(("adam-eps", "init-method-std", "lr", "min-lr", "weight-decay"), _POSITIVE),
    **dict.fromkeys(("attention-dropout", "hidden-dropout"), _PART),
    **dict.fromkeys(("adam-beta1", "adam-beta2"), _BELOW_1),
}


def words(text: str) -> frozenset[str]:
    """A set of the words of a text."""
    return frozenset(text.split())


def plain(name: str) -> str:
    """``num_layers``, of ``num-layers`` or ``plan_num_layers``."""
    underscored = name.replace("-", "_")
    return underscored[len("plan_"):] if underscored.startswith("plan_") else underscored


class Options:
    """A stack's options by kind: `whole` numbers, any number (`fraction`), a `flag` without a value, several `words`, a `text`, `choices`."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self.whole, self.fraction, self.flag, self.words, self.text = (
            words(table[kind]) for kind in ("whole", "fraction", "flag", "words", "text"))
        self.choices = {name: tuple(str(choices).split()) for name, choices in table["choices"].items()}
        self.known = self.whole | self.fraction | self.flag | self.words | self.text | self.choices.keys()
        self._names = {plain(option): option for option in sorted(self.known)}
        # Whose parser it is: "Megatron-LM 9de386d0 or AscendSpeed 9264e3c0".
        self.origin = " or ".join(f"{name} {str(commit)[:8]}" for name, commit in table["of"].items())

    def name(self, name: str) -> str:
        """How upstream spells an option: ``override-opt_param-scheduler`` has an underscore."""
        return self._names.get(plain(name), plain(name).replace("_", "-"))

    def near(self, option: str) -> str:
        """A hint at the option that is meant, where one is spelled nearly like it."""
        found = difflib.get_close_matches(option, self.known, n=1)
        return f"is {found[0]!r} meant?" if found else ""

    def misread(self, option: str, value: object) -> str:
        """What is expected in place of a value that the parser cannot read; empty where it can."""
        kind = int if option in self.whole else float if option in self.fraction else str
        try:
            kind(str(value))
        except ValueError:
            return "a whole number" if kind is int else "a number"
        if option in self.choices and str(value) not in self.choices[option]:
            return f"one of {', '.join(self.choices[option])}"
        return ""


def outside(option: str, value: object) -> str:
    """What is expected in place of a number that is too small or too large; empty where it is not."""
    if option in LEAST and int(str(value)) < LEAST[option]:
        return f"a whole number of at least {LEAST[option]}"
    if option in RANGE:
        least, most, words = RANGE[option]
        if not least <= float(str(value)) <= most:
            return words
    return ""
