"""What torchrun itself prints, in the forms of torch 2.1, 2.7 and 2.13 (each as that version printed it)."""
from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

_SIGNALS = {-9: "SIGKILL", -11: "SIGSEGV", -15: "SIGTERM", -6: "SIGABRT", -7: "SIGBUS"}
_API = "elastic.multiprocessing.api"


@dataclass(frozen=True)
class Failure:
    """How a rank ended: a negative status is a signal; ``at`` orders them, ``when`` is the node's wall clock."""

    rank: int
    local: int
    pid: int
    status: int
    at: float
    when: datetime


def _log(torch: str, level: str, pid: int, now: datetime, module: str, text: str) -> str:
    if torch == "2.1":
        return f"[{now.strftime('%Y-%m-%d %H:%M:%S')},511] torch.distributed.{module}: [{'WARNING' if level == 'W' else 'ERROR'}] {text}"
    line = {"2.7": 874, "2.13": 1002}[torch]
    return f"{level}{now.strftime('%m%d %H:%M:%S')}.511000 {pid} site-packages/torch/distributed/{module.replace('.', '/')}.py:{line}] {text}"


def _trace(torch: str, end: str) -> list[str]:
    base = f"/opt/env/lib/python3.{'8' if torch == '2.1' else '11'}/site-packages/torch/distributed"
    return ["Traceback (most recent call last):", '  File "/opt/env/bin/torchrun", line 8, in <module>', "    sys.exit(main())",
            f'  File "{base}/elastic/multiprocessing/errors/__init__.py", line 346, in wrapper', "    return f(*args, **kwargs)",
            f'  File "{base}/run.py", line 806, in main', "    run(args)", f'  File "{base}/launcher/api.py", line 264, in launch_agent', end]


def start(torch: str, pid: int, now: datetime) -> list[str]:
    """What it warns of before any rank begins."""
    return [_log(torch, "W", pid, now, "run", text) for text in (
        "*****************************************",
        "Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid your system being overloaded")]


def _closing(torch: str, pid: int, now: datetime, alive: list[Failure]) -> list[str]:
    return [_log(torch, "W", pid, now, _API, f"Sending process {other.pid} closing signal SIGTERM") for other in alive]


def stopped(torch: str, pid: int, now: datetime, alive: list[Failure]) -> list[str]:
    """SIGTERM to torchrun itself."""
    return [_log(torch, "W", pid, now, "elastic.agent.server.api", "Received 15 death signal, shutting down workers"),
            *_closing(torch, pid, now, alive),
            *_trace(torch, '    raise SignalException(f"Process {os.getpid()} got signal: {sigval}", sigval=sigval)'),
            f"torch.distributed.{_API}.SignalException: Process {pid} got signal: 15"]


def _entry(torch: str, index: int, host: str, failure: Failure, seen: datetime) -> list[str]:
    status = failure.status
    told = f"Signal {-status} ({_SIGNALS[status]}) received by PID {failure.pid}" if status < 0 else \
        "To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html"
    named = f"  ({_SIGNALS[status]})" if status < 0 and torch == "2.13" else ""
    return [f"[{index}]:", f"  time      : {seen.strftime('%Y-%m-%d_%H:%M:%S')}", f"  host      : {host}",
            f"  rank      : {failure.rank} (local_rank: {failure.local})", f"  exitcode  : {status} (pid: {failure.pid}){named}",
            "  error_file: <N/A>", f"  traceback : {told}"]


def summary(torch: str, pid: int, now: datetime, host: str, bad: list[Failure], alive: list[Failure]) -> list[str]:
    """Ranks failed, the others are ended. It looks once a while: whoever ended until then has the same time."""
    root = min(bad, key=lambda failure: (int(failure.at // 1), failure.rank))
    seen = max(bad, key=lambda failure: failure.at).when
    others = [failure for failure in bad if failure is not root]
    if torch == "2.13":
        # Those that it ended itself are listed as well.
        others = sorted([*others, *alive], key=lambda failure: failure.rank)
    rule, thin = "=" * 60, "-" * 60
    return [*_closing(torch, pid, now, alive),
            _log(torch, "E", pid, now, _API, f"failed (exitcode: {root.status}) local_rank: {root.local} (pid: {root.pid}) of binary: /opt/env/bin/python"),
            *_trace(torch, "    raise ChildFailedError("), "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
            rule, "pretrain_gpt.py FAILED", thin, "Failures:", *(["  <NO_OTHER_FAILURES>"] if not others else []),
            *(line for index, failure in enumerate(others, 1) for line in _entry(torch, index, host, failure, seen)),
            thin, "Root Cause (first observed failure):", *_entry(torch, 0, host, root, seen), rule]
