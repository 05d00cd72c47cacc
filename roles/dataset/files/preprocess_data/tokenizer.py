"""The tokenizer of a folder: by the tokenizers library where tokenizer.json says all, else by transformers."""
from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any, Callable, Sequence

import numpy as np
import pyarrow as arrow

from preprocess_data.files import sha256_of
from preprocess_data.messages import PreprocessError, say
from preprocess_data.pieces import NoPieces, Pieces, piece_rules
from preprocess_data.sources import parts_of, size_of

# Files of a tokenizer that its encoding may depend on.
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                   "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
# The encodings that the tokenizers library returns are large: documents encoded whole go by as many bytes.
WHOLE_BYTES = 1 << 19
# The first documents of each file, as many and as many bytes, are encoded both ways and compared.
CHECK_DOCUMENTS, CHECK_BYTES = 16, 1 << 15


def tokenizer_sha256(folder: Path) -> str:
    """One SHA-256 over the names and contents of the files that make a tokenizer; an error where there is no vocabulary."""
    if not any((folder / name).is_file() for name in VOCABULARIES):
        found = ", ".join(sorted(item.name for item in folder.iterdir())) if folder.is_dir() else "no such folder"
        raise PreprocessError(f"{folder} holds no tokenizer: expected one of {', '.join(VOCABULARIES)}, found: "
                              f"{found or 'nothing'}. Put the tokenizer there (playbooks/tokenizer.yml; tokenizer_src).")
    made = (f"{name} {sha256_of(folder / name)}\n" for name in TOKENIZER_FILES if (folder / name).is_file())
    return hashlib.sha256("".join(made).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; an empty one when there is no such file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise PreprocessError(f"{path} is not valid JSON: {error}. Bring the file again.") from error
    return content if isinstance(content, dict) else {}


def token_text(token: Any) -> str | None:
    """The text of a token as tokenizer_config.json writes it: a string, or a mapping with `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) and text else None


def special_tokens(folder: Path) -> dict[str, str]:
    """Special tokens by role (eos_token and so on), from tokenizer_config.json and special_tokens_map.json."""
    tokens: dict[str, str] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        for role, value in read_json(folder / name).items():
            if role == "additional_special_tokens" and isinstance(value, list):
                found = {f"{role}[{number}]": token_text(item) for number, item in enumerate(value)}
            else:
                found = {role: token_text(value) if role.endswith("_token") else None}
            tokens.update({role: text for role, text in found.items() if text})
    return tokens


def why_not_alone(folder: Path, tokenizer: Any, spec: dict[str, Any]) -> str | None:
    """Say why tokenizer.json alone may encode differently from the whole tokenizer; None when it cannot.

    transformers adds tokens of tokenizer_config.json to the vocabulary, makes special ones of them, and puts
    bos and eos where add_bos_token and add_eos_token ask for them.
    """
    config, tokens = read_json(folder / "tokenizer_config.json"), special_tokens(folder)
    added = {item["content"]: item["id"] for item in spec.get("added_tokens", [])}
    for role, text in tokens.items():
        if text not in added:
            return f"{role} {text!r} is no added token of tokenizer.json"
    for number, token in (config.get("added_tokens_decoder") or {}).items():
        if added.get(token_text(token)) != int(number):
            return f"added token {number} of tokenizer_config.json is not in tokenizer.json"
    ids = tokenizer.encode("a").ids
    for option, role, place in (("add_bos_token", "bos_token", 0), ("add_eos_token", "eos_token", -1)):
        if option in config and bool(config[option]) != (role in tokens and ids[place] == added[tokens[role]]):
            return f"{option} is {config[option]}, and tokenizer.json does otherwise"
    return None


class Encoder:
    """A tokenizer as this program needs it: by `pieces`, or whole for the reason `why_whole`."""

    def __init__(self, name: str, vocab_size: int, batch: Callable[[list[str]], list[list[int]]], end: Sequence[int] = (),
                 pieces: Pieces | None = None, why_whole: str = "") -> None:
        self.name, self.vocab_size, self.pieces, self.why_whole = name, vocab_size, pieces, why_whole
        # As upstream's optimal_dtype chooses it.
        self.dtype = "uint16" if vocab_size < 65500 else "int32"
        self._batch, self._end = batch, list(end)

    def encode_whole(self, texts: Any) -> tuple[Any, Any]:
        """Encode documents by the tokenizer itself, see `encode`."""
        ids, lengths = [np.zeros(0, dtype=self.dtype)], [np.zeros(0, dtype=np.int64)]
        for part in parts_of(texts, WHOLE_BYTES):
            encoded = [[*one, *self._end] for one in self._batch(part.to_pylist())]
            lengths.append(np.array([len(one) for one in encoded]))
            ids.append(self._stored(np.fromiter(itertools.chain.from_iterable(encoded), dtype=np.int64)))
        return np.concatenate(ids), np.concatenate(lengths)

    def _stored(self, ids: Any) -> Any:
        if ids.size and int(ids.max()) > np.iinfo(self.dtype).max:
            raise PreprocessError(f"The tokenizer gave id {int(ids.max())}, which {self.dtype} cannot hold: its vocabulary "
                                  f"has {self.vocab_size} entries but its ids have gaps. Use a tokenizer without gaps.")
        return ids.astype(self.dtype)

    def encode(self, texts: Any, whole: bool = False) -> tuple[Any, Any]:
        """The ids of documents that are not empty, in one array of `dtype`, and their number in each, int32.

        With `whole` every document is left to the tokenizer itself.
        """
        canonical, special = (texts, np.ones(len(texts), dtype=bool)) if whole or self.pieces is None else self.pieces.canonical(texts)
        lengths = np.zeros(len(texts), dtype=np.int32)
        by_tokenizer, lengths[special] = self.encode_whole(texts.filter(arrow.array(special)) if special.any() else texts[:0])
        if special.all():
            return by_tokenizer, lengths
        assert self.pieces is not None  # noqa: S101
        by_pieces, lengths[~special] = self.pieces.encode(canonical.filter(arrow.array(~special)) if special.any() else canonical)
        if not len(by_tokenizer):
            return self._stored(by_pieces), lengths
        chosen = np.repeat(special, lengths)
        ids = np.empty(len(chosen), dtype=self.dtype)
        ids[chosen], ids[~chosen] = by_tokenizer, self._stored(by_pieces)
        return ids, lengths

    def disagreement(self, texts: Any) -> str | None:
        """Compare both ways of encoding for the first documents; None where they agree."""
        first = next(parts_of(texts[:CHECK_DOCUMENTS], CHECK_BYTES))
        if size_of(first) > 2 * CHECK_BYTES:
            return None  # a single document, too large to be encoded twice
        if all(np.array_equal(one, other) for one, other in zip(self.encode(first), self.encode(first, whole=True))):
            return None
        return f"its own encoding of the first {len(first)} documents differs from that of their pieces"


def batch_of(tokenizer: Any) -> Callable[[list[str]], list[list[int]]]:
    """The ids of texts by a tokenizer of the tokenizers library, whose later releases have a faster way."""
    encode = getattr(tokenizer, "encode_batch_fast", tokenizer.encode_batch)
    return lambda texts: [one.ids for one in encode(texts)]


def load_encoder(folder: Path, append_eod: bool) -> Encoder:
    """The tokenizer of a folder; with `append_eod` it adds the eos token's id to each document."""
    tokens, path = special_tokens(folder), folder / "tokenizer.json"
    if append_eod and "eos_token" not in tokens:
        raise PreprocessError("--append-eod needs the tokenizer's eos_token, and tokenizer_config.json names none. "
                              "Bring tokenizer_config.json, or leave --append-eod out (dataset_append_eod: false).")
    if path.is_file():
        import tokenizers

        try:
            tokenizer = tokenizers.Tokenizer.from_file(str(path))
        except BaseException as error:  # the library raises bare Exception, and where it panics not even that
            raise PreprocessError(f"{path} cannot be loaded by tokenizers {tokenizers.__version__}: {error}. "
                                  "Bring the file again, or use a newer tokenizers.") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        spec = read_json(path)
        not_alone = why_not_alone(folder, tokenizer, spec)
        if not_alone is None:
            # Not as written in the file: the library gives ids of its own where those have gaps.
            end: Any = [tokenizer.token_to_id(tokens["eos_token"])] if append_eod else []
            pieces, why_whole = None, ""
            try:
                # The same model without normalizer, pre-tokenizer, post-processor and added tokens.
                pieces = Pieces(batch_of(tokenizers.Tokenizer(tokenizer.model)), piece_rules(spec), end)
            except NoPieces as error:
                why_whole = str(error)
            size = tokenizer.get_vocab_size(with_added_tokens=True)
            return Encoder(f"tokenizers {tokenizers.__version__}", size, batch_of(tokenizer), end, pieces, why_whole)
        say(f"encoding by transformers, which is slower: {not_alone}")
    import transformers

    try:
        whole = transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True, model_max_length=10**12)
    except Exception as error:  # whatever its many backends raise
        raise PreprocessError(f"{folder} cannot be loaded by transformers {transformers.__version__}: {error}. "
                              "Bring tokenizer.json as well, or the packages that this tokenizer needs.") from error
    return Encoder(f"transformers {transformers.__version__}", len(whole), lambda texts: list(whole(texts)["input_ids"]),
                   [whole.eos_token_id] if append_eod else [], None, "transformers encodes")
