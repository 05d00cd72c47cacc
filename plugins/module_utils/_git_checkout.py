"""Bring a git work tree to a commit, with user and password of the url seen by nobody else.

Runs on the nodes: Python 3.8 and git 2.9 are all it needs.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.ascend.cluster.plugins.module_utils._secret_urls import credentials, mask
from ansible_collections.ascend.cluster.plugins.module_utils._source_tree import SourceTree, TreeError

# git asks this helper (gitcredentials(7)) for user and password; printf is a builtin of every sh, so they reach no list of processes.
# GIT_CONFIG_COUNT would do without a shell, from git 2.31 on: Ubuntu 20.04 has 2.25.
_HELPER = """!ascend() { test "$1" = get && printf 'username=%s\\npassword=%s\\n' "$ASCEND_GIT_USER" "$ASCEND_GIT_PASSWORD"; }; ascend"""

BRANCHES = "+refs/heads/*:refs/remotes/origin/*"
TAGS = "+refs/tags/*:refs/tags/*"
#: where the commit of a bundle is kept, besides HEAD
PINNED = "refs/remotes/origin/pinned"


def secretly(url: str, userinfo: str) -> tuple[list[str], dict[str, str]]:
    """Options for git and its environment, so that it presents ``userinfo`` to the host of ``url`` and to no other.

    With a password the user's own helpers are not asked, or they would keep it. A user alone may be one that they know the password of.
    """
    if not userinfo:
        return [], {}
    user, password = credentials(userinfo)
    scheme, _, rest = url.partition("://")
    options = ["-c", "credential.helper="] if password else []
    options += ["-c", f"credential.{scheme}://{rest.split('/')[0]}.helper={_HELPER}"]
    return options, {"ASCEND_GIT_USER": user, "ASCEND_GIT_PASSWORD": password}


def named_commit(listing: str, version: str) -> str:
    """The commit of a branch, or else of a tag, from ``git ls-remote``; "" when it names neither."""
    found = {name: commit for commit, _, name in (line.partition("\t") for line in listing.splitlines())}
    for name in (f"refs/tags/{version}^{{}}", f"refs/tags/{version}", f"refs/heads/{version}"):
        if name in found:
            return found[name]
    return ""


def ask_commit(tree: SourceTree, url: str, userinfo: str, version: str) -> str:
    """Ask the repository at ``url`` for the commit of a branch or tag.

    Raises:
        TreeError: it cannot be reached, or has no such branch or tag.
    """
    options, more = secretly(url, userinfo)
    names = [f"refs/heads/{version}", f"refs/tags/{version}", f"refs/tags/{version}^{{}}"]
    done = tree.git(*options, "ls-remote", url, *names, check=False, more=more)
    if done.returncode != 0:
        raise TreeError(words(done.stderr))
    commit = named_commit(done.stdout.decode(), version)
    if not commit:
        raise TreeError("it has no branch and no tag of that name")
    return commit


def words(output: bytes) -> str:
    """What git said, on one line and without secrets."""
    return mask(" / ".join(output.decode(errors="replace").split("\n")).strip(" /"))


def holds(tree: SourceTree, commit: str) -> bool:
    """Whether the commit is in the repository."""
    return tree.git("cat-file", "-e", commit + "^{commit}", check=False).returncode == 0


def fetch(tree: SourceTree, url: str, userinfo: str, bundle: str, commit: str) -> None:
    """Bring the commit into the repository, out of ``bundle`` (a file that was proved) or else from ``url``.

    Raises:
        TreeError: it could not be brought.
    """
    if bundle:
        tree.git("bundle", "unbundle", bundle)
        return
    options, more = secretly(url, userinfo)
    said = b""
    # The second is for a commit of no branch; not every host gives it.
    for wanted in ([BRANCHES, TAGS], [commit]):
        done = tree.git(*options, "fetch", "--quiet", url, *wanted, check=False, more=more)
        if done.returncode == 0 and holds(tree, commit):
            return
        said = said or done.stderr
    raise TreeError(words(said) or "it does not hold the commit")


def bring(tree: SourceTree, given: Mapping[str, Any], dry: bool) -> bool:
    """Give the tree the commit, the patterns and what is to lie beside the sources. Returns whether anything changed.

    Nothing of others is lost: git refuses to overwrite, and edits end it before.

    Args:
        tree: the work tree; its folder is there.
        given: ``url``, ``userinfo``, ``bundle``, ``commit``, ``exclude``, ``beside``, as the module has them.
        dry: change nothing.

    Raises:
        TreeError: it could not be done.
    """
    fresh = not (tree.path / ".git").exists()
    commit: str = given["commit"]
    changed = fresh or tree.commit() != commit
    if fresh and not dry and not tree.path.is_dir():
        raise TreeError("the folder is not there")
    if dry:
        return changed or bool(tree.missing(given["exclude"], given["beside"]))
    if fresh:
        tree.git("init", "--quiet")
    if changed:
        if not holds(tree, commit):
            fetch(tree, given["url"], given["userinfo"], given["bundle"], commit)
        if not fresh and tree.commit():
            tree.restore(tree.only_ours())
        tree.git("checkout", "--quiet", "--detach", commit)
        if given["bundle"]:
            tree.git("update-ref", PINNED, commit)
        else:
            _remember(tree, given["url"])
    missing = tree.missing(given["exclude"], given["beside"])
    tree.make(given["exclude"] if missing else [], given["beside"] if missing else [])
    return changed or bool(missing)


def _remember(tree: SourceTree, url: str) -> None:
    """Name the url for work by hand; user and password are not in it."""
    tree.git("config", "remote.origin.url", url)
    tree.git("config", "remote.origin.fetch", BRANCHES)


def refusal(given: Mapping[str, Any], host: str, user: str, reason: str) -> str:
    """The message for a person: the tree could not be brought to its commit."""
    variables = given["variables"]
    where = "a bundle on the controller" if given["bundle"] else f"can user {user} reach it from the node?"
    return (f"{given['path']} on {host} could not be brought to {given['commit']} from {given['url']}: {reason}. "
            f"Look at {variables}_url ({where}) and {variables}_version (is the commit in it?); "
            "a mirror and a *.bundle file serve as well as the original.")


def log_words(userinfo: str) -> Sequence[str]:
    """What may show in no result of a module, besides ``userinfo`` itself."""
    user, password = credentials(userinfo)
    return [text for text in (password or user,) if text]
