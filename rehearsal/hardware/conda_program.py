#!/usr/bin/python3
"""Simulated for the rehearsal: as much of conda as makes an environment from this system's Python.

It has the one Python that the system has, and refuses any other with conda's own error.
"""
from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

PYTHON = "/usr/bin/python3"
PREFIX = Path(__file__).resolve().parent.parent
PYTHON_CONFIG = '''#!{python}
"""The options of python3-config, answered by this environment's own interpreter."""
import sys
import sysconfig

var = sysconfig.get_config_var
paths = sysconfig.get_paths()
includes = " ".join("-I" + path for path in dict.fromkeys([paths["include"], paths["platinclude"]]))
libs = " ".join([var("LIBS") or "", var("SYSLIBS") or ""]).strip()
answers = {{
    "--prefix": sys.prefix,
    "--exec-prefix": sys.exec_prefix,
    "--includes": includes,
    "--cflags": includes + " " + (var("CFLAGS") or ""),
    "--libs": libs,
    "--ldflags": "-L" + (var("LIBDIR") or "/usr/lib") + " " + libs,
    "--extension-suffix": var("EXT_SUFFIX"),
    "--abiflags": sys.abiflags,
    "--configdir": var("LIBPL"),
}}
options = [option for option in sys.argv[1:] if option != "--embed"]
if not options or any(option not in answers for option in options):
    print("Usage: " + sys.argv[0] + " [" + "|".join(answers) + "]", file=sys.stderr)
    sys.exit(1)
for option in options:
    print(answers[option])
'''


def fits(spec: str, version: str) -> bool:
    """Tell whether a version is what a spec such as =3.11, ==3.11.2, 3 or nothing asks for."""
    wanted = spec.strip().lstrip("=").rstrip("*").rstrip(".")
    return not wanted or (version + ".").startswith(wanted + ".")


def location(name: str | None, prefix: str | None) -> Path:
    """Folder of an environment, given by name or by path."""
    if bool(name) == bool(prefix):
        fail("ArgumentError", "one of the arguments -n/--name -p/--prefix is required", 2)
    return Path(prefix).absolute() if prefix else PREFIX / "envs" / str(name)


def fail(kind: str, message: str, status: int = 1) -> None:
    """End as conda does: the error's name and text on standard error."""
    print(f"\n{kind}: {message}\n", file=sys.stderr)
    sys.exit(status)


def create(options: argparse.Namespace) -> None:
    """`conda create`: a venv of the system's Python with pip, and a python3-config of its own."""
    env = location(options.name, options.prefix)
    channels = options.channel or ["conda-forge"]
    if options.override_channels and not options.channel:
        fail("ArgumentError", "At least one -c / --channel flag must be supplied when using --override-channels.")
    if (env / "conda-meta").exists() or (env.exists() and any(env.iterdir())):
        fail("CondaValueError", f"prefix already exists: {env}")
    print("Channels:", *(f" - {channel}" for channel in channels), sep="\n")
    print(f"Platform: linux-{ {'x86_64': '64'}.get(platform.machine(), platform.machine()) }")
    version = subprocess.run([PYTHON, "-c", "import platform; print(platform.python_version())"],
                             stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    missing = []
    for package in options.packages:
        match = re.fullmatch(r"([a-z0-9_-]+)\s*([=<>!~ ].*)?", package)
        name, spec = (match[1], match[2] or "") if match else (package, "")
        if name not in ("python", "pip") or (name == "python" and not fits(spec, version)):
            missing.append(f"  - {package}*" if re.fullmatch(r"[^=]+=[^=*]+", package) else f"  - {package}")
    if missing:
        print("Solving environment: ...working... failed")
        fail("PackagesNotFoundError", "The following packages are not available from current channels:\n\n"
             + "\n".join(missing) + "\n\nCurrent channels:\n\n" + "\n".join(f"  - {channel}" for channel in channels)
             + f"\n\n(This is the rehearsal's stand-in for conda: the only Python it has is {version}.)")
    print("Solving environment: ...working... done")
    if not options.yes:
        fail("CondaError", "no terminal to ask on, use --yes")
    if options.dry_run:
        fail("DryRunExit", "Dry run. Exiting.", 0)
    subprocess.run([PYTHON, "-m", "venv", str(env)], check=True)
    config = env / "bin" / "python3-config"
    config.write_text(PYTHON_CONFIG.format(python=env / "bin" / "python"))
    config.chmod(0o755)
    (env / "conda-meta").mkdir()
    (env / "conda-meta" / "history").write_text(f"# cmd: conda create python={version}\n")
    print(f"#\n# To activate this environment, use\n#\n#     $ conda activate {options.name or env}")


def environments() -> list[str]:
    """Paths of the base and of all environments below it."""
    return [str(PREFIX), *sorted(str(meta.parent) for meta in PREFIX.glob("envs/*/conda-meta"))]


def env_list(options: argparse.Namespace) -> None:
    """`conda env list`."""
    if options.json:
        print(json.dumps({"envs": environments()}, indent=2))
        return
    print("# conda environments:\n#")
    for path in environments():
        print(f"{'base' if path == str(PREFIX) else Path(path).name:24} {path}")


def env_remove(options: argparse.Namespace) -> None:
    """`conda env remove`."""
    env = location(options.name, options.prefix)
    if not (env / "conda-meta").exists():
        fail("EnvironmentLocationNotFound", f"Not a conda environment: {env}")
    if not options.yes:
        fail("CondaError", "no terminal to ask on, use --yes")
    shutil.rmtree(env)


def list_packages(options: argparse.Namespace) -> None:
    """`conda list`: what pip knows."""
    env = location(options.name, options.prefix)
    if not (env / "conda-meta").exists():
        fail("EnvironmentLocationNotFound", f"Not a conda environment: {env}")
    command = [str(env / "bin" / "python"), "-m", "pip", "list", "--format", "json" if options.json else "columns"]
    os.execv(command[0], command)  # noqa: S606


def main() -> None:
    """Read the command line; unknown options end with status 2, as argparse and conda do."""
    parser = argparse.ArgumentParser(prog="conda", allow_abbrev=False)
    parser.add_argument("-V", "--version", action="version", version="conda 24.9.2")
    commands = parser.add_subparsers(dest="command", required=True)
    target = argparse.ArgumentParser(add_help=False)
    target.add_argument("-n", "--name")
    target.add_argument("-p", "--prefix")
    target.add_argument("--json", action="store_true")
    target.add_argument("-y", "--yes", action="store_true")

    one = commands.add_parser("create", parents=[target], allow_abbrev=False)
    one.add_argument("-c", "--channel", action="append")
    one.add_argument("--override-channels", action="store_true")
    one.add_argument("--offline", action="store_true")
    one.add_argument("-q", "--quiet", action="store_true")
    one.add_argument("--dry-run", action="store_true")
    one.add_argument("packages", nargs="*")
    one.set_defaults(run=create)
    one = commands.add_parser("list", parents=[target], allow_abbrev=False)
    one.set_defaults(run=list_packages)
    inner = commands.add_parser("env", allow_abbrev=False).add_subparsers(dest="env_command", required=True)
    inner.add_parser("list", parents=[target], allow_abbrev=False).set_defaults(run=env_list)
    inner.add_parser("remove", parents=[target], allow_abbrev=False).set_defaults(run=env_remove)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
