"""Urls with a password or a token: told apart, masked, and nowhere to be seen while git, conda, pip and artifacts use them."""
from __future__ import annotations

import base64
import getpass
import http.server
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from ansible_collections.ascend.cluster.plugins.module_utils import _git_checkout, _secret_urls
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree, TreeError

ROOT = Path(__file__).parents[2]
SECRET = "kanarienvogel-7f3a"


@pytest.mark.parametrize(("text", "shown"), [
    ("https://me:pw@h/x.git", "https://***@h/x.git"),
    ("https://token@h:8443/x.git", "https://***@h:8443/x.git"),
    ("cannot read 'HTTPS://me:p%40w@h/x?a=1' (x_url)", "cannot read 'HTTPS://***@h/x?***' (x_url)"),
    ("ftp://me:p@w@h/x", "ftp://***@h/x"),
    ("https://h/x?token=abc&b=c#d", "https://h/x?***#d"),
    ("https://h/t/ab-CD_12/chan and https://h/y?z=1", "https://h/t/***/chan and https://h/y?***"),
    ("ssh://git:pw@h/x", "ssh://git:***@h/x"),
    ("--index-url=https://me:pw@h/simple", "--index-url=https://***@h/simple"),
])
def test_secrets_are_masked(text: str, shown: str) -> None:
    assert _secret_urls.mask(text) == shown
    assert _secret_urls.mask(shown) == shown
    assert _secret_urls.has_secret({"a": [1, {"b": text}]})
    assert _secret_urls.mask_all({"a": [1, (text,)]}) == {"a": [1, [shown]]}


@pytest.mark.parametrize("text", [
    "https://h/x.git", "https://h:8080/a@b:c", "git@h:x/y.git", "ssh://git@h/x", "/srv/x@y.bundle", "is it here? me@h", "file:///srv/x", "conda-forge",
    "https://h/t/chan", ""])
def test_what_holds_no_secret_is_left(text: str) -> None:
    assert _secret_urls.mask(text) == text
    assert not _secret_urls.has_secret([text, None, 1])
    assert _secret_urls.split(text) == (text, "", "")


@pytest.mark.parametrize(("url", "shown", "userinfo"), [
    ("https://me:pw@h/x.git", "https://h/x.git", "me:pw"),
    ("https://token@h/x.git", "https://h/x.git", "token"),
    ("http://me:p@w@h:1/x@y", "http://h:1/x@y", "me:p@w"),
])
def test_the_secret_is_taken_out(url: str, shown: str, userinfo: str) -> None:
    assert _secret_urls.split(url) == (shown, userinfo, "")


@pytest.mark.parametrize(("url", "error"), [
    (f"https://h/x.git?token={SECRET}", "behind a `?`"),
    (f"https://me:{SECRET}@h/x.git?a=b", "behind a `?`"),
    (f"ssh://git:{SECRET}@h/x.git", "use a key"),
    (f"https://me:{SECRET}%0Ahost=x@h/x.git", "the end of a line"),
])
def test_a_url_that_a_program_would_show_is_refused(url: str, error: str) -> None:
    found = _secret_urls.split(url).error
    assert error in found
    assert SECRET not in found


def test_credentials_are_decoded() -> None:
    assert _secret_urls.credentials("m%40e:p%3Aw:x") == ("m@e", "p:w:x")
    assert _secret_urls.credentials("token") == ("token", "")


def test_netrc_has_a_line_for_each_host() -> None:
    urls = ["https://me:p%40w@a/simple", "https://me:p%40w@a/other", "conda-forge", "", "https://you:x@b:8443/c", "https://c/d"]
    assert _secret_urls.netrc(urls) == ("machine a login me password p@w\nmachine b login you password x\n", [])


