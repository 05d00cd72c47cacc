"""Where the nodes meet: torch's own TCPStore, kept by the master's process for as long as the whole measurement takes."""
from __future__ import annotations

import datetime
import json
import time
from typing import Any


class Meeting:
    """Named values that everybody sees, each written once."""

    def __init__(self, address: str, port: int, keeps: bool, seconds: float) -> None:
        """Keep the store, or go to it; a node that comes first waits for the master ``seconds``."""
        import torch.distributed as dist

        self.store = dist.TCPStore(address, port, is_master=keeps, timeout=datetime.timedelta(seconds=seconds), wait_for_workers=False)

    def put(self, name: str, value: Any) -> None:
        """Give a value."""
        self.store.set(name, json.dumps(value))
        self.store.add(f"there/{name}", 1)

    def there(self, name: str) -> bool:
        """Whether a value was given. Counters can be asked without waiting in every version of torch."""
        return bool(self.store.add(f"there/{name}", 0) > 0)

    def get(self, name: str, seconds: float) -> Any:
        """Take a value as soon as it is there; None where it is not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not self.there(name):
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.1)
        return json.loads(self.store.get(name))
