#!/usr/bin/env python3
"""Load a tokenizer as the preprocessor and as the training do, and compare the ids that they give for probe texts.

    python check_tokenizer.py FOLDER [--from-pretrained NAMES] [ARGUMENTS OF THE LAUNCH] < FILES

FILES is a JSON object of the files of package preprocess_data: name to text. NAMES, with commas between them: what the training
gives AutoTokenizer.from_pretrained besides the folder (tokenizer.from_pretrained of the stack).

The preprocessor reads tokenizer.json alone where it can; the training heeds tokenizer_config.json as well, which may
say otherwise (add_prefix_space, do_lower_case, or a class with defaults of its own). The data would then be made of
ids that the training's tokenizer never gives, and nothing later would notice. A tokenizer.json of a later form than the
environment's library knows is refused as well, also where the library would only drop what it does not know.

Like is compared with like: the preprocessor writes each document with the special tokens that the tokenizer itself puts
around it (for Mixtral <s> before it and nothing behind it), and the training's tokenizer is asked by encode(text), which
puts them too. What --append-eod adds behind a document is no part of the comparison.

Prints what is wrong, a line each, and ends with status 1; else one line. Writes nothing. Needs Python 3.8 and the
training environment: transformers, tokenizers, numpy, pyarrow.
"""
from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Iterator, Sequence

# Texts in which options of tokenizers show: case, accents in both forms, widths, spaces at all places, digits, words of
# other scripts, control characters, and a length that truncation would cut.
PROBES = [
    "Hello World", "hello world", " hello", "  hello", "hello ", "a  b   c    d", "\n", "a\n\nb\r\nc\td", " ", "▁a ▁", "don't we'll I'M", "x" * 300,
    "3.14159 1,000,000 2024-04-24", "def f(x):\n    return x**2  # ok\n", "{\"a\": [1, 2]}", "<a href='b'>&amp;</a>", "É é E\u0301 e\u0301 ç ñ ß ﬁ Ⅷ Ａ",
    "Ünïcödé STRASSE straße", "模型训练系统测试。", "日本語のテキスト、カタカナ", "한국어 문장", "Привет, мир", "مرحبا بالعالم", "नमस्ते दुनिया",
    "😀👩‍👩‍👧 🇨🇳", "\U0010ffff\u200b\ufeff", "\x00\x01\x7f", "[CLS] [SEP] [MASK] [PAD] [UNK]", "<s></s><unk><pad>", "<|endoftext|> <|im_start|>user",
    "[INST] Hi [/INST]", "The Quick brown fox jumps over the lazy dog. " * 900,
]
# What a training may give AutoTokenizer.from_pretrained besides the folder, made of the options of the launch.
FROM_PRETRAINED = ("additional_special_tokens", "model_max_length", "trust_remote_code", "use_fast")
CONFIGS = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# The last releases for Python 3.8 that belong together.
LAST_FOR_38 = "tokenizers==0.20.3 and transformers==4.46.3"
# What a library older than an option does anyway.
HARMLESS = (("ignore_merges", False), ("split", True))


def quoted(value: Any, size: int = 60) -> str:
    """A value as JSON, cut to a number of characters."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= size else text[:size] + "…"


def first_line(error: BaseException) -> str:
    """What an error says, without its lists."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")


def broken_files(folder: Path) -> list[str]:
    """What is wrong with the files themselves."""
    found = []
    for path in sorted(folder.iterdir()):
        if not path.is_file():
            continue
        if path.open("rb").read(40).startswith(b"version https://git-lfs"):
            found.append(f"{path} is a pointer of git-lfs, not the file itself: fetch it with `git lfs pull`, or download it (tokenizer_src).")
        elif path.suffix == ".json":
            try:
                json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                found.append(f"{path} is not valid JSON: {error}. Bring the file again (tokenizer_src).")
    return found


