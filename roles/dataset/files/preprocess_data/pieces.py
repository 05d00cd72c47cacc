"""Encoding documents by their distinct pieces: which tokenizers allow it, and how it is done."""
from __future__ import annotations

import itertools
import re
from typing import Any, Callable, Iterable, NamedTuple, Sequence

import numpy as np
import pyarrow as arrow
import pyarrow.compute as compute

from preprocess_data.messages import PreprocessError
from preprocess_data.sources import letters_of, offsets_of, strings_of

# Pieces that are remembered: their number, and the sum of their lengths in bytes.
CACHE_PIECES, CACHE_BYTES = 1_000_000, 32 << 20
# Characters of pieces encoded as one text, since a text has its price; texts encoded, and bytes cut, at a time: that bounds the temporary memory.
PIECES_LENGTH, ENCODE_STEP, CUT_STEP = 640, 256, 1 << 16
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]
# No UTF-8 text contains these bytes: they mark where a document begins and ends.
BEGIN, END = 0xFF, 0xFE


class NoPieces(Exception):
    """Why documents of this tokenizer cannot be encoded piece by piece."""


class Rules(NamedTuple):
    """What `Pieces` needs to know of a tokenizer."""

    lead: str  # whether it puts a space before a document: "always", "unless there is one" or "never"
    around: list[list[int]]  # ids that it puts before and after each document
    written: list[str]  # texts of its added tokens, without spaces around them
    between: str  # a character that takes part in no merge
    between_id: int  # the id of its byte
    cuts: bytes  # see `cuts_of`


def cuts_of(pairs: Iterable[Sequence[str]], split_spaces: bool) -> bytes:
    """Where a text may be cut: 65536 bytes, 1 for yes and 0 for no, by 256 x the byte before + the byte after.

    Args:
        pairs: the merges; no token of them stands for a single byte.
        split_spaces: the tokenizer itself splits at each space.
    """
    table = np.ones((256, 256), dtype=bool)
    for before, after in {(left[-1], right[0]) for left, right in pairs}:
        table[before.replace("▁", " ").encode()[-1], after.replace("▁", " ").encode()[0]] = False
    table[:, ord(" ")] |= split_spaces
    table[:, 0x80:0xC0] = False  # never within a character
    table[:, END:] = table[BEGIN] = True
    return table.tobytes()


def space_rules(spec: dict[str, Any]) -> tuple[str, bool]:
    """`Rules.lead`, and whether the tokenizer splits at each ▁."""
    normalizer, splitter = spec.get("normalizer"), spec.get("pre_tokenizer")  # type: Any, Any
    if (splitter is None) == (normalizer is None):
        raise NoPieces("it has both a normalizer and a pre-tokenizer, or neither")
    if normalizer is not None:
        steps = normalizer.get("normalizers", []) if normalizer.get("type") == "Sequence" else [normalizer]
        replace, prepend = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}, {"type": "Prepend", "prepend": "▁"}
        if steps not in ([prepend, replace], [replace, prepend], [replace]):
            raise NoPieces("its normalizer is not Prepend ▁ and Replace ' ' by ▁")
        return ("always" if prepend in steps else "never"), False
    scheme, split = splitter.get("prepend_scheme"), splitter.get("split")
    if (splitter.get("type") != "Metaspace" or splitter.get("replacement") != "▁" or not isinstance(split, bool)
            or scheme not in ("first", "always", "never")):
        raise NoPieces(f"its pre-tokenizer is {splitter.get('type')}, not a Metaspace whose settings are all written down")
    return ("never" if scheme == "never" else "unless there is one"), split


def template_ids(processor: dict[str, Any] | None) -> list[list[int]]:
    """The ids that the post-processor puts before and after each document."""
    if processor is None:
        return [[], []]
    around: list[list[int]] = [[]]
    try:
        if processor["type"] != "TemplateProcessing":
            raise NoPieces(f"its post-processor is {processor['type']}, not a template")
        for item in processor["single"]:
            if "SpecialToken" in item:
                around[-1] += processor["special_tokens"][item["SpecialToken"]["id"]]["ids"]
            else:
                around.append([])
    except (KeyError, TypeError) as error:
        raise NoPieces("its post-processor is not understood") from error
    if len(around) != 2:
        raise NoPieces("the template of its post-processor does not hold the document once")
    return around


