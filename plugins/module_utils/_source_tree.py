"""A git checkout, its patches and the project's hooks: what is ours in it, and what is somebody else's.

Runs on the nodes: Python 3.8 and git are all it needs.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Mapping, Sequence

# Every line that we add to the script ends with this, and a line that ends with it is ours.
MARK = "# ascend.cluster: hook"
HOOK_PACKAGE = "ascend_cluster_hooks"

_MAIN = re.compile(r"""^if\s+__name__\s*==\s*['"]__main__['"]\s*:""")
_CALL = re.compile(r"^(?P<indent>[ \t]+)pretrain\s*\(")
_INSTALL = re.compile(r"^\s*install\((?P<names>.*)\)\s*" + re.escape(MARK))
_IMPORT = re.compile(r"^(?:import\s+(?P<module>[\w.]+)|from\s+(?P<package>[\w.]+)\s+import\s+(?P<name>\w+))", re.MULTILINE)

_TORCH = re.compile(r"^import torch\s*$", re.MULTILINE)

_BLOCK = ("# BEGIN ascend.cluster\n", "# END ascend.cluster\n")


class TreeError(Exception):
    """The tree cannot be read or changed as asked; the message says why."""


def strip_hooks(text: str) -> str:
    """The script without our lines, byte for byte what it was before :func:`insert_hooks`."""
    return "".join(line for line in text.splitlines(True) if not line.rstrip().endswith(MARK))


def read_hooks(text: str) -> list[str]:
    """Names of the hooks that the script installs, in their order."""
    for line in text.splitlines():
        match = _INSTALL.match(line)
        if match:
            return re.findall(r'"([^"]*)"', match.group("names"))
    return []


def insert_adaptor(text: str, adaptor: str) -> str:
    """The script with an import of the module ``adaptor`` after its `import torch`, unless it imports it already.

    Raises:
        TreeError: there is no line `import torch`.

    """
    if not adaptor or adaptor in read_imports(text):
        return text
    found = _TORCH.search(text)
    if not found:
        raise TreeError(f"no line `import torch` at its top level, which the import of {adaptor} has to follow")
    line = found.group().splitlines()[0].rstrip()
    at = found.start() + len(line)
    end = "\r\n" if text[at:at + 2] == "\r\n" else "\n"
    return f"{text[:at]}{end}import {adaptor}  {MARK}{text[at:]}"


def insert_hooks(text: str, names: Sequence[str], adaptor: str = "") -> str:
    """The script with exactly the hooks ``names``, installed in its ``__main__`` block just before ``pretrain(...)``.

    Two lines at most, and one for an ``adaptor``, see :func:`insert_adaptor`. A line anywhere near the imports would make the
    patches of AscendSpeed reject, so whoever has patches has no such adaptor; the others apply and reverse with the hooks in
    place. Without names and adaptor this is :func:`strip_hooks`.

    Raises:
        TreeError: there is no such block, or no such call in it.

    """
    lines = insert_adaptor(strip_hooks(text), adaptor).splitlines(True)
    if not names:
        return "".join(lines)
    inside = False
    for position, line in enumerate(lines):
        if _MAIN.match(line):
            inside = True
            continue
        call = _CALL.match(line) if inside else None
        if call:
            end = "\r\n" if line.endswith("\r\n") else "\n"
            arguments = ", ".join(f'"{name}"' for name in names)
            ours = [f"from {HOOK_PACKAGE} import install  {MARK}", f"install({arguments})  {MARK}"]
            return "".join(lines[:position] + [call.group("indent") + one + end for one in ours] + lines[position:])
        if inside and line.strip() and not line[0].isspace() and not line.startswith("#"):
            inside = False
    raise TreeError('no call of pretrain(...) inside `if __name__ == "__main__":`')


def read_imports(text: str) -> list[str]:
    """Dotted names that the script imports at its top level; of `from a import b, c` only a.b."""
    return [match["module"] or f"{match['package']}.{match['name']}" for match in _IMPORT.finditer(text)]


