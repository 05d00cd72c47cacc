"""What the checks found, as a file of one form."""
from __future__ import annotations

DOCUMENTATION = r"""
name: check_report
short_description: What the checks found, as a file of one form
description:
  - Writes the result of the preflight as JSON, as Prometheus' text or as an HTML page.
options:
  _input:
    description: C(result) of the filter M(ascend.cluster.preflight_report).
    type: dict
    required: true
  form:
    description: Which.
    type: str
    choices: [json, prom, html]
    required: true
"""

EXAMPLES = r"""
- ansible.builtin.copy:
    content: "{{ __preflight_report.result | ascend.cluster.check_report('html') }}"
    dest: checks/checks.html
"""

RETURN = r"""
_value:
  description: The text of the file.
  type: str
"""

from typing import Any, Mapping

from ansible_collections.ascend.cluster.plugins.module_utils import _check_forms


def check_report(found: Mapping[str, Any], form: str) -> str:
    """See DOCUMENTATION."""
    return _check_forms.FORMS[form](found)


class FilterModule:
    """The filter of this file."""

    def filters(self) -> dict[str, Any]:
        """Name to function."""
        return {"check_report": check_report}
