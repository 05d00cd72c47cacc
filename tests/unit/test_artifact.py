from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.filter.file_sha256 import file_sha256 as FILTER
from ansible_collections.ascend.cluster.plugins.module_utils import _artifact
from ansible_collections.ascend.cluster.plugins.modules import artifact as documentation

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    path = tmp_path / "hello.run"
    path.write_bytes(b"hello")
    return path


@pytest.mark.parametrize("src", ["http://a/b", "https://a/b", "HTTPS://a/b", "ftp://a/b", "file:///a/b"])
def test_urls(src: str) -> None:
    assert _artifact.is_url(src)


@pytest.mark.parametrize("src", ["/a/b", "a:b", "https://", "/srv/http://x"])
def test_paths(src: str) -> None:
    assert not _artifact.is_url(src)


@pytest.mark.parametrize(
    ("source", "its_hash"),
    [("x_src", "x_sha256"), ("x_url", "x_sha256"), ("x_path", "x_sha256"), ("torch", "torch_sha256")],
)
def test_the_hash_variable_goes_with_the_source(source: str, its_hash: str) -> None:
    assert _artifact.sha256_variable(source) == its_hash


@pytest.mark.parametrize("text", [HELLO, HELLO.upper(), f"sha256:{HELLO}", f" {HELLO}\n"])
def test_a_hash_is_made_normal(text: str) -> None:
    assert _artifact.normal_sha256(text, "v") == HELLO


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_hash_is_no_hash(text: str | None) -> None:
    assert _artifact.normal_sha256(text, "v") == ""


@pytest.mark.parametrize("text", ["12", HELLO + "0", "g" * 64, f"md5:{HELLO}"])
def test_what_is_no_sha256_is_refused(text: str) -> None:
    with pytest.raises(_artifact.ArtifactError, match=r"x_sha256 is .* no SHA-256: expected 64 hexadecimal digits"):
        _artifact.normal_sha256(text, "x_sha256")


def test_hash_of_a_file_larger_than_a_piece(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"ab" * 1_000_000)
    assert _artifact.sha256_of(path) == hashlib.sha256(b"ab" * 1_000_000).hexdigest()


def counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file that gets a line for each time that a file is read through, in whichever process."""
    count, read = tmp_path / "count", _artifact.sha256_of
    count.touch()

    def reading(path: Path) -> str:
        with count.open("a") as stream:
            stream.write(f"{path}\n")
        return read(path)

    monkeypatch.setattr(_artifact, "sha256_of", reading)
    monkeypatch.setattr(_artifact.constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return count


def test_a_file_is_hashed_once_for_all_nodes(hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = counted(monkeypatch, tmp_path)
    nodes = []
    for _ in range(20):  # a process each, as ansible has one for each task of each node
        node = os.fork()
        if node == 0:
            os._exit(0 if _artifact.check_local(str(hello), HELLO, "x_src", "x_sha256") == (hello, HELLO) else 1)
        nodes.append(node)
    assert [os.waitpid(node, 0)[1] for node in nodes] == [0] * 20
    assert FILTER(str(hello)) == HELLO
    assert count.read_text() == f"{hello}\n"
    before = hello.stat()
    hello.write_bytes(b"hellO")
    assert _artifact.sha256_once(hello) == hashlib.sha256(b"hellO").hexdigest(), "changed in place"
    other = tmp_path / "other"
    other.write_bytes(b"HELLO")
    os.utime(other, ns=(before.st_atime_ns, hello.stat().st_mtime_ns))
    other.replace(hello)
    assert _artifact.sha256_once(hello) == hashlib.sha256(b"HELLO").hexdigest(), "replaced by one of the same size and time"
    assert count.read_text() == f"{hello}\n" * 3


def test_a_hash_that_could_not_be_worked_out_is_not_kept(hello: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted(monkeypatch, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(_artifact, "sha256_of", lambda path: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        with pytest.raises(_artifact.ArtifactError, match="cannot be read on the controller: Input/output error"):
            _artifact.check_local(str(hello), "", "x_src", "x_sha256")
    assert _artifact.sha256_once(hello) == HELLO


def test_a_good_file(hello: Path) -> None:
    assert _artifact.check_local(str(hello), HELLO, "x_src", "x_sha256") == (hello, HELLO)
    assert _artifact.check_local(str(hello), "", "x_src", "x_sha256") == (hello, HELLO)


def test_a_missing_file_says_where_to_put_it(tmp_path: Path) -> None:
    missing = tmp_path / "no.run"
    message = rf"{missing} does not exist on the controller: put the file there, or set x_src"
    with pytest.raises(_artifact.ArtifactError, match=message):
        _artifact.check_local(str(missing), HELLO, "x_src", "x_sha256")


def test_another_file_shows_both_hashes(hello: Path) -> None:
    with pytest.raises(_artifact.ArtifactError) as error:
        _artifact.check_local(str(hello), "0" * 64, "x_src", "x_sha256")
    for part in (str(hello), HELLO, "0" * 64, "x_src", "correct x_sha256"):
        assert part in str(error.value)


def test_a_relative_path_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(_artifact.ArtifactError, match="x_src is 'a/b': expected an absolute path"):
        _artifact.check_local("a/b", "", "x_src", "x_sha256")
    with pytest.raises(_artifact.ArtifactError, match=r"\(x_src\) is not a file"):
        _artifact.check_local(str(tmp_path), "", "x_src", "x_sha256")


def test_a_url_needs_a_hash() -> None:
    _artifact.check_url("https://a/b", HELLO, "x_src", "x_sha256")
    with pytest.raises(_artifact.ArtifactError, match=r"x_src is the url https://a/b.*set x_sha256 to"):
        _artifact.check_url("https://a/b", "", "x_src", "x_sha256")


def test_the_hash_in_get_urls_message() -> None:
    message = f"The checksum for /tmp/t did not match {'0' * 64}; it was {HELLO}."
    assert _artifact.found_by_get_url(message) == HELLO
    assert _artifact.found_by_get_url("Request failed HTTP Error 404: Not Found") == ""


def test_documentation_and_action_name_the_same_options() -> None:
    from ansible_collections.ascend.cluster.plugins.action import artifact as action

    documented = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    assert documented.keys() == action._ARGUMENTS.keys()
    for name, option in action._ARGUMENTS.items():
        assert option.get("type") == documented[name]["type"], name
        assert option.get("default") == documented[name].get("default"), name
        assert option.get("required", False) == documented[name].get("required", False), name


@pytest.mark.parametrize("arrives", ["0" * 64, None])
def test_what_arrives_on_the_node_is_proved(hello: Path, monkeypatch: pytest.MonkeyPatch, arrives: str | None) -> None:
    """With a connection that damages or loses what it carries."""
    from ansible_collections.ascend.cluster.plugins.action import artifact as action

    seen = iter([None, arrives])
    bring = action.ActionModule.__new__(action.ActionModule)
    bring._task = SimpleNamespace(check_mode=False)
    answers = {
        "validate_argument_spec": lambda argument_spec: (None, {
            name: {"src": str(hello), "dest": "/opt/hello.run", "variable": "x_src"}.get(name) for name in action._ARGUMENTS}),
        "_remote_expand_user": str,
        "_sha256_on_node": lambda dest, task_vars: next(seen),
        "_copy": lambda *args: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(bring, name, answer)
    with pytest.raises(_artifact.ArtifactError) as error:
        bring._bring({})
    for part in (f"What arrived at /opt/hello.run has the SHA-256 {arrives or ''}", f"expected {HELLO}", "x_src", "x_sha256"):
        assert part in str(error.value)

    seen = iter([None, HELLO])
    assert bring._bring({}) == {"changed": True, "dest": "/opt/hello.run", "sha256": HELLO}


def test_a_link_on_the_node_is_refused(hello: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it leads to, also to the very file that is wanted; and nothing on the way follows one."""
    from ansible_collections.ascend.cluster.plugins.action import artifact as action

    bring = action.ActionModule.__new__(action.ActionModule)
    asked = []

    def module(name: str, arguments: dict[str, object], task_vars: object) -> dict[str, object]:
        asked.append((name, arguments.get("follow")))
        return {"stat": {"exists": True, "islnk": True, "isreg": False, "lnk_target": "/etc/shadow"}}

    monkeypatch.setattr(bring, "_module", module)
    with pytest.raises(_artifact.ArtifactError, match=r"/opt/a.run on the node is a link to /etc/shadow, expected a file.*`rm /opt/a.run`"):
        bring._sha256_on_node("/opt/a.run", {})
    bring._set_attributes("/opt/a.run", {"owner": "root"}, {})
    assert asked == [("stat", False), ("file", False)]
