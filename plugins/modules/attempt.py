"""Run a program whose failure is told in the words of the task. Documentation only: the work is done by the action plugin."""
from __future__ import annotations

DOCUMENTATION = r"""
module: attempt
short_description: Run a program whose failure is told in the words of the task
version_added: "0.1.0"
description:
  - Runs a program as M(ansible.builtin.command) does. When it fails, the message is O(fail_msg) with what the program said in it.
  - One task instead of a command that must not fail and an assertion behind it.
  - Secrets in urls of what it says are masked, also in what is registered.
options:
  argv:
    description: The program and its arguments. They are seen by everybody on the node, so no secret belongs here.
    type: list
    elements: str
    required: true
  chdir:
    description: Folder to run it in.
    type: path
  creates:
    description: Path that makes the program superfluous when it is there.
    type: path
  stdin:
    description: What the program reads from its standard input.
    type: str
  fail_msg:
    description:
      - The message when the program cannot be started or ends with another status than 0.
      - C({why}) in it becomes the last lines that the program said (standard error, or else standard output), C({status}) its status.
    type: str
    required: true
  lines:
    description: How many lines C({why}) takes at most.
    type: int
    default: 8
attributes:
  check_mode:
    support: partial
    description: The program is not run; a task that only reads says C(check_mode=false).
  diff_mode:
    support: none
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Compile the helpers
  ascend.cluster.attempt:
    argv: [make, -C, /opt/helpers]
    fail_msg: "`make` in /opt/helpers ended with status {status}: {why}. It needs g++ (playbooks/node_base.yml)."
"""

RETURN = r"""
rc: {description: Status of the program., type: int, returned: when it ran}
stdout: {description: Its standard output., type: str, returned: when it ran}
stderr: {description: Its standard error., type: str, returned: when it ran}
"""
