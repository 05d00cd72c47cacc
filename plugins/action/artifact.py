"""Bring one file onto a node and prove it. Documented in plugins/modules/artifact.py."""
from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import mask_url
from ansible.plugins.action import ActionBase
from ansible_collections.ascend.cluster.plugins.module_utils import _artifact

_ARGUMENTS = {
    "src": {"type": "str", "required": True},
    "dest": {"type": "path", "required": True},
    "sha256": {"type": "str"},
    "variable": {"type": "str", "default": "src"},
    "sha256_variable": {"type": "str"},
    "headers": {"type": "dict", "no_log": True},
    "timeout": {"type": "int", "default": 60},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "raw"},
}
_ATTRIBUTES = ("owner", "group", "mode")


class ActionModule(ActionBase):
    """The action of this file."""

    TRANSFERS_FILES = False  # the copy action makes the temporary folder when there is something to send
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See DOCUMENTATION of the module."""
        super().run(tmp, task_vars)
        try:
            return self._bring(task_vars or {})
        except _artifact.ArtifactError as error:
            raise AnsibleActionFail(str(error)) from None
        finally:
            self._remove_tmp_path(self._connection._shell.tmpdir)

    def _bring(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        _, args = self.validate_argument_spec(argument_spec=_ARGUMENTS)
        src, variable = str(args["src"]), str(args["variable"])
        dest = self._remote_expand_user(str(args["dest"]))
        hash_variable = args["sha256_variable"] or _artifact.sha256_variable(variable)
        expected = _artifact.normal_sha256(args["sha256"], hash_variable)
        attributes = {name: args[name] for name in _ATTRIBUTES if args[name] is not None}
        from_url = _artifact.is_url(src)

        found = self._sha256_on_node(dest, task_vars)
        if from_url:
            _artifact.check_url(mask_url(src), expected, variable, hash_variable)
            path = None
        elif expected and found == expected:
            path = None
        else:
            path, expected = _artifact.check_local(src, expected, variable, hash_variable)

        result = {"changed": True, "dest": dest, "sha256": expected}
        if found == expected:
            result["changed"] = self._set_attributes(dest, attributes, task_vars)
        elif self._task.check_mode:
            pass
        elif from_url:
            self._fetch({**args, "dest": dest}, expected, hash_variable, task_vars)
        else:
            self._copy(str(path), dest, attributes, task_vars)
            arrived = self._sha256_on_node(dest, task_vars)
            if arrived != expected:
                what = f"What arrived at {dest}"
                raise _artifact.ArtifactError(
                    _artifact.mismatch(what, expected, arrived or "", variable, hash_variable)
                )
        return result

    def _sha256_on_node(self, dest: str, task_vars: dict[str, Any]) -> str | None:
        """SHA-256 of the file on the node; None when there is none."""
        arguments = {"path": dest, "follow": False, "checksum_algorithm": "sha256", "get_mime": False}
        answer = self._module("stat", arguments, task_vars)
        stat = answer["stat"]
        if not stat["exists"]:
            return None
        if stat["islnk"]:
            raise _artifact.ArtifactError(
                f"{dest} on the node is a link to {stat['lnk_target']}, expected a file: nothing is written, or given another owner, through a link. "
                f"Remove it there (`rm {dest}`), and run this again."
            )
        if not stat["isreg"]:
            raise _artifact.ArtifactError(f"{dest} on the node is not a file: dest must be the full path of a file.")
        checksum: str | None = stat.get("checksum")
        return checksum

    def _set_attributes(self, dest: str, attributes: dict[str, Any], task_vars: dict[str, Any]) -> bool:
        """Give the file its owner, group and mode; True when that changed (in check mode: would change) something."""
        if not attributes:
            return False
        arguments = {"path": dest, "state": "file", "follow": False, **attributes}
        return bool(self._module("file", arguments, task_vars).get("changed"))

    def _fetch(self, args: dict[str, Any], expected: str, hash_variable: str, task_vars: dict[str, Any]) -> None:
        """Let the node fetch a url: to a temporary file, proved, then moved into place (get_url does all three)."""
        src, variable = str(args["src"]), str(args["variable"])
        options = {name: args[name] for name in ("dest", "headers", "timeout", *_ATTRIBUTES) if args[name] is not None}
        options.update(url=src, checksum=f"sha256:{expected}", decompress=False)
        try:
            self._module("get_url", options, task_vars)
        except AnsibleActionFail as error:
            reason = error.message
        else:
            return
        found = _artifact.found_by_get_url(reason)
        if found:
            raise _artifact.ArtifactError(_artifact.mismatch(mask_url(src), expected, found, variable, hash_variable))
        raise _artifact.ArtifactError(
            f"{mask_url(src)} ({variable}) could not be fetched to {args['dest']} on the node: {reason.rstrip('.')}. "
            f"Set {variable} to a url that the node reaches, or to the path of the file on the controller."
        )

    def _copy(self, path: str, dest: str, attributes: dict[str, Any], task_vars: dict[str, Any]) -> None:
        """Send a file of the controller over the connection."""
        task = self._task.copy()
        task.args = {"src": path, "dest": dest, "decrypt": False, "follow": False, **attributes}
        task.diff = False  # nobody reads a diff of an installer, and making one reads it into memory
        action = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        self._refuse_failure("copy", action.run(task_vars=task_vars))

    def _module(self, name: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self._execute_module(
            module_name=f"ansible.legacy.{name}", module_args=arguments, task_vars=task_vars
        )
        self._refuse_failure(name, answer)
        return answer

    @staticmethod
    def _refuse_failure(name: str, answer: dict[str, Any]) -> None:
        if answer.get("failed"):
            details = " ".join(str(answer[key]) for key in ("msg", "response") if answer.get(key))
            raise AnsibleActionFail(details or f"{name} failed")
