"""What role tokenizer says of tokenizers, with the packages that role conda_env installs."""
from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable

import pytest
from preprocess_data import tokenizer as preprocessor
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tests.unit.preprocess_tools import LIBRARY, SENT, mixtral_like, variant, write_tokenizer

CHECK = Path(__file__).parents[2] / "roles" / "tokenizer" / "files" / "check_tokenizer.py"
# As in the launch: what does not concern the tokenizer, values and all, stands among it.
LAUNCH = ["--num-layers", "2", "--sequence-parallel", "--seq-length", "64", "--lr", "1e-3", "--data-path", "0.3", "/a", "0.7", "/b", "--loss-scale", "-1"]
# As the recipe's PretrainedFromHF.
ALL = ["--from-pretrained", "model_max_length,use_fast,trust_remote_code,additional_special_tokens"]
LLAMA = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}

spec_of = importlib.util.spec_from_file_location("check_tokenizer", CHECK)
assert spec_of and spec_of.loader
check = importlib.util.module_from_spec(spec_of)
spec_of.loader.exec_module(check)


def folder_of(made: Path, spec: dict[str, Any], **config: Any) -> Path:
    write_tokenizer(made, spec)
    (made / "tokenizer_config.json").write_text(json.dumps(config or LLAMA))
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the program says of a folder; begins with ok or refused."""
    def call(folder: Path, *more: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(SENT))
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        status = check.main([str(folder), *ALL, *LAUNCH, *more])
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        out = capsys.readouterr().out
        assert status in (0, 1) and out.count("\n") == 1
        return ("ok: ", "refused: ")[status] + out

    return call


def bert(**config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A WordPiece tokenizer that lowers all letters, and the configuration of its class."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(["hello world the quick fox"] * 5, trainers.WordPieceTrainer(
        vocab_size=90, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], show_progress=False))
    return json.loads(made.to_str()), {"tokenizer_class": "BertTokenizer", "eos_token": "[SEP]", **config}


def byte_level(**config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """GPT-2's kind."""
    return variant("byte-level"), {**LLAMA, "tokenizer_class": "GPT2Tokenizer", **config}


def test_the_real_tokenizer_is_accepted(real: Path, said: Callable[..., str]) -> None:
    message = said(real)
    assert message.startswith("ok: ") and "probe texts get the same ids from the preprocessor (tokenizers " in message
    assert "the training (LlamaTokenizerFast of transformers " in message


def test_added_tokens_are_among_the_probes(tmp_path: Path, said: Callable[..., str]) -> None:
    folder = folder_of(tmp_path, variant("added-tokens"), **LLAMA)
    assert said(folder).startswith(f"ok: {len(check.PROBES) + 3 * 9} probe texts")


@pytest.mark.parametrize(("made", "blamed", "ids"), [
    (bert(do_lower_case=False), "do_lower_case: false in tokenizer_config.json", None),
    (byte_level(add_prefix_space=True), "add_prefix_space: true in tokenizer_config.json", None),
    (({**mixtral_like(), "post_processor": None}, LLAMA), 'tokenizer_class: "LlamaTokenizer" in tokenizer_config.json', ("[", "[1, ")),
    ((mixtral_like(), {**LLAMA, "added_tokens_decoder": {"1": {"content": "<s>", "lstrip": True, "rstrip": True, "normalized": False, "special": True}}}),
     'added_tokens_decoder: {"1": {"content": "<s>"', None),
])
def test_a_difference_is_refused_and_the_option_named(made: Any, blamed: str, ids: Any, tmp_path: Path, said: Callable[..., str]) -> None:
    folder = folder_of(tmp_path / "given", made[0], **made[1])
    message = said(folder)
    assert message.startswith("refused: For ") and f"Likely to blame: {blamed}" in message
    ours, theirs = message.split("would hold the ids ")[1], message.split("the training's tokenizer gives ")[1]
    assert ours.split("]")[0] != theirs.split("]")[0]
    if ids:
        assert ours.startswith(ids[0]) and not ours.startswith(ids[1]) and theirs.startswith(ids[1])
    # Either way out that is named leads out.
    name = blamed.split(":")[0]
    config = {key: value for key, value in made[1].items() if key != name}
    config.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    assert said(folder_of(tmp_path / "changed", made[0], **config)).startswith("ok: ")
    program, option, code = shlex.split(message.split("`")[1])
    subprocess.run([program, option, code], cwd=tmp_path, check=True, capture_output=True)
    assert said(tmp_path / "new-tokenizer").startswith("ok: ")


