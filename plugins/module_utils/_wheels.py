"""Which wheel file fits an interpreter: file names by PEP 427, fit by PEP 425, versions by PEP 440.

Runs on the controller. Sources: https://packaging.python.org/en/latest/specifications/ (binary distribution
format, platform compatibility tags, version specifiers).
"""
from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from . import _artifact

_WHEEL = re.compile(
    r"(?P<name>[^-]+)-(?P<version>[^-]+)(-(?P<build>\d[^-]*))?-(?P<python>[^-]+)-(?P<abi>[^-]+)-(?P<platform>[^-]+)\.whl"
)
_PUBLIC = r"v?(\d+!)?\d+(\.\d+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview)[-_.]?\d*)?"
_POST_DEV = r"(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?([-_.]?dev[-_.]?\d*)?"
_VERSION = re.compile(rf"{_PUBLIC}{_POST_DEV}(\+[a-z0-9]+([-_.][a-z0-9]+)*)?", re.IGNORECASE)
_LEGACY_PLATFORMS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


class WheelError(ValueError):
    """No wheel fits; the message says what was wanted, what lies there and why it does not fit."""


@dataclass(frozen=True)
class Wheel:
    """The parts of a wheel's file name; the three tag parts may hold several tags each."""

    filename: str
    name: str
    version: str
    build: tuple[int, str]
    pythons: tuple[str, ...]
    abis: tuple[str, ...]
    platforms: tuple[str, ...]

    def tags(self) -> set[str]:
        """Every tag the file name stands for, as python-abi-platform."""
        return {f"{p}-{a}-{f}" for p in self.pythons for a in self.abis for f in self.platforms}


def normal_name(name: str) -> str:
    """Name of a project in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_version(version: str) -> bool:
    """Tell a version of PEP 440 from one that pip refuses since 24.1, such as 0.1_ascend_20240424."""
    return _VERSION.fullmatch(version) is not None


def parse_wheel(filename: str) -> Wheel:
    """Take a wheel's file name apart. Raises WheelError when it is none (PEP 427)."""
    match = _WHEEL.fullmatch(filename)
    if match is None:
        raise WheelError(f"{filename} is not the name of a wheel (name-version[-build]-python-abi-platform.whl)")
    build = re.fullmatch(r"(\d+)(.*)", match["build"] or "0")
    assert build is not None  # noqa: S101  # the expression above lets nothing else through
    python, abi, platform = (tuple(match[part].split(".")) for part in ("python", "abi", "platform"))
    number = (int(build[1]), build[2])
    return Wheel(filename, normal_name(match["name"]), match["version"].lower(), number, python, abi, platform)


def version_fits(found: str, wanted: str | None) -> bool:
    """Tell whether a wheel's version is the wanted one.

    wanted: an exact version (which also takes one with a local part: 2.1.0 takes 2.1.0+cpu, as PEP 440's ==
    does), a pattern with * (0.1* takes 0.1+ascend), or none for any. _ and + count as the same, because
    older tools wrote the local part's + as _.
    """
    if not wanted:
        return True
    found, wanted = (text.lower().replace("_", "+") for text in (found, wanted))
    if "*" in wanted:
        return fnmatchcase(found, wanted)
    return found == wanted or ("+" not in wanted and found.split("+")[0] == wanted)


def _version_key(version: str) -> list[tuple[int, int, str]]:
    """Order of versions, good enough to prefer the newest of one project's builds."""
    words = re.findall(r"\d+|[a-z]+", version)
    return [(1, int(word), "") if word.isdigit() else (0, 0, word) for word in words]


def select_wheel(filenames: Iterable[str], name: str, tags: Sequence[str], version: str | None = None) -> str:
    """Choose the wheel of a project that fits an interpreter best.

    Args:
        filenames: file names (not paths) to choose from; those of other projects are passed over.
        name: the project, in any spelling.
        tags: the interpreter's tags as python-abi-platform, best first (packaging.tags.sys_tags()).
        version: see version_fits.

    Returns:
        The file name: of the newest version that fits, the build with the best tag, then the highest build number.

    Raises:
        WheelError: nothing fits. The message lists every file of the project with the reason.
    """
    priority = {tag: place for place, tag in reversed(list(enumerate(tags)))}
    fitting: list[tuple[list[tuple[int, int, str]], int, tuple[int, str], str]] = []
    reasons: list[str] = []
    for filename in sorted(filenames):
        if not filename.endswith(".whl") or normal_name(filename.split("-")[0]) != normal_name(name):
            continue
        try:
            wheel = parse_wheel(filename)
        except WheelError as error:
            reasons.append(str(error))
            continue
        places = [priority[tag] for tag in wheel.tags() if tag in priority]
        reason = ""
        if not version_fits(wheel.version, version):
            reason = f"version {wheel.version}, wanted {version}"
        elif not places:
            reason = why_not(wheel, tags)
        if reason:
            reasons.append(f"{filename}: {reason}")
        else:
            fitting.append((_version_key(wheel.version), -min(places), wheel.build, filename))
    if fitting:
        return max(fitting)[-1]
    wanted = f"{name} {version}" if version else name
    best = f"{tags[0]} or a lower tag of that interpreter" if tags else "no tags known"
    lies = "; ".join(reasons) if reasons else f"there is no wheel named {name}-*.whl"
    raise WheelError(f"No wheel of {wanted} fits (wanted: {best}). Found: {lies}.")