def with_block(text: str, lines: Sequence[str]) -> str:
    """The text of a file with our block of ``lines`` in it, where it was or at the end; the other lines stay."""
    block = _BLOCK[0] + "".join(line + "\n" for line in lines) + _BLOCK[1]
    before, begin, rest = text.partition(_BLOCK[0])
    _, end, after = rest.partition(_BLOCK[1])
    if begin and end:
        return before + block + after
    return text + ("\n" if text and not text.endswith("\n") else "") + block


def touched(patch: str) -> list[str]:
    """Paths of the files that a ``git diff`` patch changes, creates or removes."""
    found = re.findall(r"^(?:--- a|\+\+\+ b)/(\S+)", patch, re.MULTILINE)
    return sorted(set(found))


def parse_status(output: str) -> tuple[list[str], list[str]]:
    """Changed tracked paths and untracked paths, from ``git status --porcelain -z``."""
    changed, untracked = [], []
    fields = iter(output.split("\0"))
    for field in fields:
        if not field:
            continue
        code, path = field[:2], field[3:]
        if code == "??":
            untracked.append(path)
            continue
        changed.append(path)
        if "R" in code or "C" in code:
            changed.append(next(fields, ""))
    return sorted(filter(None, changed)), sorted(untracked)


class SourceTree:
    """A git work tree in ``path``, with the patches found below the folder ``patches`` (a package of AscendSpeed)."""

    def __init__(self, path: str, patches: str | None = None, script: str = "pretrain_gpt.py") -> None:
        self.path = Path(path)
        self.script = script
        folder = Path(patches) if patches else None
        self.patches = sorted(folder.rglob("*.patch")) if folder and folder.is_dir() else []
        self.patches_root = folder

    def git(
        self, *words: str, check: bool = True, cwd: Path | None = None, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run git in the tree (or in ``cwd``) without anything of the user's that changes its output, ``more`` in its environment."""
        where = cwd or self.path
        environment = dict(
            os.environ, LC_ALL="C", GIT_TERMINAL_PROMPT="0", GIT_OPTIONAL_LOCKS="0", GIT_CEILING_DIRECTORIES=str(where.parent), **(more or {})
        )
        try:
            done = subprocess.run(
                ["git", *words], cwd=str(where), env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        except FileNotFoundError as error:
            raise TreeError(f"git cannot be run: {error} (role node_base installs it)") from error
        if check and done.returncode != 0:
            raise TreeError("git {}: {}".format(" ".join(words), done.stderr.decode(errors="replace").strip()))
        return done

    def commit(self) -> str:
        """The commit that is checked out; empty when there is none yet."""
        return self.git("rev-parse", "--verify", "--quiet", "HEAD", check=False).stdout.decode().strip()

    def applied(self, patch: Path) -> bool:
        """Whether the patch is in the tree: it could be taken back. The exit code of `ascendspeed -P` does not tell."""
        return self.git("apply", "--check", "-R", str(patch), check=False).returncode == 0

    def script_text(self) -> str:
        """The script's text with its line ends; empty when there is no script."""
        path = self.path / self.script
        return path.read_bytes().decode() if path.is_file() else ""

    def _paths_of_patches(self) -> list[str]:
        return sorted({path for patch in self.patches for path in touched(patch.read_text())})

    def foreign(self) -> tuple[list[str], list[str], list[str]]:
        """What is in the tree: edits of others, untracked files of others, and changed paths that are only ours.

        A changed file is ours alone when taking our hooks and the patches away, in a scratch copy, leaves what the
        commit holds. So nothing need be remembered, and a run that broke off half-way is understood as well.
        """
        status = self.git("status", "--porcelain", "-z", "--untracked-files=all").stdout.decode()
        changed, untracked = parse_status(status)
        known = set(self._paths_of_patches()) | {self.script}
        if not changed and not known & set(untracked):
            return [], untracked, []
        with tempfile.TemporaryDirectory(prefix="ascend-cluster-") as name:
            scratch = Path(name) / "tree"
            scratch.mkdir()
            for path in sorted(set(changed) | known):
                source, copy = self.path / path, scratch / path
                if source.is_file():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    copy.write_bytes(source.read_bytes())
            script = scratch / self.script
            if script.is_file():
                script.write_bytes(strip_hooks(script.read_bytes().decode()).encode())
            for patch in reversed(self.patches):
                if self.git("apply", "--check", "-R", str(patch), check=False, cwd=scratch).returncode == 0:
                    self.git("apply", "-R", str(patch), cwd=scratch)
            edits: list[str] = []
            ours: list[str] = []
            for path in changed:
                held = self.git("cat-file", "blob", "HEAD:" + path, check=False)
                copy = scratch / path
                same = held.returncode == 0 and copy.is_file() and copy.read_bytes() == held.stdout
                (ours if same and path in known else edits).append(path)
            # Files that a patch creates are untracked, and gone from the scratch copy when they are ours alone.
            created = [path for path in untracked if path in known and not (scratch / path).exists()]
        return edits, [path for path in untracked if path not in created], ours + created

    def exclude_file(self) -> Path:
        """The file with the repository's own patterns of files to overlook."""
        return self.path / self.git("rev-parse", "--git-path", "info/exclude").stdout.decode().rstrip("\n")

    def missing(self, exclude: Sequence[str], beside: Sequence[str]) -> list[str]:
        """What is not there of ``beside`` (see :meth:`make`), and the file of patterns when it lacks our block."""
        lacks = [name for name in beside if not (self.path / name).exists()]
        file = self.exclude_file()
        text = file.read_text() if file.exists() else ""
        return lacks + ([str(file)] if exclude and with_block(text, exclude) != text else [])

    def make(self, exclude: Sequence[str], beside: Sequence[str]) -> None:
        """Make what is missing: of ``beside`` an empty file, or a folder where the name ends with a slash; and the block of patterns."""
        for name in beside:
            path = self.path / name
            if name.endswith("/"):
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        file = self.exclude_file()
        text = file.read_text() if file.exists() else ""
        if exclude and with_block(text, exclude) != text:
            file.parent.mkdir(exist_ok=True)
            file.write_text(with_block(text, exclude))

    def inspect(self, exclude: Sequence[str] = (), beside: Sequence[str] = ()) -> dict[str, Any]:
        """Everything that the roles ask; see RETURN of the module."""
        state: dict[str, Any] = {
            "path": str(self.path),
            "exists": self.path.exists(),
            "repository": (self.path / ".git").exists(),
            "empty": not self.path.exists() or (self.path.is_dir() and not any(self.path.iterdir())),
            "commit": "",
            "edits": [],
            "untracked": [],
            "ours": [],
            "patches": [],
            "hooks": [],
            "imports": [],
            "missing": [],
        }
        if not state["repository"]:
            return state
        self.git("rev-parse", "--git-dir")  # refuses a tree that belongs to another user, with git's own words
        state["commit"] = self.commit()
        state["edits"], state["untracked"], state["ours"] = self.foreign()
        state["patches"] = [{"path": str(patch), "applied": self.applied(patch)} for patch in self.patches]
        script = self.script_text()
        state["hooks"], state["imports"] = read_hooks(script), read_imports(script)
        state["missing"] = self.missing(exclude, beside)
        return state

    def only_ours(self) -> list[str]:
        """Changed paths that are ours alone.

        Raises:
            TreeError: there are edits of others.

        """
        edits, _untracked, ours = self.foreign()
        if edits:
            raise TreeError(f"{self.path} carries edits that are not ours, nothing was changed: {', '.join(edits)}")
        return ours

    def restore(self, paths: Sequence[str]) -> None:
        """Give ``paths`` the content of the commit. Only for paths that :meth:`foreign` calls ours."""
        for path in paths:
            if self.git("cat-file", "-e", "HEAD:" + path, check=False).returncode == 0:
                self.git("checkout", "--quiet", "HEAD", "--", path)
            else:
                (self.path / path).unlink()