def test_the_ids_that_are_shown_are_those_of_both(tmp_path: Path, said: Callable[..., str]) -> None:
    folder = folder_of(tmp_path, {**mixtral_like(), "post_processor": None}, **LLAMA)
    own = Tokenizer.from_file(str(folder / "tokenizer.json")).encode("Hello World").ids
    message = said(folder)
    assert f'For "Hello World" the data would hold the ids {str(own[:7])[:-1]}, …]' in message
    assert f"gives {str([1, *own[:6]])[:-1]}, …]" in message
    assert f"so for {len(check.PROBES) + 9} of {len(check.PROBES) + 9} probe texts" in message


@pytest.mark.parametrize("config", [{"add_bos_token": False}, {"add_eos_token": True}, {"additional_special_tokens": ["<x>"]}])
def test_what_the_preprocessor_leaves_to_transformers_agrees(config: dict[str, Any], tmp_path: Path, said: Callable[..., str]) -> None:
    message = said(folder_of(tmp_path, mixtral_like(), **LLAMA, **config))
    assert message.startswith("ok: ") and "the preprocessor (transformers " in message


def test_options_of_the_launch_count(tmp_path: Path, said: Callable[..., str]) -> None:
    folder = folder_of(tmp_path, mixtral_like(), **LLAMA)
    message = said(folder, "--vocab-extra-ids", "2")
    assert message.startswith('refused: For "<extra_id_0>"') and "--vocab-extra-ids of the launch" in message
    assert "remove vocab-extra-ids from plan_extra_arguments" in message
    message = said(folder, "--tokenizer-not-use-fast")
    assert message.startswith("refused: ") and "It can without --tokenizer-not-use-fast of the launch" in message