def why_not(wheel: Wheel, tags: Sequence[str]) -> str:
    """Say why no tag of a wheel is among an interpreter's tags."""
    split = [tag.split("-", 2) for tag in tags]
    pythons, abis, platforms = ({parts[place] for parts in split} for place in range(3))
    own = split[0][0] if split else "?"
    if not set(wheel.pythons) & pythons:
        return f"built for {'.'.join(wheel.pythons)}, the interpreter is {own}"
    if not set(wheel.abis) & abis:
        if any(abi.endswith("m") and abi[:-1] in abis for abi in wheel.abis):
            return (f"the ABI {'.'.join(wheel.abis)} does not exist: CPython dropped the flag m with 3.8, so pip refuses "
                    f"this name; get the file that its publisher named -{own}-{own}-")
        return f"built for the ABI {'.'.join(wheel.abis)}, the interpreter has {split[0][1]}"
    arch = _arch(next(iter(split))[2])
    other = {_arch(platform) for platform in wheel.platforms} - {arch}
    if "any" not in wheel.platforms and arch not in {_arch(platform) for platform in wheel.platforms}:
        return f"built for {', '.join(sorted(other))}, the node is {arch}"
    if not set(wheel.platforms) & platforms:
        newest = next((text for text in (parts[2] for parts in split) if text.startswith("manylinux_")), "")
        return f"built for {'.'.join(wheel.platforms)}, which is newer than the node's C library ({newest or arch})"
    return "its python, ABI and platform tags do not go together on this interpreter"


def _arch(platform: str) -> str:
    match = re.search(r"(x86_64|aarch64|arm64|i686|ppc64le|s390x|riscv64|armv7l|amd64)$", platform)
    return match[1] if match else platform


def predict_tags(python_version: str, arch: str, glibc: str) -> list[str]:
    """Tags of a CPython that is not there yet, in the order of packaging.tags.sys_tags().

    Args:
        python_version: such as 3.8 (further parts are ignored).
        arch: as `uname -m` prints it.
        glibc: version of the node's C library, such as 2.28.
    """
    major, minor = (int(part) for part in python_version.split(".")[:2])
    libc_major, libc_minor = (int(part) for part in glibc.split(".")[:2])
    oldest = 5 if arch == "x86_64" else 17
    legacy = {version: name for name, version in _LEGACY_PLATFORMS.items()}
    platforms = []
    for libc in range(libc_minor, oldest - 1, -1):
        platforms.append(f"manylinux_{libc_major}_{libc}_{arch}")
        if (libc_major, libc) in legacy:
            platforms.append(f"{legacy[libc_major, libc]}_{arch}")
    platforms.append(f"linux_{arch}")

    own = f"cp{major}{minor}"
    abi = own + ("m" if (major, minor) < (3, 8) else "")
    tags = [f"{own}-{one}-{platform}" for one in (abi, "abi3", "none") for platform in platforms]
    tags += [f"cp{major}{older}-abi3-{platform}" for older in range(minor - 1, 1, -1) for platform in platforms]
    generic = [f"py{major}{minor}", f"py{major}", *(f"py{major}{older}" for older in range(minor - 1, -1, -1))]
    tags += [f"{one}-none-{platform}" for one in generic for platform in platforms]
    tags += [f"{own}-none-any", *(f"{one}-none-any" for one in generic)]
    return tags


def inspect_wheel(path: Path) -> list[str]:
    """What speaks against installing a wheel file: damage that its table of contents shows, or CUDA dependencies."""
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            metadata = HeaderParser().parsestr(archive.read(inside).decode())
    except (OSError, zipfile.BadZipFile, StopIteration, UnicodeDecodeError) as error:
        what = "no dist-info/METADATA in it" if isinstance(error, StopIteration) else str(error)
        return [f"{path} is damaged or no wheel ({what}; {path.stat().st_size} bytes): get it again."]
    cuda = sorted({need.split()[0] for need in metadata.get_all("Requires-Dist", []) if need.startswith("nvidia-")})
    if cuda:
        return [f"{path} is a CUDA build (it needs {cuda[0]} and {len(cuda) - 1} more): "
                "on x86_64 take the CPU build, whose version ends in +cpu, from PyTorch's own cpu index."]
    return []


