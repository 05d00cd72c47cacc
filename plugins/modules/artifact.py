"""Bring one file onto a node and prove it. Documentation only: the work is done by the action plugin."""
from __future__ import annotations

DOCUMENTATION = r"""
module: artifact
short_description: Bring one file onto a node and prove it by its SHA-256
version_added: "0.1.0"
description:
  - Brings an installer, a wheel, a bundle or any other single file onto a node, from a path on the controller
    or from a url that the node fetches itself.
  - When O(dest) already has the expected SHA-256, nothing travels, and O(src) need not even exist.
    So a file may be placed on the node beforehand.
  - A file on the controller is proved before anything travels; a fetched one before it gets its name.
    What a failure leaves at O(dest) is what was there before.
  - A link at O(dest) is refused, wherever it leads.
  - The folder of O(dest) must exist. Where it is not root's, run this as its owner (C(become_user)).
  - A file on the controller is hashed once a run, however many nodes get it.
options:
  src:
    description:
      - Absolute path of a file on the controller, or a url (http, https, ftp, file) that the node fetches.
    type: str
    required: true
  dest:
    description: Full path of the file on the node, not a folder.
    type: path
    required: true
  sha256:
    description:
      - SHA-256 of the file, 64 hexadecimal digits. Required when O(src) is a url.
      - Empty for a path means that whatever lies there is brought over and compared by content.
    type: str
  variable:
    description: Name of the variable that O(src) comes from, for messages.
    type: str
    default: src
  sha256_variable:
    description:
      - Name of the variable that O(sha256) comes from, for messages.
      - Made from O(variable) when not given, C(x_sha256) for C(x_src).
    type: str
  headers:
    description:
      - Headers of the request when O(src) is a url, for example a token.
      - They are shown nowhere; set C(no_log) on the task all the same.
    type: dict
  timeout:
    description: Seconds that a connection to the url may be silent.
    type: int
    default: 60
  owner:
    description: Owner of the file on the node.
    type: str
  group:
    description: Group of the file on the node.
    type: str
  mode:
    description: Permissions of the file on the node.
    type: raw
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
author: Ascend cluster maintainers
"""

EXAMPLES = r"""
- name: Bring the toolkit from the controller
  ascend.cluster.artifact:
    src: "{{ cann_toolkit_src }}"
    sha256: "{{ cann_toolkit_sha256 }}"
    dest: "{{ cluster_artifact_dir }}/toolkit.run"
    variable: cann_toolkit_src
    owner: root
    mode: "0644"

- name: Let the node fetch a file that needs a token
  ascend.cluster.artifact:
    src: https://hub.example.org/tokenizer.json
    sha256: "{{ tokenizer_sha256['tokenizer.json'] }}"
    dest: /opt/data/tokenizer.json
    variable: tokenizer_src
    headers:
      Authorization: "Bearer {{ tokenizer_token }}"
  no_log: true
"""

RETURN = r"""
dest:
  description: Path of the file on the node.
  returned: success
  type: str
sha256:
  description: SHA-256 of the file at dest, or in check mode the one that it would have.
  returned: success
  type: str
"""
