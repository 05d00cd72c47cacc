"""What the tests with the pinned packages share."""
from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import transformers

from tests.unit.python38 import CONSTRAINTS, ROOT, real_model


@pytest.fixture(scope="session")
def real() -> Path:
    """The folder of the real tokenizer, as the pinned transformers make it of tokenizer.model."""
    model = real_model()
    folder = ROOT / ".rehearsal" / "cache" / "vocabulary" / hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()[:16]
    if not (folder / "tokenizer.json").exists():
        transformers.LlamaTokenizerFast(vocab_file=str(model), legacy=True).save_pretrained(str(folder))
    return folder