def select_wheels(
    wanted: Sequence[Mapping[str, Any]], files: Sequence[str], folder: str, tags: Sequence[str],
    known: Mapping[str, str], pip_version: str = "", variable: str = "conda_env_wheels",
) -> dict[str, Any]:
    """Find and prove every wheel that a node is to be given, or say all that is wrong.

    Args:
        wanted: items with name and, each optional, version, src (path on the controller or url) and sha256.
        files: paths of the wheels in `folder`, where items without src are looked for.
        folder: named in messages.
        tags: of the node's interpreter, best first.
        known: SHA-256 by file name, for files whose publisher's hash is known.
        pip_version: of the node's environment, empty when not known yet.
        variable: the variable that holds `wanted`, for messages.

    Returns:
        wheels: list of name, version, filename, src, sha256; errors: list of messages (then wheels is short).
    """
    wheels: list[dict[str, str]] = []
    errors: list[str] = []
    for item in wanted:
        name, version = str(item.get("name") or ""), str(item.get("version") or "") or None
        src = str(item.get("src") or "")
        try:
            if src:
                filename = Path(unquote(urlsplit(src).path) if _artifact.is_url(src) else src).name
                select_wheel([filename], name, tags, version)
            else:
                by_name = {Path(path).name: path for path in files}
                filename = select_wheel(by_name, name, tags, version)
                src = by_name[filename]
            expected = _artifact.normal_sha256(str(item.get("sha256") or ""), f"sha256 of {name} in {variable}")
            expected = expected or known.get(filename, "")
            where, hash_variable = f"src of {name} in {variable}", f"sha256 of {name} in {variable}"
            if _artifact.is_url(src):
                _artifact.check_url(src, expected, where, hash_variable)
            elif Path(src).exists() or not expected:
                path, expected = _artifact.check_local(src, expected, where, hash_variable)
                errors += inspect_wheel(path)
        except WheelError as error:
            where = src or folder
            errors.append(f"{error} Looked in {where}. Put a wheel that fits there, or set its src in {variable}.")
            continue
        except _artifact.ArtifactError as error:
            errors.append(str(error))
            continue
        found = parse_wheel(filename).version
        numbers = tuple(int(number) for number in re.findall(r"\d+", pip_version)[:2])
        if not is_version(found) and numbers >= (24, 1):
            errors.append(
                f"{filename}: {found} is no version by PEP 440 and pip {pip_version} refuses it (pip before 24.1 does not). "
                "Take a wheel with a proper version (such as 0.1+ascend), or put an older pip into the environment "
                "(conda_env_conda_packages has pip<24.1 by default)."
            )
        wheels.append({"name": name, "version": found, "filename": filename, "src": src, "sha256": expected})
    return {"wheels": wheels, "errors": errors}


def pair_error(torch_npu: str, cann: str, pairs: Mapping[str, Sequence[str]]) -> str:
    """Say why a torch_npu does not go with a CANN; empty when it does, or when no version of CANN is known.

    pairs: versions of CANN by version of torch_npu.
    """
    if not cann:
        return ""
    fitting = [str(version) for version in pairs.get(torch_npu, [])]
    if cann.lower() in [version.lower() for version in fitting]:
        return ""
    better = [key for key, versions in pairs.items() if cann.lower() in [str(version).lower() for version in versions]]
    here = f"torch_npu {torch_npu} goes with CANN {' or '.join(fitting)}" if fitting else (
        f"torch_npu {torch_npu} is not in the table conda_env_cann_pairs")
    there = f"CANN {cann} goes with torch_npu {' or '.join(better)}" if better else f"CANN {cann} is not in the table"
    return (f"torch_npu {torch_npu} and CANN {cann} are no pair: {here}; {there}. Change the version of torch_npu in "
            "conda_env_wheels or install the CANN that fits (cann_toolkit_version), add the pair to conda_env_cann_pairs "
            "if the vendor lists it, or set conda_env_check_pair: false.")


_CAUSES = (
    (r"static TLS block",
     "the library named was loaded too late for its thread-local storage (libgomp on aarch64): set "
     "cann_toolkit_environment: {LD_PRELOAD: <its full path>} and run playbooks/cann_toolkit.yml"),
    (r"undefined symbol", "torch and torch_npu (or torch_npu and CANN) are not made for each other: see conda_env_cann_pairs"),
    (r"libascend_hal|libdrvdsmi|libmmpa",
     "the driver's libraries are not found: the NPU driver is not installed, or the environment file lacks "
     "/usr/local/Ascend/driver/lib64{,/common,/driver}"),
    (r"lib(hccl|ascendcl|ge_|op_|acl|graph|register|runtime|profapi|msprofiler)\w*\.so|ASCEND_(HOME|OPP)",
     "CANN's libraries are not found: run playbooks/cann_toolkit.yml, which also makes the environment file"),
    (r"_ARRAY_API|numpy\.core\.multiarray|NumPy 1\.x cannot",
     "a NumPy 2 is installed where the packages need NumPy 1: the constraints file holds numpy below 2"),
    (r"\bopp\b|kernel|aclnn|opapi", "the kernels package of CANN is missing or of another version: cann_toolkit_kernels_src"),
    (r"GLIBC(XX)?_[\d.]+", "the wheel needs a newer C or C++ library than this system has"),
    (r"No module named", "a package that the wheels do not declare is missing: add it to conda_env_packages_extra"),
    (r"rc 124|timed out", "the import hangs: look for processes that hold the NPUs (npu-smi info)"),
)


def import_cause(text: str) -> str:
    """Likely cause of a failed import of torch, torch_npu or apex, from the text it left."""
    for pattern, cause in _CAUSES:
        if re.search(pattern, text):
            return cause
    return "no known cause: run the command by hand as the training user"