def piece_rules(spec: dict[str, Any]) -> Rules:
    """What `Pieces` needs to know of the tokenizer of a tokenizer.json.

    Raises:
        NoPieces: when its merges alone do not decide what becomes of a text, or it is of a form that is not understood.
    """
    model: dict[str, Any] = spec.get("model") or {}
    vocabulary: Any = model.get("vocab")
    for holds, reason in (
        (model.get("type") == "BPE", f"its model is {model.get('type')}, not BPE"),
        (not model.get("dropout"), "its merges are dropped at random"),
        (not model.get("ignore_merges"), "it looks up whole texts before it merges"),
        (not model.get("continuing_subword_prefix") and not model.get("end_of_word_suffix"), "its words have a prefix or suffix"),
        (isinstance(vocabulary, dict) and "▁" in vocabulary, "its vocabulary has no ▁"),
        (bool(model.get("byte_fallback")), "it has no byte fallback"),
    ):
        if not holds:
            raise NoPieces(reason)
    missing = [token for token in BYTE_TOKENS if token not in vocabulary]
    if missing:
        raise NoPieces(f"its byte fallback lacks {len(missing)} of 256 bytes, {missing[0]} among them")
    lead, split = space_rules(spec)
    written = {item["content"].replace("▁", " ").strip(" ") for item in spec.get("added_tokens", [])}
    if not all(written):
        raise NoPieces("one of its added tokens is made of spaces")
    # Older files write a merge as one text with a space in the middle.
    pairs = [item.split(" ") if isinstance(item, str) else item for item in model["merges"]]
    between = next((code for code in range(1, 32) if chr(code) not in vocabulary), None)
    if between is None or not set(BYTE_TOKENS).isdisjoint(itertools.chain.from_iterable(pairs)):
        raise NoPieces("its merges join single bytes")
    around = template_ids(spec.get("post_processor"))
    return Rules(lead, around, sorted(written), chr(between), vocabulary[BYTE_TOKENS[between]], cuts_of(pairs, split))