def test_an_argument_that_nobody_knows_is_refused(said: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        said(tmp_path, "--from-pretrained", "use_fast,padding")
    assert "padding (tokenizer.from_pretrained of the stack): expected any of additional_special_tokens, model_max_length" in capsys.readouterr().err


def later(**parts: Any) -> dict[str, Any]:
    """tokenizer.json as later releases write it, in parts."""
    spec = mixtral_like()
    spec["model"].update({key: value for key, value in parts.items() if key in ("merges", "ignore_merges")})
    if "splitter" in parts:
        spec["normalizer"], spec["pre_tokenizer"] = None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", **parts["splitter"]}
    return spec


PAIRS = [merge.split(" ") if isinstance(merge, str) else merge for merge in mixtral_like()["model"]["merges"]]


@pytest.mark.parametrize(("spec", "since", "words"), [
    (later(merges=PAIRS), (0, 20), ["cannot be loaded", "its merges are pairs, as tokenizers 0.20 and later write them"]),
    (later(splitter={"split": False}), (0, 19), ["cannot be loaded", "its Metaspace has no add_prefix_space"]),
    (later(splitter={}, merges=PAIRS), (0, 20), ["its merges are pairs", "and its Metaspace has no add_prefix_space"]),
    (later(splitter={"split": False, "add_prefix_space": True}), (0, 19), ["is of a later form", "drops without a word: pre_tokenizer.split (false)"]),
    (later(ignore_merges=True), (0, 19), ["is of a later form", "drops without a word: model.ignore_merges (true)"]),
])
def test_a_form_that_the_library_does_not_know_is_refused(
    spec: dict[str, Any], since: tuple[int, int], words: list[str], tmp_path: Path, said: Callable[..., str]
) -> None:
    message = said(folder_of(tmp_path, spec, **{**LLAMA, "tokenizer_class": "PreTrainedTokenizerFast"}))
    if since <= LIBRARY:
        assert message.startswith("ok: ")
        return
    assert message.startswith(f"refused: {tmp_path}/tokenizer.json ")
    for word in [*words, "conda_env_constraints_file", "tokenizers==0.20.3 and transformers==4.46.3", "playbooks/conda_env.yml"]:
        assert word in message


@pytest.mark.parametrize("spec", [later(ignore_merges=False), later(splitter={"split": True, "add_prefix_space": True})])
def test_what_older_libraries_do_anyway_is_accepted(spec: dict[str, Any], tmp_path: Path, said: Callable[..., str]) -> None:
    assert said(folder_of(tmp_path, spec)).startswith("ok: ")


@pytest.mark.parametrize(("name", "content", "words"), [
    ("tokenizer.json", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", ["is a pointer of git-lfs", "git lfs pull", "tokenizer_src"]),
    ("tokenizer_config.json", '{"a": ', ["tokenizer_config.json is not valid JSON", "tokenizer_src"]),
    ("tokenizer.json", '{"version": "1.0"}', ["cannot be loaded by tokenizers", "it is damaged", "tokenizer_src"]),
    ("tokenizer_config.json", '{"tokenizer_class": "PreTrainedTokenizerFast"}', ["names no eos_token", "tokenizer_config.json"]),
    # As transformers 5 writes it.
    ("tokenizer_config.json", '{"tokenizer_class": "TokenizersBackend", "eos_token": "</s>"}', [
        "cannot be loaded as the training does", "TokenizersBackend does not exist",
        "set tokenizer_class to PreTrainedTokenizerFast in tokenizer_config.json"]),
    ("tokenizer_config.json", "{}", ["cannot be loaded as the training does", "Bring what is missing", "tokenizer_files", "conda_env_packages_extra"]),
])
def test_what_cannot_be_loaded_is_told(name: str, content: str, words: list[str], tmp_path: Path, said: Callable[..., str]) -> None:
    folder = folder_of(tmp_path, mixtral_like())
    (folder / name).write_text(content)
    message = said(folder)
    for word in ["refused: ", str(tmp_path), *words]:
        assert word in message


def test_a_missing_package_is_told(tmp_path: Path, said: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "cannot import what the tokenizer needs" in said(folder_of(tmp_path, mixtral_like()))


def test_code_among_the_files_runs_as_in_the_training_and_nothing_stays(tmp_path: Path) -> None:
    folder, home = tmp_path / "tokenizer", tmp_path / "home"
    home.mkdir()

    def run(*more: str, **config: Any) -> str:
        folder_of(folder, mixtral_like(), **{**LLAMA, "tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.Own", None]}, **config})
        (folder / "own.py").write_text("from transformers import LlamaTokenizerFast\nclass Own(LlamaTokenizerFast):\n    pass\n")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        done = subprocess.run([sys.executable, str(CHECK), str(folder), *(more or ALL)], input=SENT, env={**environment, "HOME": str(home)},
                              capture_output=True, text=True, check=False)
        assert not list(home.iterdir())
        return done.stdout

    assert "the training (Own of transformers" in run()
    # Of a training that does not trust it nothing runs here either.
    refused = run("--from-pretrained", "")
    assert "cannot be loaded as the training does" in refused and "Own of transformers" not in refused, refused
    # With an option for which the preprocessor needs transformers, and that runs no such code there.
    assert f"{folder} cannot be loaded by transformers" in run(add_eos_token=True)


def test_writing_tokenizer_json_anew_is_offered_where_it_helps(tmp_path: Path) -> None:
    launch = argparse.Namespace(from_pretrained=list(check.FROM_PRETRAINED), seq_length=64, vocab_extra_ids=0, tokenizer_not_use_fast=False)
    tokenizer = check.load_training(folder_of(tmp_path, {**mixtral_like(), "post_processor": None}, **LLAMA), launch)
    ids = [tokenizer.encode("the fox")]
    assert check.rewritten(preprocessor, tokenizer, launch, ["the fox"], ids)
    assert not check.rewritten(preprocessor, tokenizer, launch, ["the fox"], [[*ids[0], 5]])


def test_what_a_library_drops() -> None:
    space = {"type": "Metaspace", "add_prefix_space": True, "str_rep": "_"}
    written = {"type": "Sequence", "of": [{"type": "a", "new": 1, "none": None}, space], "split": True}
    understood = {"type": "Sequence", "of": [{"type": "a", "more": 2}, {"type": "Metaspace", "prepend_scheme": "first"}]}
    assert list(check.dropped(written, understood, "pre_tokenizer")) == ["pre_tokenizer.of[0].new (1)"]
    assert list(check.dropped({"add_prefix_space": True}, {}, "x")) == ["x.add_prefix_space (true)"]


def test_what_is_shown_of_errors_and_values() -> None:
    assert check.first_line(ValueError("\nNo such model. Known are.\na\nb")) == "No such model. Known are"
    assert check.first_line(ValueError("x" * 999)) == "x" * 300
    assert check.first_line(KeyError()) == "KeyError"
    assert check.quoted("é" * 99) == '"' + "é" * 59 + "…"


def test_what_is_shown_of_ids() -> None:
    assert check.shown([1, 2, 3], [1, 2, 4]) == "[1, 2, 3]"
    assert check.shown([1, 2], [1, 2, 4]) == "[1, 2]"
    assert check.shown(list(range(30)), [*range(10), 99]) == "[…, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …]"