@pytest.mark.parametrize(("urls", "error"), [
    ([f"https://{SECRET}@h/simple"], "needs a user and a password"),
    ([f"https://me:{SECRET}%20@h/simple"], "without blanks"),
    ([f"https://me:{SECRET}@h/a", f"https://you:{SECRET}@h:1/b"], "one for each host"),
    ([f"https://h/t/{SECRET}/chan"], "a token in its path"),
    ([f"https://h/simple?token={SECRET}"], "behind a `?`"),
])
def test_netrc_refuses_what_it_cannot_hand_over(urls: list[str], error: str) -> None:
    _, errors = _secret_urls.netrc(urls)
    assert len(errors) == 1
    assert error in errors[0]
    assert SECRET not in errors[0]


def test_a_branch_or_tag_is_found_in_a_listing() -> None:
    listing = "1\trefs/heads/x\n2\trefs/tags/x\n3\trefs/tags/x^{}\n4\trefs/heads/y\n"
    assert [_git_checkout.named_commit(listing, name) for name in ("x", "y", "z")] == ["3", "4", ""]
    assert _git_checkout.named_commit("2\trefs/tags/x\n1\trefs/heads/x\n", "x") == "2"


def test_the_users_own_helpers_are_asked_only_for_a_password_that_the_url_lacks() -> None:
    assert _git_checkout.secretly("https://h/x", "") == ([], {})
    options, more = _git_checkout.secretly("https://h:1/x/y", "me:" + SECRET)
    assert options[:2] == ["-c", "credential.helper="]
    assert options[3].startswith("credential.https://h:1.helper=!")
    assert SECRET not in " ".join(options)
    assert SECRET in more.values()
    assert "credential.helper=" not in _git_checkout.secretly("https://h/x", "token")[0]


class Server(http.server.ThreadingHTTPServer):
    """Files below a folder, for those who know user and password, or the token behind the ``?``."""

    userinfo = ""


