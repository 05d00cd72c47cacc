#!/usr/bin/env python3
"""Build the index cache of Megatron's dataset before the launch, by Megatron's own code.

In a launch the cache is written by global rank 0 alone, onto its own disk, and every other node that lacks
it dies with FileNotFoundError. Started in the Megatron folder with the very arguments of the launch, this
program makes the files that the launch will look for:

    cd Megatron-LM && python build_index_cache.py --num-layers 32 ... --data-cache-path DIR

The names of the files cover the arguments but not the data: old files with the right names would be used with
new data. So the cache is built in an empty folder, moved into place when it is whole, and accompanied by a
stamp `index_cache-KEY.json` of arguments, data and Megatron's code; files made from other data are removed.
When the stamp agrees the program says "up to date", without importing torch. With --check as its first word it
changes nothing and ends with status 3 when the stamp does not agree.

One at a time builds in a folder. Needs Python 3.8, the folder preprocess_data beside it and, for building, the training environment.
"""
from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any, Sequence

from preprocess_data.files import InUseError, alone_in, sha256_of

# Megatron's options that decide what the cache is, with the number of values: 0 for a flag, None for any number.
# Without these in the stamp a changed plan would find an old answer. The last one given wins, as in argparse.
OPTIONS: dict[str, int | None] = {
    "--data-path": None, "--train-data-path": None, "--valid-data-path": None, "--test-data-path": None,
    "--data-cache-path": 1, "--mock-data": 0, "--split": 1, "--seed": 1, "--seq-length": 1, "--encoder-seq-length": 1,
    "--train-iters": 1, "--train-samples": 1, "--global-batch-size": 1, "--eval-interval": 1, "--eval-iters": 1,
    "--tokenizer-type": 1, "--tokenizer-name-or-path": 1, "--tokenizer-model": 1, "--tokenizer-kwargs": None,
    "--vocab-file": 1, "--merge-file": 1, "--vocab-extra-ids": 1,
}
# What names and fills the files; the patch of AscendSpeed does not touch these.
SOURCES = ("blended_megatron_dataset_builder.py", "gpt_dataset.py", "helpers.cpp", "indexed_dataset.py",
           "megatron_dataset.py", "megatron_tokenizer.py")
NOT_UP_TO_DATE = 3
CACHE_FILE = re.compile(r"[0-9a-f]{32}-\w+(?:-\w+)?-(description\.txt|\w+\.npy)")


class CacheError(Exception):
    """A cause that the user can mend; its text says what was found, what was expected and how to go on."""


def say(message: str) -> None:
    """Print one line at once."""
    print(f"build_index_cache: {message}", flush=True)


def relevant(argv: Sequence[str]) -> dict[str, list[str]]:
    """The options of a command line that decide what the cache is, with their values.

    Args:
        argv: the words of the launch, in `--option value` or `--option=value` form.
    """
    found: dict[str, list[str]] = {}
    position = 0
    while position < len(argv):
        name, equals, value = argv[position].partition("=")
        position += 1
        if name not in OPTIONS:
            continue
        values = [value] if equals else []
        count = OPTIONS[name]
        while not equals and position < len(argv) and (count is None or len(values) < count):
            if argv[position].startswith("--"):
                break
            values.append(argv[position])
            position += 1
        found[name] = values
    return found


def prefixes(options: dict[str, list[str]]) -> list[str]:
    """The data prefixes among the values of the data options (blends have weights between them)."""
    words = [word for name, values in sorted(options.items()) if name.endswith("data-path") for word in values]
    return [word for word in words if not re.fullmatch(r"[0-9.]+", word)]


def data_identity(prefix: str) -> dict[str, Any]:
    """What tells one dataset from another under the same prefix: the hash of its index, and size and hash of its data.

    The data's hash is taken from the manifest that preprocess_data.py writes, when it is there.

    Raises:
        CacheError: when a file of the dataset is missing.
    """
    files = {end: Path(prefix + end) for end in (".bin", ".idx")}
    for path in files.values():
        if not path.is_file():
            raise CacheError(f"There is no {path}: expected the dataset that --data-path {prefix} names. "
                             "Prepare it first (playbooks/dataset.yml), or set cluster_data_prefix.")
    identity: dict[str, Any] = {"idx_sha256": sha256_of(files[".idx"]), "bin_size": files[".bin"].stat().st_size}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        manifest = json.loads(Path(prefix + ".manifest.json").read_text(encoding="utf-8"))
        identity["bin_sha256"] = manifest["outputs"][files[".bin"].name]["sha256"]
    return identity


def identity_of(options: dict[str, list[str]], megatron: Path) -> dict[str, Any]:
    """All that the cache depends on: arguments, data and code."""
    folder = megatron / "megatron" / "core" / "datasets"
    return {
        "arguments": {name: values for name, values in options.items() if name != "--data-cache-path"},
        "data": {prefix: data_identity(prefix) for prefix in prefixes(options)},
        "code": {name: sha256_of(folder / name) for name in SOURCES if (folder / name).is_file()},
    }


def stamp_path(cache: Path, identity: dict[str, Any]) -> Path:
    """Where the stamp of these arguments lies: one a plan, so that plans can take turns."""
    key = hashlib.sha256(json.dumps(identity["arguments"], sort_keys=True).encode()).hexdigest()[:16]
    return cache / f"index_cache-{key}.json"


def read_stamp(path: Path) -> dict[str, Any]:
    """A stamp; an empty one when it cannot be read."""
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def is_up_to_date(cache: Path, identity: dict[str, Any]) -> bool:
    """True when the stamp was made from the same arguments, data and code, and all its files are there in full size."""
    stamp = read_stamp(stamp_path(cache, identity))
    files = stamp.get("files")
    if stamp.get("identity") != identity or not isinstance(files, dict) or not files:
        return False
    return all((cache / name).is_file() and (cache / name).stat().st_size == size for name, size in files.items())


