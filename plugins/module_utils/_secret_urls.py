"""Urls that hold a password or a token: what may be shown of them, and what is handed over apart.

A program's arguments are seen by everybody on the node (ps), and git, pip and conda hand urls on to programs of theirs. So a url
goes without its secret into arguments, configurations and messages, and the secret by a file that only its reader may read
(netrc, for pip and conda) or by the environment of one process (git).

Runs on the controller and on nodes: Python 3.8.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, NamedTuple, Sequence
from urllib.parse import unquote, urlsplit

_HIDDEN = "***"
# Of ssh://git@host the name is no secret; over http it may be a token.
_USERINFO = re.compile(r"(?i)\b((?:https?|ftps?)://)[^\s/?#]*@")
_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s/?#:@]*):[^\s/?#]*@")
_QUERY = re.compile(r"""(?i)\b((?:https?|ftps?)://[^\s?#]*)\?[^\s#"'<>]+""")
# conda's way to put a token into a path (conda.common.url, split_anaconda_token)
_PATH_TOKEN = re.compile(r"(?i)\b((?:https?)://[^\s?#]*?/t/)[a-z0-9_-]+(?=/)")


class Parts(NamedTuple):
    """A url that may be shown, what goes before the @ of its host as it was written, and why it cannot be used ("" where it can)."""

    url: str
    userinfo: str
    error: str


def mask(text: str) -> str:
    """The text with every secret of its urls replaced. Whatever stands behind a ``?`` counts as secret: names of tokens are many."""
    for pattern, by in ((_USERINFO, rf"\1{_HIDDEN}@"), (_PASSWORD, rf"\1:{_HIDDEN}@"), (_QUERY, rf"\1?{_HIDDEN}"), (_PATH_TOKEN, rf"\1{_HIDDEN}")):
        text = pattern.sub(by, text)
    return text


def mask_all(value: Any) -> Any:
    """The value, with :func:`mask` over all texts within lists and mappings."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {key: mask_all(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [mask_all(inner) for inner in value]
    return value


def has_secret(value: Any) -> bool:
    """Whether a url somewhere in texts, lists and mappings holds a secret."""
    if isinstance(value, Mapping):
        return any(has_secret(inner) for inner in value.values())
    if isinstance(value, (list, tuple)):
        return any(has_secret(inner) for inner in value)
    return isinstance(value, str) and mask(value) != value


def split(url: str) -> Parts:
    """Take the secret out of a url of git, pip or conda. What is no url (a path, a name, git@host:path) is left as it is."""
    userinfo = ""
    error = ""
    if _USERINFO.match(url):
        scheme, _, rest = url.partition("://")
        host = re.split(r"[/?#]", rest, maxsplit=1)[0]
        userinfo = host.rpartition("@")[0]
        url = f"{scheme}://{rest[len(userinfo) + 1:]}"
        if re.search(r"[\0\r\n]", unquote(userinfo)):
            error = "holds the end of a line in user or password: write them without it"
    if _QUERY.match(url):
        error = ("holds something behind a `?`, which the program would show in the list of processes: "
                 "hand a token over as https://USER:TOKEN@host/path")
    elif _PASSWORD.match(url):
        error = "holds a password that ssh does not take from a url, and shows in the list of processes: use a key"
    return Parts(url, userinfo, error)


def credentials(userinfo: str) -> tuple[str, str]:
    """User and password, decoded; the password is empty where there is none."""
    user, _, password = userinfo.partition(":")
    return unquote(user), unquote(password)


def netrc(urls: Iterable[str]) -> tuple[str, Sequence[str]]:
    """Lines for a netrc file with what the urls hold, and why a url cannot be used so.

    Python 3.8 reads that file by words: no empty password and no blank, and one user for each host, whatever the port
    (https://docs.python.org/3.8/library/netrc.html; requests takes the host alone).
    """
    found: dict[str, tuple[str, str]] = {}
    errors = []
    for url in urls:
        shown, userinfo, error = split(url)
        pair = credentials(userinfo)
        if _PATH_TOKEN.match(url):
            error = ("holds a token in its path, which conda would show in the list of processes: write the channel into the "
                     "configuration of conda on the nodes, as the training user (`conda config --add channels URL`), and leave it out here")
        elif userinfo and not error:
            host = urlsplit(shown).hostname or ""
            if not all(pair) or re.search(r"\s", "".join(pair)):
                error = ("needs a user and a password, both without blanks, to be handed over by a netrc file: "
                         "write https://USER:PASSWORD@host/…, with any word as password where the server looks at the user alone")
            elif found.setdefault(host, pair) != pair:
                error = f"has another user or password than another url of host {host}: a netrc file holds one for each host"
        if error:
            errors.append(f"{mask(url)} {error}.")
    lines = [f"machine {host} login {user} password {password}\n" for host, (user, password) in found.items()]
    return "".join(lines), errors
