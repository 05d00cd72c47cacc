"""Do a thing as another user, in a process of its own: whatever lies in the way, only that user's rights are used.

Runs on the nodes: Python 3.8.
"""
from __future__ import annotations

import json
import os
import pwd
import sys
from typing import Any, Callable

from ansible.module_utils.common.text.converters import to_native


class UserError(Exception):
    """The user is not there, cannot be become, or what was done as that user broke; the message says which."""


def account(user: str) -> pwd.struct_passwd:
    """The user's entry, or UserError that says who makes the user."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise UserError(f"There is no user {user} (cluster_user) on this node: run playbooks/node_base.yml, which makes it.") from None


def as_user(user: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function(*arguments)` returns when the user calls it: anything that JSON holds.

    A child process drops root for good, so that a link, a race or a fault in the function reaches what the user reaches, no more.

    Raises:
        UserError: see there. An OSError of the function comes as this too, with its words: functions answer those that they expect.
    """
    entry = account(user)
    if os.geteuid() not in (0, entry.pw_uid):
        raise UserError(f"This must run as root or as {user} (cluster_user), and runs as uid {os.geteuid()}: "
                        "set ansible_become (or ansible_user) for the node in the inventory.")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer: dict[str, Any] = {}
        try:
            os.close(reading)
            if os.geteuid() == 0:
                os.initgroups(user, entry.pw_gid)
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
            os.chdir("/")
            answer = {"value": function(*arguments)}
        except BaseException as error:  # nothing of the module may go on in this process
            answer = {"error": to_native(error) or type(error).__name__}
        try:
            with os.fdopen(writing, "wb") as stream:
                stream.write(json.dumps(answer).encode("utf-8"))
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        data = stream.read()
    os.waitpid(child, 0)
    try:
        answer = json.loads(data.decode("utf-8"))
    except ValueError:
        raise UserError(f"What was done as {user} ended without an answer (killed?).") from None
    if "error" in answer:
        raise UserError(f"As {user}: {answer['error']}")
    return answer["value"]