def read(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one where there is none."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return content if isinstance(content, dict) else {}


def later_forms(spec: dict[str, Any]) -> list[str]:
    """Of what in a tokenizer.json older libraries say no more than "data did not match any variant"."""
    found = []
    merges = (spec.get("model") or {}).get("merges") or []
    if any(not isinstance(merge, str) for merge in merges):
        found.append("its merges are pairs, as tokenizers 0.20 and later write them")
    if any(part.get("type") == "Metaspace" and "add_prefix_space" not in part for part in parts_of([spec.get("pre_tokenizer"), spec.get("decoder")])):
        found.append("its Metaspace has no add_prefix_space, as tokenizers 0.19 and later write it")
    return found


def parts_of(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else []:
        yield from parts_of(each)


def dropped(written: Any, understood: Any, where: str) -> Iterator[str]:
    """The settings of a tokenizer.json that the library, which says again what it understood, knows nothing of."""
    if isinstance(written, list) and isinstance(understood, list):
        for number, (one, other) in enumerate(zip(written, understood)):
            yield from dropped(one, other, f"{where}[{number}]")
    if not isinstance(written, dict) or not isinstance(understood, dict):
        return
    for key, value in written.items():
        if key in ("vocab", "merges"):
            continue
        if key in understood:
            yield from dropped(value, understood[key], f"{where}.{key}")
        # Later libraries read add_prefix_space and say prepend_scheme instead; str_rep was never heeded.
        elif (value is not None and (key, value) not in HARMLESS and key != "str_rep"
              and not (key == "add_prefix_space" and "prepend_scheme" in understood)):
            yield f"{where}.{key} ({quoted(value)})"


def wrong_form(folder: Path) -> list[str]:
    """Why the environment's tokenizers library is not for this tokenizer.json."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        return []
    import tokenizers  # type: ignore[import-not-found, unused-ignore]

    spec, known = read(path), f"tokenizers {tokenizers.__version__} of {sys.executable}"
    try:
        understood = json.loads(tokenizers.Tokenizer.from_file(str(path)).to_str())
    except BaseException as error:  # the library raises bare Exception, and where it panics not even that
        forms = later_forms(spec)
        what = f"{path} cannot be loaded by {known} ({first_line(error)})"
        if not forms:
            return [f"{what}: it is damaged, or of a form that this version does not know. Bring the file again (tokenizer_src)."]
        what += f": {' and '.join(forms)}"
    else:
        parts = [name for name in ("normalizer", "pre_tokenizer", "post_processor", "model") if spec.get(name)]
        lost = [setting for name in parts for setting in dropped(spec[name], understood.get(name), name)]
        if not lost:
            return []
        what = f"{path} is of a later form than {known} knows, which drops without a word: {', '.join(lost)}. The ids would not be those that are meant"
    newer = LAST_FOR_38 + " (the last for Python 3.8)" if sys.version_info[:2] == (3, 8) else "newer tokenizers, and transformers that go with them,"
    return [f"{what}. Either copy the file of conda_env_constraints_file (in roles/conda_env/files), put {newer} in the copy, set "
            "conda_env_constraints_file to it and run playbooks/conda_env.yml; or bring a tokenizer.json of the older form (tokenizer_src)."]


def load_training(folder: Path, launch: argparse.Namespace) -> Any:
    """The tokenizer as the training loads it.

    Source: the tokenizer's classes that stacks/*.yml name; of PretrainedFromHF, which gives the most, AscendSpeed at 9264e3c0,
    ascendspeed/tokenizer/tokenizer.py, _AutoTokenizer.
    """
    import transformers  # type: ignore[import-not-found, unused-ignore]

    # Code that lies among the tokenizer's files runs here where it does in the training: by the same user.
    more: dict[str, Any] = {"model_max_length": launch.seq_length, "use_fast": not launch.tokenizer_not_use_fast, "trust_remote_code": True}
    if launch.vocab_extra_ids > 0:
        more["additional_special_tokens"] = [f"<extra_id_{number}>" for number in range(launch.vocab_extra_ids)]
    return transformers.AutoTokenizer.from_pretrained(str(folder), **{name: value for name, value in more.items() if name in launch.from_pretrained})


def variants(folder: Path, launch: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """The training's tokenizer without one option, for each option there is: the option, how to be rid of it, the tokenizer.

    The class, whose defaults may be to blame, comes last. Those that cannot be loaded are left out.
    """
    cases: list[tuple[bool, str, str, str, dict[str, Any], argparse.Namespace]] = []
    for name in CONFIGS:
        content = read(folder / name)
        for key, value in content.items():
            rest = {one: other for one, other in content.items() if one != key}
            change = f"remove {key} from {name}"
            if key == "tokenizer_class":  # without any, nothing can be loaded
                rest[key] = "PreTrainedTokenizerFast"
                change = f"set {key} to {rest[key]} in {name}: that class adds nothing to tokenizer.json"
            cases.append((key == "tokenizer_class", f"{key}: {quoted(value)} in {name}", change, name, rest, launch))
    for name, option, off in (("additional_special_tokens", "vocab_extra_ids", 0), ("use_fast", "tokenizer_not_use_fast", False)):
        if getattr(launch, option) != off and name in launch.from_pretrained:
            words = "--" + option.replace("_", "-")
            cases.append((False, f"{words} of the launch", f"remove {words[2:]} from plan_extra_arguments", "", {},
                          argparse.Namespace(**{**vars(launch), option: off})))
    for _, option, change, name, content, words_of_launch in sorted(cases, key=lambda case: case[0]):
        with tempfile.TemporaryDirectory() as made, contextlib.suppress(Exception):  # whatever transformers' many backends raise
            for item in folder.iterdir():
                if item.name != name:
                    (Path(made) / item.name).symlink_to(item)
            if name:
                (Path(made) / name).write_text(json.dumps(content), encoding="utf-8")
            yield option, change, load_training(Path(made), words_of_launch)


def shown(ids: Sequence[int], other: Sequence[int]) -> str:
    """Ids around the first one in which they differ from others."""
    first = next((at for at, pair in enumerate(zip(ids, other)) if pair[0] != pair[1]), min(len(ids), len(other)))
    start, end = max(0, first - 3), first + 7
    return "[" + ("…, " if start else "") + ", ".join(map(str, ids[start:end])) + (", …]" if end < len(ids) else "]")


def probes(folder: Path, tokenizer: Any) -> list[str]:
    """The texts to compare: `PROBES`, and every added token alone, within a word and between words."""
    added = {str(item.get("content")) for item in read(folder / "tokenizer.json").get("added_tokens", [])} | set(tokenizer.get_added_vocab())
    return [*PROBES, *(form.format(token) for token in sorted(added) if token for form in ("{}", "a{}b", "a {} b"))]


def encoded(encoder: Any, texts: Sequence[str]) -> list[list[int]]:
    """The ids that the preprocessor writes."""
    import pyarrow  # type: ignore[import-not-found, unused-ignore]

    ids, lengths = encoder.encode(pyarrow.array(texts))
    ends = [int(end) for end in lengths.cumsum()]
    return [ids[start:end].tolist() for start, end in zip([0, *ends], ends)]


def load_preprocessor(preprocess: Any, folder: Path) -> Any:
    """The preprocessor's tokenizer; what it says about it is not for here."""
    with contextlib.redirect_stdout(io.StringIO()):
        return preprocess.load_encoder(folder, False)


def rewritten(preprocess: Any, tokenizer: Any, launch: argparse.Namespace, texts: Sequence[str], wanted: list[list[int]]) -> bool:
    """Whether the files that the training's tokenizer saves give its ids on both sides."""
    with tempfile.TemporaryDirectory() as made, contextlib.suppress(Exception):
        tokenizer.save_pretrained(made)
        if not wrong_form(Path(made)) and encoded(load_preprocessor(preprocess, Path(made)), texts) == wanted:
            return [load_training(Path(made), launch).encode(text) for text in texts] == wanted
    return False


def compare(folder: Path, launch: argparse.Namespace, preprocess: Any) -> tuple[list[str], str]:
    """Where preprocessor and training disagree; and what agrees, in a line."""
    import transformers

    try:
        tokenizer = load_training(folder, launch)
    except Exception as error:
        blamed = next(((option, change) for option, change, _ in variants(folder, launch)), None)
        hint = f"It can without {blamed[0]}: {blamed[1]} (tokenizer_src)." if blamed else "Bring what is missing: files by tokenizer_src and " \
            "tokenizer_files, packages by conda_env_packages_extra and playbooks/conda_env.yml."
        return [f"{folder} cannot be loaded as the training does, by transformers {transformers.__version__} of {sys.executable}: "
                f"{first_line(error)}. {hint}"], ""
    if tokenizer.eos_token_id is None:
        return [f"{folder} names no eos_token, which the training asks for with each sample: name it in tokenizer_config.json (tokenizer_src)."], ""
    try:
        encoder = load_preprocessor(preprocess, folder)
    except preprocess.PreprocessError as error:
        return [str(error)], ""
    texts = probes(folder, tokenizer)
    ours, theirs = encoded(encoder, texts), [tokenizer.encode(text) for text in texts]
    name = f"{type(tokenizer).__name__} of transformers {transformers.__version__}"
    differ = [at for at in range(len(texts)) if ours[at] != theirs[at]]
    if not differ:
        return [], f"{len(texts)} probe texts get the same ids from the preprocessor ({encoder.name}) and the training ({name})"
    groups: dict[tuple[tuple[str, str], ...], list[int]] = {}
    without = list(variants(folder, launch))
    for at in differ:
        groups.setdefault(tuple((option, change) for option, change, other in without if other.encode(texts[at]) == ours[at]), []).append(at)
    trust = ", trust_remote_code=True" if "trust_remote_code" in launch.from_pretrained else ""
    save = f"from transformers import AutoTokenizer as A; A.from_pretrained({str(folder)!r}{trust}).save_pretrained('new-tokenizer')"
    anew = (f" Or, where tokenizer_config.json is right, let tokenizer.json say the same: `{sys.executable} -c \"{save}\"` on this node writes "
            "new-tokenizer/, whose files belong in tokenizer_src." if rewritten(preprocess, tokenizer, launch, texts, theirs) else "")
    found = []
    for blamed_options, places in groups.items():
        at, cause = places[0], "No single option of tokenizer_config.json is to blame: bring tokenizer.json and tokenizer_config.json of the same release."
        if blamed_options:
            option, change = blamed_options[0]
            cause = f"Likely to blame: {option}, for without it both agree. Where tokenizer.json is right, {change} (tokenizer_src)."
        found.append(f"For {quoted(texts[at])} the data would hold the ids {shown(ours[at], theirs[at])} ({encoder.name}), and the training's tokenizer "
                     f"gives {shown(theirs[at], ours[at])} ({name}); so for {len(places)} of {len(texts)} probe texts. {cause}{anew}")
    return found, ""


def names(text: str) -> list[str]:
    """The words between commas; argparse says of which ones nobody here knows what the training gives."""
    found = [word for word in text.split(",") if word]
    unknown = sorted(set(found) - set(FROM_PRETRAINED))
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)} (tokenizer.from_pretrained of the stack): expected any of {', '.join(FROM_PRETRAINED)}")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0], allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="folder of the tokenizer")
    parser.add_argument("--from-pretrained", type=names, default=[])
    parser.add_argument("--seq-length", type=int)
    parser.add_argument("--vocab-extra-ids", type=int, default=0)
    parser.add_argument("--tokenizer-not-use-fast", action="store_true")
    launch, _ = parser.parse_known_args(argv)
    try:
        files = dict(json.load(sys.stdin))
    except (TypeError, ValueError):
        parser.error("expected the files of package preprocess_data on standard input: a JSON object of names and texts")
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    folder = launch.folder.absolute()
    problems = broken_files(folder)
    with tempfile.TemporaryDirectory() as home:
        # Nothing is fetched, and nothing stays in the user's home.
        os.environ.update(HF_HOME=home, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TRANSFORMERS_VERBOSITY="error")
        agreed = ""
        try:
            problems = problems or wrong_form(folder)
            if not problems:
                package = Path(home) / "preprocess_data"
                package.mkdir()
                for name, text in files.items():
                    (package / name).write_text(text, encoding="utf-8")
                sys.path.insert(0, home)
                problems, agreed = compare(folder, launch, importlib.import_module("preprocess_data.tokenizer"))
        except ImportError as error:
            problems = [f"{sys.executable} cannot import what the tokenizer needs: {error}. Its packages are conda_env_packages (playbooks/conda_env.yml)."]
    for line in problems or [agreed]:
        print(line)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
