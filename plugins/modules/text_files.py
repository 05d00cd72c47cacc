#!/usr/bin/python
"""Have small files with these texts, all in one step."""
from __future__ import annotations

DOCUMENTATION = r"""
module: text_files
short_description: Have small files with these texts, all in one step
description:
  - A file that differs in text, mode or owner is replaced by a new one, which belongs to who runs this. No link is ever followed.
  - Root writes in folders only that nobody else can write, and makes those that are missing with mode C(0755). For folders of another user see
    M(ascend.cluster.user_folders).
options:
  files:
    description: The files.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where.
        type: path
        required: true
      content:
        description: The text, as C(lookup('ansible.builtin.template')) gives it.
        type: str
        required: true
      mode:
        description: Permissions, in octal digits.
        type: str
        default: "0644"
      validate:
        description: A command that must end with 0 before the file is put into place; C(%s) stands for its draft.
        type: str
        default: ""
attributes:
  check_mode:
    description: Tells what would change.
    support: full
  diff_mode:
    description: Shows the texts before and after.
    support: full
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Set limits and reserve ports
  ascend.cluster.text_files:
    files:
      - path: /etc/security/limits.d/90-ascend-cluster.conf
        content: "{{ lookup('ansible.builtin.template', 'limits.conf.j2') }}"
      - path: /etc/sysctl.d/99-ports.conf
        content: "{{ lookup('ansible.builtin.template', 'ports.conf.j2') }}"
"""

RETURN = r"""
written:
  description: Paths of the files that were written (in check mode would be).
  type: list
  elements: str
  returned: success
"""

import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.ascend.cluster.plugins.module_utils import _text_files
from ansible_collections.ascend.cluster.plugins.module_utils._walk import FolderError


def main() -> None:
    """Entry."""
    options = {"path": {"type": "path", "required": True}, "content": {"type": "str", "required": True},
               "mode": {"type": "str", "default": "0644"}, "validate": {"type": "str", "default": ""}}
    module = AnsibleModule(argument_spec={"files": {"type": "list", "elements": "dict", "required": True, "options": options}}, supports_check_mode=True)
    written, diff = [], []
    try:
        for item in module.params["files"]:
            wanted = _text_files.Wanted(item["path"], item["content"], int(item["mode"], 8), item["validate"])
            if os.geteuid() == 0:
                _text_files.prepare_as_root(os.path.dirname(wanted.path), make=not module.check_mode)
            before = _text_files.found(wanted.path)
            if _text_files.same(wanted, before):
                continue
            written.append(wanted.path)
            diff.append({"before_header": wanted.path, "after_header": wanted.path, "before": before or "", "after": wanted.content})
            if not module.check_mode:
                _text_files.write(wanted)
                module.set_context_if_different(wanted.path, module.selinux_default_context(wanted.path), False)
    except (_text_files.TextFileError, FolderError, OSError) as error:
        module.fail_json(msg=str(error), written=written)
    module.exit_json(changed=bool(written), written=written, diff=diff)


if __name__ == "__main__":
    main()