def remove_stale(cache: Path, identity: dict[str, Any]) -> list[str]:
    """Remove stamps and files that were made from other data or code, and files without a stamp. Returns their names."""
    kept: set[str] = set()
    for path in cache.glob("index_cache-*.json"):
        stamp = read_stamp(path)
        theirs = stamp.get("identity", {})
        shared = [prefix for prefix in theirs.get("data", {}) if prefix in identity["data"]]
        same_data = all(theirs["data"][prefix] == identity["data"][prefix] for prefix in shared)
        if path != stamp_path(cache, identity) and same_data and theirs.get("code") == identity["code"]:
            kept |= {path.name, *stamp.get("files", {})}
    removed = []
    for path in sorted(cache.iterdir()):
        ours = CACHE_FILE.fullmatch(path.name) or re.fullmatch(r"index_cache-\w+\.json", path.name)
        if ours and path.name not in kept:
            path.unlink()
            removed.append(path.name)
        elif path.name.startswith(".building-"):
            shutil.rmtree(path)
    return removed


def build(argv: Sequence[str], megatron: Path, folder: Path) -> None:
    """Let Megatron build its dataset, with its cache in a folder.

    The arguments go through Megatron's parser (and AscendSpeed's, by the import) but not through
    validate_args, which would lower the parallel sizes to what one process can do; what it would
    set for the dataset is set here by the same rules.
    """
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    sys.path.insert(0, str(megatron))
    sys.argv = ["pretrain_gpt.py", *argv]
    try:
        import pretrain_gpt  # type: ignore[import-not-found, unused-ignore]
        from megatron.training import global_vars, training  # type: ignore[import-not-found, unused-ignore]
        from megatron.training.arguments import parse_args  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise CacheError(f"Megatron in {megatron} cannot be imported by {sys.executable}: {error}. Run this in the "
                         "training environment (playbooks/conda_env.yml, megatron.yml, ascendspeed.yml).") from error
    args = parse_args()
    if args.seq_length is None:
        args.seq_length = args.encoder_seq_length
    for name in ("seq_length", "global_batch_size"):
        if getattr(args, name) is None:
            raise CacheError(f"--{name.replace('_', '-')} is not among the arguments: the cache depends on it. "
                             f"Set plan_{name}.")
    if not (args.train_iters or args.train_samples):
        raise CacheError("Neither --train-iters nor --train-samples is among the arguments. Set plan_train_iters.")
    args.encoder_seq_length = args.seq_length
    args.iteration = args.consumed_train_samples = args.consumed_valid_samples = 0
    args.data_cache_path = str(folder)
    global_vars.set_args(args)
    global_vars._build_tokenizer(args)
    try:
        training.build_train_valid_test_datasets(pretrain_gpt.train_valid_test_datasets_provider)
    except ImportError as error:
        raise CacheError(f"Megatron's dataset helpers cannot be imported: {error}. Compile them with `make` in "
                         f"{megatron}/megatron/core/datasets (playbooks/megatron.yml does).") from error


def adopt(built: Path, cache: Path, identity: dict[str, Any]) -> list[str]:
    """Move the files of a finished build into the cache, the stamp last. Returns their names."""
    files = {path.name: path.stat().st_size for path in sorted(built.iterdir())}
    if not files:
        raise CacheError("Megatron built its dataset and wrote no cache: expected files in --data-cache-path. "
                         "Its version may differ from the pinned one (megatron_version).")
    for name in files:
        (built / name).replace(cache / name)
    stamp = stamp_path(cache, identity)
    written = built / stamp.name
    written.write_text(json.dumps({"identity": identity, "files": files}, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    written.replace(stamp)
    return list(files)


def run(argv: Sequence[str], megatron: Path, check: bool = False) -> int:
    """Bring the cache up to date for a command line; with `check` only look. Returns the exit status."""
    options = relevant(argv)
    if not options.get("--data-cache-path") or not prefixes(options):
        raise CacheError("--data-path and --data-cache-path must be among the arguments: without the second Megatron "
                         "keeps its cache beside the data. The role plan gives both.")
    cache = Path(options["--data-cache-path"][0])
    identity = identity_of(options, megatron)
    if is_up_to_date(cache, identity):
        say(f"{cache} is up to date")
        return 0
    if check:
        stamp = stamp_path(cache, identity)
        say(f"{stamp} {'was made from other data or code, or lacks files' if stamp.exists() else 'is not there'}")
        return NOT_UP_TO_DATE
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with alone_in(cache, say):
            for name in remove_stale(cache, identity):
                say(f"removed {name}, made from other data or another version")
            with tempfile.TemporaryDirectory(prefix=".building-", dir=str(cache)) as folder:
                built = Path(folder)
                build(argv, megatron, built)
                names = adopt(built, cache, identity)
    except InUseError as error:
        raise CacheError(f"Another build_index_cache is at work in {cache} (--data-cache-path). Wait for it to end, and run again.") from error
    say(f"wrote {len(names)} files in {cache}")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program in the current folder, which is Megatron's. Returns its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words in (["-h"], ["--help"]):
        argparse.ArgumentParser(description=str(__doc__).split("\n\n", 1)[0], usage="%(prog)s [--check] ARGUMENTS OF THE LAUNCH"
                                ).print_help()
        return 0
    check = words[:1] == ["--check"]
    try:
        return run(words[check:], Path.cwd(), check)
    except CacheError as error:
        print(f"build_index_cache: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"build_index_cache: error: {error}. Make room or mend the path, and run again.", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