class Pieces:
    """Encodes documents by their distinct pieces; exactly, for tokenizers that `piece_rules` accepts.

    Such a tokenizer writes ▁ for spaces, splits the text into characters (bytes, where the vocabulary lacks the
    character) and joins neighbours by its merges, the one of lowest rank first. Where no merge has a left part that
    ends in the byte before a place and a right part that begins with the byte after it, no merge ever reaches across
    that place, so what lies before and what lies behind are encoded independently of each other. For vocabularies like
    Llama's and Mixtral's such places are, among others, the starts of runs of spaces.

    Added tokens are looked for in the text before anything else is done: a document that contains the text of one
    (apart from spaces around it) is left to the tokenizer itself.

    A document becomes BEGIN, its text with spaces for ▁, END; so the special tokens around it are pieces as well.
    """

    def __init__(self, batch: Callable[[list[str]], list[list[int]]], rules: Rules, end: Sequence[int]) -> None:
        """Prepare.

        Args:
            batch: the ids of texts by the model alone: without normalizer, pre-tokenizer, post-processor and added tokens.
            rules: of this tokenizer.
            end: ids to add after each document.
        """
        self._batch, self._rules = batch, rules
        self._around = [*rules.around[0], rules.between_id, *rules.around[1], *end, rules.between_id]
        if self._around.count(rules.between_id) != 2:
            raise NoPieces("a byte token is among its special tokens")
        special = [text.encode() for text in (rules.between, *rules.written)]
        self._special, self._special_starts = re.compile(b"|".join(map(re.escape, special))), {text[:1] for text in special}
        self._cuts = np.frombuffer(rules.cuts, dtype=bool)
        self._forget()

    def _forget(self) -> None:
        # Pieces, and the bytes of their ids (int32), in the same order.
        self._known, self._ids = arrow.array([], arrow.binary()), arrow.array([], arrow.large_binary())
        self._learn(arrow.array([bytes([BEGIN]), bytes([END])]), np.array(self._around, dtype=np.int32))

    def _learn(self, pieces: Any, flat: Any) -> None:
        """Remember pieces by their ids: int32, one behind the other, with `between_id` behind each piece."""
        is_end = flat == self._rules.between_id
        ends = np.flatnonzero(is_end)
        if len(ends) != len(pieces):
            raise PreprocessError(f"{len(pieces)} pieces were encoded as {len(ends)}: tokenizers does not do what its tokenizer.json says. "
                                  "Please report this, with the versions of both.")
        offsets = 4 * np.concatenate([[0], ends - np.arange(len(ends))])
        ids = arrow.Array.from_buffers(arrow.large_binary(), len(pieces), [None, arrow.py_buffer(offsets), arrow.py_buffer(flat[~is_end])])
        self._ids, self._known = arrow.concat_arrays([self._ids, ids]), arrow.concat_arrays([self._known, pieces])

    def _encoded(self, pieces: Any) -> Any:
        """The ids of pieces as `_learn` takes them."""
        mark = self._rules.between
        text = letters_of(compute.binary_join_element_wise(pieces, arrow.scalar(mark.encode()), arrow.scalar(b""))).decode().replace(" ", "▁")
        texts, at = [], 0
        while at < len(text):
            end = text.index(mark, min(at + PIECES_LENGTH, len(text) - 1)) + 1
            texts.append(text[at:end])
            at = end
        steps = (self._batch(texts[at:at + ENCODE_STEP]) for at in range(0, len(texts), ENCODE_STEP))
        return np.fromiter(itertools.chain.from_iterable(itertools.chain.from_iterable(steps)), dtype=np.int32)

    def _ids_of(self, pieces: Any) -> Any:
        """The ids of pieces, an Arrow array of different binaries; those not known yet are encoded."""
        if len(self._known) > CACHE_PIECES or self._known.nbytes > CACHE_BYTES:
            self._forget()
        at = compute.index_in(self._known, value_set=pieces).fill_null(-1).to_numpy()  # so the smaller set is made a table
        there, numbers = np.flatnonzero(at >= 0), np.full(len(pieces), -1)
        numbers[at[there]] = there
        new, first_new = pieces.filter(arrow.array(numbers < 0)), len(self._known)
        if len(new):
            self._learn(new, self._encoded(new))
            numbers[numbers < 0] = np.arange(first_new, len(self._known))
        return self._ids.take(arrow.array(numbers))

    def canonical(self, texts: Any) -> tuple[Any, Any]:
        """Texts with a space for each ▁, since the tokenizer cannot tell them apart; and which of them contain an added token, or `between`."""
        special = np.zeros(len(texts), dtype=bool)
        letters = letters_of(texts)  # to copy and search bytes is faster than an expression is, a search for one byte much faster
        if "▁".encode()[:1] in letters and "▁".encode() in letters:
            texts = compute.replace_substring(texts, pattern="▁", replacement=" ")
            letters = letters_of(texts)
        places = [match.span() for match in self._special.finditer(letters)] if any(start in letters for start in self._special_starts) else []
        if places:  # a match across the border of two documents marks both, which does no harm
            offsets = offsets_of(texts)
            rows = np.searchsorted(offsets - offsets[0], np.array(places) - [0, 1], side="right") - 1
            for first, last in rows.tolist():
                special[first:last + 1] = True
        return texts, special

    def encode(self, texts: Any) -> tuple[Any, Any]:
        """The ids (int32) of documents that are not empty, contain no added token and are `canonical`; and their number in each."""
        lead, plain = arrow.scalar(bytes([BEGIN, ord(" ")])), arrow.scalar(bytes([BEGIN]))
        if self._rules.lead != "always":
            lead = plain if self._rules.lead == "never" else compute.if_else(compute.starts_with(texts, pattern=" "), plain, lead)
        marked = compute.binary_join_element_wise(lead, texts.cast(arrow.binary()), arrow.scalar(bytes([END])), arrow.scalar(b""))
        offsets, values = offsets_of(marked), marked.buffers()[2]
        data = np.frombuffer(values, dtype=np.uint8)[:int(offsets[-1])]
        bounds = [np.zeros(1, dtype=np.int32)]
        for at in range(0, len(data) - 1, CUT_STEP):
            step = data[at:at + CUT_STEP + 1]
            pair = step[:-1].astype(np.uint16)
            pair <<= 8
            pair |= step[1:]
            bounds.append((np.flatnonzero(self._cuts.take(pair)) + (at + 1)).astype(np.int32))
        cut = np.concatenate([*bounds, np.array([len(data)], dtype=np.int32)])
        # Pieces lie one behind the other without gaps, so their array is a view of the text.
        pieces = strings_of(cut, values, arrow.binary()).dictionary_encode()
        of_documents = np.searchsorted(cut, offsets)
        encoded = self._ids_of(pieces.dictionary).take(pieces.indices)
        at_piece = np.frombuffer(encoded.buffers()[1], dtype=np.int64)
        ids = np.frombuffer(encoded.buffers()[2], dtype=np.int32)[:int(at_piece[len(encoded)]) // 4]
        return ids, np.diff(at_piece[of_documents]) // 4