def serve(folder: Path) -> Server:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *words: object) -> None:
            super().__init__(*words, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            wanted = "Basic " + base64.b64encode(self.server.userinfo.encode()).decode()  # type: ignore[attr-defined]
            if self.headers.get("Authorization") == wanted or urlsplit(self.path).query == f"token={SECRET}":
                super().do_GET()
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def git(tree: Path, *words: str) -> str:
    identity = {f"GIT_{who}_{what}": f"t@{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(["git", *words], cwd=tree, env={**os.environ, **identity}, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Server, str]]:
    """A host that wants user and password, with a repository and a file; and the commit of branch main."""
    work, served = tmp_path / "work", tmp_path / "served"
    git(tmp_path, "init", "--quiet", "-b", "main", str(work))
    (work / "file").write_text("x")
    git(work, "add", ".")
    git(work, "commit", "--quiet", "-m", "one")
    served.mkdir()
    git(tmp_path, "clone", "--quiet", "--bare", str(work), str(served / "x.git"))
    git(served / "x.git", "update-server-info")
    (served / "file").write_text("what is brought")
    server = serve(served)
    yield server, git(work, "rev-parse", "HEAD")
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("userinfo", ["me:" + SECRET, SECRET, f"m%40e:{SECRET}%25%3A%27"])
def test_git_presents_user_and_password_and_shows_them_nowhere(
    site: tuple[Server, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, userinfo: str
) -> None:
    server, commit = site
    server.userinfo = ":".join(_secret_urls.credentials(userinfo))
    trace, home = tmp_path / "trace", tmp_path / "home"
    home.mkdir()
    # What a site may have: it would keep every password that worked.
    (home / ".gitconfig").write_text("" if userinfo == SECRET else "[credential]\nhelper = store\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_TRACE", str(trace))  # the arguments of all programs that git starts
    url, found, error = _secret_urls.split(f"http://{userinfo}@127.0.0.1:{server.server_port}/x.git")
    assert error == ""
    (tmp_path / "tree").mkdir()
    tree = SourceTree(str(tmp_path / "tree"))
    assert _git_checkout.ask_commit(tree, url, found, "main") == commit
    given = {"url": url, "userinfo": found, "bundle": "", "commit": commit, "exclude": ["/y/"], "beside": ["y/", "z/z"]}
    assert _git_checkout.bring(tree, given, True) is True
    assert not (tree.path / ".git").exists()
    assert _git_checkout.bring(tree, given, False) is True
    assert _git_checkout.bring(tree, given, False) is False
    assert git(tree.path, "rev-parse", "HEAD") == commit
    assert git(tree.path, "config", "remote.origin.url") == url
    assert (tree.path / "y").is_dir()
    assert (tree.path / "z/z").read_text() == ""
    with pytest.raises(TreeError, match="no branch and no tag"):
        _git_checkout.ask_commit(tree, url, found, "other")
    server.userinfo = "nobody:"
    for wrong in (found, ""):
        with pytest.raises(TreeError) as refused:
            _git_checkout.fetch(tree, url, wrong, "", "1" * 40)
        assert SECRET not in str(refused.value)
        assert "127.0.0.1" in str(refused.value)
    assert "git-remote-http" in trace.read_text()
    assert holders(tmp_path) == []


def holders(folder: Path, *besides: Path) -> list[Path]:
    """Files below a folder that hold the secret, as it is or as a header has it."""
    words = [SECRET.encode(), base64.b64encode(b"me:" + SECRET.encode())]
    return [path for path in sorted(folder.rglob("*"))
            if path.is_file() and path not in besides and any(word in path.read_bytes() for word in words)]


class Processes(threading.Thread):
    """Looks at the arguments of all processes, over and over, for the secret."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.looks = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.2):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = path.read_bytes()
                except OSError:
                    continue
                if SECRET.encode() in words:
                    self.seen.add(words)
            self.looks += 1


def tasks_of(role: str, *names: str) -> list[dict[str, object]]:
    """Tasks of a role's installation, by name."""
    found = {task["name"]: task for task in yaml.safe_load((ROOT / f"roles/{role}/tasks/install.yml").read_text(encoding="utf-8"))}
    return [found[f"Install | {name}"] for name in names]


FAKE = """#!/bin/sh
{{ printf '%s ' "$0" "$@"; echo; env | grep -v '^PS1'; }} >> {folder}/said
cat "$NETRC" > {folder}/handed-over
mkdir -p {folder}/conda/envs/test/bin
cp "$0" {folder}/conda/envs/test/bin/python 2>/dev/null
exit 0
"""


def test_a_canary_in_git_conda_pip_and_artifacts_is_seen_nowhere(site: tuple[Server, str], tmp_path: Path) -> None:
    server, commit = site
    server.userinfo = "me:" + SECRET
    host = f"127.0.0.1:{server.server_port}"
    node = tmp_path / "node"
    for name in ("conda/bin", "state", "artifacts"):
        (node / name).mkdir(parents=True)
    (node / "conda/bin/conda").write_text(FAKE.format(folder=node))
    (node / "conda/bin/conda").chmod(0o755)
    sha256 = subprocess.run(["sha256sum", tmp_path / "served/file"], check=True, capture_output=True, text=True).stdout.split()[0]
    secret = f"http://me:{SECRET}@{host}"
    variables = {
        "ansible_connection": "local", "ansible_become": False, "ansible_python_interpreter": sys.executable, "__cluster_guard": False,
        "cluster_user": getpass.getuser(), "cluster_workspace": str(node), "git_url": f"{secret}/x.git",
        "conda_env_channels": [f"{secret}/channel", "plain"], "conda_env_pip_index_url": f"{secret}/simple",
        "__conda_env_now": {"env": "absent"}, "__conda_env_install": True, "__conda_env_selected": {"wheels": []},
        "by_user": f"{secret}/file", "by_token": f"http://{host}/file?token={SECRET}", "sha256": sha256,
    }
    secrets = tmp_path / "variables.json"
    secrets.write_text(json.dumps(variables))
    bring = {"dest": f"{node}/artifacts/file", "sha256": "{{ sha256 }}", "variable": "x_src"}
    git_arguments = {"git_checkout_path": f"{node}/tree", "git_checkout_url": "{{ git_url }}", "git_checkout_variables": "megatron"}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ansible.builtin.import_role": {"name": "ascend.cluster.cluster", "tasks_from": "guard"}, "when": False},  # for its variables
        {"ansible.builtin.import_role": {"name": "ascend.cluster.git_checkout"}, "vars": {**git_arguments, "git_checkout_version": "main"}},
        {"block": [{"ansible.builtin.import_role": {"name": "ascend.cluster.git_checkout"}, "vars": {**git_arguments, "git_checkout_version": "gone"}}],
         "rescue": [{"ansible.builtin.debug": {"msg": "went on"}}]},
        {"ascend.cluster.artifact": {**bring, "src": "{{ by_user }}"}},
        {"ascend.cluster.artifact": {**bring, "dest": f"{node}/artifacts/other", "src": "{{ by_token }}"}},
        {"ascend.cluster.artifact": {**bring, "src": "{{ by_token }}", "sha256": "0" * 64}, "ignore_errors": True},
        {"ascend.cluster.artifact": {**bring, "src": "{{ by_user }}/gone", "sha256": "0" * 64}, "ignore_errors": True},
        {"ansible.builtin.include_role": {"name": "ascend.cluster.conda_env", "tasks_from": "canary"}},
    ]}]))
    (tmp_path / "roles/conda_env").mkdir(parents=True)
    (tmp_path / "stacks").symlink_to(ROOT / "stacks")
    for name in ("defaults", "vars", "templates", "files"):
        (tmp_path / "roles/conda_env" / name).symlink_to(ROOT / "roles/conda_env" / name)
    (tmp_path / "roles/conda_env/tasks").mkdir()
    (tmp_path / "roles/conda_env/tasks/canary.yml").write_text(json.dumps(tasks_of(
        "conda_env", "Write users and passwords of the index and the channels", "Create the environment",
        "Write pip's configuration of the environment, with the constraints for every call", "Install the wheels and packages")))
    text = (tmp_path / "play.yml").read_text().replace("ascend.cluster.conda_env", "conda_env")
    (tmp_path / "play.yml").write_text(text)
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "GIT_TRACE": str(tmp_path / "trace"),
                   "ANSIBLE_LOG_PATH": str(tmp_path / "ansible.log"), "TMPDIR": str(tmp_path)}
    processes = Processes()
    processes.start()
    done = subprocess.run(["ansible-playbook", "-vvv", "-i", "localhost,", str(tmp_path / "play.yml"), "-e", f"@{secrets}"],
                          cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    processes.over.set()
    processes.join()
    (tmp_path / "output").write_text(done.stdout + done.stderr)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    # All of them did their work, with what was kept from the rest.
    assert git(node / "tree", "rev-parse", "HEAD") == commit
    assert "http://***@" in done.stdout
    assert "it has no branch and no tag of that name" in done.stdout
    assert "could not be fetched" in done.stdout
    assert (node / "artifacts/other").read_text() == "what is brought"
    assert (node / "handed-over").read_text() == f"machine 127.0.0.1 login me password {SECRET}\n"
    said = (node / "said").read_text()
    assert f"-c http://{host}/channel -c plain" in said
    assert " pip install " in said
    assert f"index-url = http://{host}/simple\n" in (node / "conda/envs/test/pip.conf").read_text()
    assert stat.S_IMODE((node / "conda/netrc").stat().st_mode) == 0o600
    # And nobody else saw it.
    assert processes.looks > 5
    assert processes.seen == set()
    assert holders(tmp_path, secrets, node / "conda/netrc", node / "handed-over") == []
