"""Turn parquet, JSON lines or CSV files of texts into Megatron's indexed dataset.

It has the command line that the recipe gives, which Megatron's own tool does not know, and writes for each key K
PREFIX_K_document.bin (the token ids of all documents, one after another), .idx (lengths, byte offsets and document bounds,
as megatron/core/datasets/indexed_dataset.py has them) and .manifest.json (what they were made from, and their SHA-256).

A document is a row; empty and null rows are skipped and counted. The ids are what the tokenizer itself gives for the
document, its special tokens included. A run whose manifest agrees with input, tokenizer, options and output does nothing.
Output appears under its name only when it is whole; its bytes depend neither on the number of workers nor on the chunks.

Speed: a text is cut wherever no merge of the vocabulary can reach across; each distinct piece is encoded once and the
document is gathered from its pieces (class `Pieces` says why this is exact). Tokenizers of another kind, and documents in
which a special token is written out, are encoded whole. What ran is printed and noted.

Order: the words of --input as given; the files of a folder or glob sorted by path; the rows of a file as they lie.

Memory: the program reads and writes, the workers encode; at most 2 x workers chunks are under way. Expect at most

    250 MiB + workers x (150 MiB + 32 x chunk) + 12 bytes a document

of resident memory, shared pages counted once, however large the files and their row groups are. A document larger than a
chunk is a chunk of its own; the largest adds up to 20 times its size (what the tokenizer needs for it).
"""
from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Sequence

if not __package__:  # started as a folder: its modules are those of a package beside it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from preprocess_data.files import KINDS, InUseError, alone_in, source_files
from preprocess_data.messages import LOGS, NO_MEMORY, STOPPED, PreprocessError, say, stop


def prepare(args: argparse.Namespace, until_done: contextlib.ExitStack) -> None:
    """Make the dataset of every key that is not made yet; what is held meanwhile is let go with `until_done`."""
    folder, prefix = Path(args.tokenizer_name_or_path), Path(args.output_prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = until_done.enter_context(alone_in(prefix.parent, say))
    except InUseError as error:
        raise PreprocessError(f"Another preprocessing is at work in {prefix.parent}. Wait for it to end.") from error
    if args.log_file:  # not before: it may be that of the other
        LOGS.append(until_done.enter_context(Path(args.log_file).open("w", encoding="utf-8")))  # noqa: SIM115
    from preprocess_data import dataset, processes, tokenizer

    files = source_files(args.input)
    tokenizer_hash = tokenizer.tokenizer_sha256(folder)
    hashes = dataset.Hashes(files)
    until_done.callback(hashes.close)
    todo = []
    for key in args.json_keys:
        output = dataset.Output(f"{prefix}_{key}_document")
        inputs = {"tokenizer_sha256": tokenizer_hash, "tokenizer_type": args.tokenizer_type, "json_key": key, "append_eod": args.append_eod}
        output.discard_partial()
        if output.is_made_from(inputs, hashes):
            say(f"{output.bin} is up to date")
        else:
            todo.append((key, output, inputs))
    if not todo:
        return
    encoder = tokenizer.load_encoder(folder, args.append_eod)
    # More workers than chunks would have nothing to do.
    args.used, pool = max(1, min(args.workers, int(sum(hashes.sizes) / (args.chunk_mib * (1 << 20))))), None
    if args.used > 1:
        pool = processes.Pool(encoder.encode, args.used, [lock])
        until_done.callback(pool.close)
    hashes.start()  # after the fork: threads and forks do not go together
    pieces = encoder.pieces, encoder.why_whole
    for key, output, inputs in todo:
        encoder.pieces, encoder.why_whole = pieces
        try:
            dataset.make(key, files, encoder, pool, output, inputs, hashes, args)
        except BaseException:
            output.discard_partial()
            raise


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line: upstream's names."""
    first, *more = str(__doc__).split("\n\n")
    parser = argparse.ArgumentParser(prog="preprocess_data", description=first, epilog="\n\n".join(more[2:]), allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", required=True, nargs="+", help=f"files, globs or folders, a document a row; by the name: {', '.join(KINDS)}")
    parser.add_argument("--json-keys", nargs="+", default=["text"], help="columns to encode, each into files of its own (default: text)")
    parser.add_argument("--tokenizer-type", default="PretrainedFromHF", help="the training's name for it, which is noted; the ids are the folder's")
    parser.add_argument("--tokenizer-name-or-path", "--tokenizer-model", dest="tokenizer_name_or_path", required=True, help="folder of the tokenizer")
    parser.add_argument("--output-prefix", required=True, help="files are PREFIX_<key>_document.bin and .idx")
    parser.add_argument("--append-eod", action="store_true", help="end each document with the tokenizer's eos token")
    parser.add_argument("--workers", type=int, default=0, help="processes that encode (default: 0, as many as CPUs may be used)")
    parser.add_argument("--chunk-mib", type=float, default=4, help="MiB of text that a worker gets at a time (default: 4)")
    parser.add_argument("--log-interval", type=int, default=10000, help="rows between two lines of progress, at least a chunk (default: 10000)")
    parser.add_argument("--log-file", help="write there as well what is printed, for those who do not see it")
    args = parser.parse_args(argv)
    if args.workers < 0 or args.log_interval < 1:
        parser.error("--workers must be at least 0, --log-interval at least 1")
    if not 0 < args.chunk_mib <= 1024:
        parser.error("--chunk-mib must be more than 0 and at most 1024")
    args.workers = args.workers or len(os.sched_getaffinity(0))
    args.json_keys = list(dict.fromkeys(args.json_keys))
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program. Returns its exit status."""
    args = arguments(argv)
    # The workers are what uses all cores; numpy's linear algebra is not needed.
    os.environ.update(TOKENIZERS_PARALLELISM="false", OPENBLAS_NUM_THREADS="1")
    STOPPED.clear()
    with contextlib.ExitStack() as until_done:
        until_done.callback(LOGS.clear)
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # as a shell has it for what runs in the background
                until_done.callback(signal.signal, number, signal.signal(number, stop))
        try:
            prepare(args, until_done)
            return 0
        except PreprocessError as error:
            found = str(error)
        except ImportError as error:
            found = (f"Python module {error.name} cannot be imported by {sys.executable}: {error}. "
                     "Run this program in the training environment (playbooks/conda_env.yml makes it).")
        except MemoryError:
            found = f"there is {NO_MEMORY}"
        except OSError as error:
            found = f"{error}. Nothing was left behind; make room or mend the path, and run again."
        say(f"error: {found}", sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
