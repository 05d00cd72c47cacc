"""What every tokenizer says about itself."""
from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any


class MegatronTokenizer:
    """Base of tokenizers: the class's name and the paths as given identify it in the index cache."""

    def __init__(self, *tokenizer_paths: str, **tokenizer_options: Any) -> None:
        self.unique_identifiers: OrderedDict[str, Any] = OrderedDict()
        self.unique_identifiers["class"] = type(self).__name__
        self.unique_identifiers["tokenizer_path"] = list(tokenizer_paths)
        for name, value in tokenizer_options.items():
            self.unique_identifiers[name] = str(value)
        self.unique_description = json.dumps(self.unique_identifiers, indent=4)
