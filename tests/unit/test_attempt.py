"""Words for a program that failed, and what the roles ask the environment's Python."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _attempt

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("result", "lines", "expected"), [
    ({"stderr": "one\n\n two \nthree\n", "stdout": "out", "msg": "non-zero return code"}, 2, "two / three"),
    ({"stderr": " \n", "stdout": "out\n", "msg": "non-zero return code"}, 8, "out"),
    ({"stderr": "", "stdout": "", "msg": "[Errno 2] No such file"}, 8, "[Errno 2] No such file"),
    ({"stderr": "", "stdout": "", "msg": "non-zero return code"}, 8, "nothing was said"),
    ({}, 8, "nothing was said"),
])
def test_what_a_program_said_last(result: dict[str, str], lines: int, expected: str) -> None:
    assert _attempt.why(result, lines) == expected


def test_the_message_is_that_of_the_task() -> None:
    result = {"rc": 3, "stderr": "no {status} here"}
    assert _attempt.message("make ended with {status}: {why}. See {x}.\n", result, 8) == "make ended with 3: no {status} here. See {x}."
    assert _attempt.message("{status}", {}, 8) == "unknown"


def test_an_attempt_fails_in_the_words_of_the_task_and_masks_secrets(tmp_path: Path) -> None:
    script = "import sys; sys.exit('no way to https://me:geheim@h/x' if sys.argv[1:] else sys.stdin.read() != 'in\\n')"
    task = {"argv": [sys.executable, "-c", script], "stdin": "in", "fail_msg": "This is {status}: {why}. Do that."}
    (tmp_path / "play.yml").write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [
        {"ascend.cluster.attempt": {**task, "stdin_add_newline": True}, "ignore_errors": True},
        {"ascend.cluster.attempt": task, "changed_when": False, "register": "good"},
        {"ascend.cluster.attempt": {**task, "argv": [*task["argv"], "x"]}, "ignore_errors": True, "register": "bad"},
        {"ansible.builtin.assert": {"that": ["bad.rc == 1", "good.rc == 0", "bad is failed"]}},
    ]}]))
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0"}
    words = ["-vvv", "-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}"]
    done = subprocess.run(["ansible-playbook", *words, str(tmp_path / "play.yml")],
                          cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "This is 1: no way to https://***@h/x. Do that." in done.stdout
    assert "geheim" not in done.stdout + done.stderr
    assert "Unsupported parameters" in done.stdout


def look(tmp_path: Path, *words: str) -> dict[str, object]:
    done = subprocess.run([sys.executable, str(ROOT / "roles/ascendspeed/files/look.py"), str(tmp_path), *words],
                          cwd=tmp_path, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_of_an_empty_folder_nothing_is_there(tmp_path: Path) -> None:
    assert look(tmp_path, "no_such_package", "/no/command", "/no/hooks") == {
        "package": False, "installed": "", "command": False, "unmet": [], "moe_models": [], "hooks": {}}


def test_what_of_ascendspeed_is_there(tmp_path: Path) -> None:
    (tmp_path / "ascendspeed").mkdir()
    (tmp_path / "ascendspeed/arguments.py").write_text(
        "group.add_argument('--moe-model-type', type=str, default='mixtral_moe',\n    choices=['megatron_moe', 'mixtral_moe'],\n    help='x')\n"
        "group.add_argument('--other', choices=['a'])\n")
    (tmp_path / "requirements.txt").write_text(
        "# a comment\npip  # here\npip<1\nno-such-thing-at-all\npip; python_version < '3'\npyyaml>=3\n-i https://h/simple\ngit+https://h/x.git\n")
    (tmp_path / "a.py").write_text("x")
    (tmp_path / "a.txt").write_text("x")
    found = look(tmp_path, "ascendspeed", sys.executable, str(tmp_path))
    assert found["package"] is True
    assert found["command"] is True
    assert found["unmet"] == ["pip<1", "no-such-thing-at-all", "-i https://h/simple", "git+https://h/x.git"]
    assert found["moe_models"] == ["megatron_moe", "mixtral_moe"]
    assert found["hooks"] == {"a.py": "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"}
    assert look(tmp_path, "email", "/no/command", "/no/hooks")["installed"] == str(Path(json.__file__).parents[1] / "email")


def test_helpers_that_load_say_nothing(tmp_path: Path) -> None:
    program = ROOT / "roles/megatron/files/load_helpers.py"

    def say() -> str:
        return subprocess.run([sys.executable, str(program), str(tmp_path), "helpers"], capture_output=True, text=True, check=True).stdout

    library = tmp_path / f"helpers{sysconfig.get_config_var('EXT_SUFFIX')}"
    assert str(library) in say()
    (tmp_path / "helpers.cpp").write_text("")
    assert "No such file" in say()
    library.write_text("no library")
    assert str(library) in say()
    os.utime(library, (1, 1))
    assert "is older than its source" in say()
    code = ('#include <Python.h>\nstatic struct PyModuleDef d = {PyModuleDef_HEAD_INIT, "helpers"};\n'
            'PyMODINIT_FUNC PyInit_helpers() { PyObject *m = PyModule_Create(&d); %s return m; }\n')
    for more, said in (("", "has no build_sample_idx"), ('PyModule_AddIntConstant(m, "build_sample_idx", 1);', "")):
        (tmp_path / "helpers.c").write_text(code % more)
        subprocess.run(["cc", "-shared", "-fPIC", f"-I{sysconfig.get_paths()['include']}", "-o", str(library), str(tmp_path / "helpers.c")], check=True)
        assert said in say()
        assert bool(say()) == bool(said)
