"""Ask the supervisors of a run: the hub, else the one of this node, else the files."""
from __future__ import annotations

import os
from typing import Any, Mapping

from supervise import kept, link
from supervise.config import Config


async def ask(config: Config, token: bytes, question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, as docs/run.md has it; with ``error`` where nobody can tell."""
    said = []
    for address in dict.fromkeys((config.hub, config.address)):
        try:
            answer = await link.question(config, token, address, question)
            if "error" not in answer:
                return answer
            said.append(str(answer["error"]))
        except link.FAILURES as error:
            said.append(f"{address}:{config.port}: {error or type(error).__name__}")
    result = kept.read(os.path.join(config.folder, "result.json"))
    lines = result.pop("lines", [])
    if result and isinstance(question.get("after"), int):
        result["lines"] = [line for line in lines if line["n"] > question["after"]]
    if result:
        return result
    return {"version": 1, "run": config.run, "error": f"no supervisor of run {config.run} answers {config.node} ({'; '.join(said)}), and there is no "
            f"{config.folder}/result.json: `systemctl status` of the unit on the master tells whether it runs"}
