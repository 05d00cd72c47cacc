"""The one file of settings; docs/run.md has the table of its keys."""
from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from typing import Any, Mapping

PORTS = 16


class ConfigError(Exception):
    """The supervisor cannot begin; its text says what was found, expected, and what to do."""


@dataclass(frozen=True)
class Times:
    """Seconds."""

    beat: float = 2.0
    lost: float = 15.0
    orphan: float = 60.0
    form: float = 600.0
    first: float = 1800.0
    hang: float = 600.0
    dump: float = 10.0
    grace: float = 120.0
    save: float = 1800.0
    tail: float = 180.0
    backoff: float = 10.0


@dataclass(frozen=True)
class Checkpoints:
    """Where they lie, and what of each has to be on this node."""

    folder: str = ""
    shards: tuple[str, ...] = ()
    bytes: int = 0
    keep: int = 0
    shared: bool = False


@dataclass(frozen=True)
class Config:
    """Settings of one node's supervisor for one run."""

    run: str
    node: str
    nodes: tuple[str, ...]
    address: str
    hub: str
    port: int
    master_port: int
    token_file: str
    run_dir: str
    command: tuple[str, ...]
    ready: tuple[str, ...] = ()
    on_end: str = ""
    nproc_per_node: int = 1
    train_iters: int = 0
    log_interval: int = 1
    tokens_per_iteration: int = 0
    max_restarts: int = 0
    stop_saves: bool = False
    resume: int = 0
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    times: Times = field(default_factory=Times)

    @property
    def folder(self) -> str:
        """Where the supervisor writes."""
        return os.path.join(self.run_dir, "supervise")

    @property
    def is_master(self) -> bool:
        """Whether the hub is here."""
        return self.node == self.nodes[0]

    @property
    def mark(self) -> str:
        """What the environment of each process of a job says."""
        return f"SUPERVISE_JOB={self.run}/{self.node}"

    def token(self) -> bytes:
        """Read the run's token.

        Raises:
            ConfigError: it cannot be read, is short, or others may read it.
        """
        try:
            with open(self.token_file, "rb") as file:
                mode, token = os.fstat(file.fileno()).st_mode & 0o777, file.read().strip()
        except OSError as error:
            raise ConfigError(f"token_file {self.token_file} cannot be read: {error.strerror}. site.yml writes it anew for each launch.") from error
        if mode & 0o077:
            raise ConfigError(f"token_file {self.token_file} has mode {mode:04o}, expected 0600: whoever reads it can stop the run.")
        if len(token) < 16:
            raise ConfigError(f"token_file {self.token_file} holds {len(token)} characters, expected at least 16: the same file as on the other nodes.")
        return token


def _made(kind: Any, raw: Any, path: str, within: str = "") -> Any:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"{path}: {within or 'the file'} holds {raw!r}, expected an object of keys.")
    known = {one.name: one for one in fields(kind)}
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise ConfigError(f"{path}: unknown key {within}{unknown[0]}; known are {', '.join(sorted(known))}.")
    values: dict[str, Any] = {}
    for name, value in raw.items():
        wanted = str(known[name].type)
        if wanted.startswith("tuple"):
            fits, value = isinstance(value, list) and all(isinstance(item, str) for item in value), tuple(value) if isinstance(value, list) else value
        elif wanted in ("Times", "Checkpoints"):
            fits, value = True, _made({"Times": Times, "Checkpoints": Checkpoints}[wanted], value, path, f"{name}.")
        else:
            types: Any = {"str": str, "bool": bool, "int": int, "float": (int, float)}[wanted]
            fits = isinstance(value, types) and (wanted == "bool" or not isinstance(value, bool)) and (wanted in ("str", "bool") or value >= 0)
        if not fits:
            raise ConfigError(f"{path}: {within}{name} is {raw[name]!r}, expected {wanted.replace('tuple[str, ...]', 'a list of words')}.")
        values[name] = value
    try:
        return kind(**values)
    except TypeError as error:
        raise ConfigError(f"{path}: {str(error).rpartition(': ')[2]} is missing; docs/run.md has the table of keys.") from error


def load(path: str) -> Config:
    """Read the settings.

    Raises:
        ConfigError: with the words to say.
    """
    try:
        with open(path, encoding="utf-8") as file:
            raw = json.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}. site.yml writes it (docs/run.md).") from error
    if not isinstance(raw, dict) or raw.pop("version", None) != 1:
        raise ConfigError(f"{path} is not of version 1: supervisor and settings are of different states of the project; run site.yml again.")
    config: Config = _made(Config, raw, path)
    if config.node not in config.nodes or len(set(config.nodes)) != len(config.nodes):
        raise ConfigError(f"{path}: nodes are {', '.join(config.nodes)}; expected each once, and {config.node} (node) among them.")
    if not config.command:
        raise ConfigError(f"{path}: command is empty, expected the launch script.")
    return config
