"""What Megatron's log says of a training's end."""
import math
import subprocess
import sys

import pytest
from ansible_collections.ascend.cluster.plugins.module_utils import _training_log
from ansible_collections.ascend.cluster.plugins.module_utils._training_log import Iteration, iterations, problem

LINE = (" [2024-04-25 10:00:00] iteration {:8d}/{:8d} | consumed samples:          128 | elapsed time per iteration (ms): 31234.5 | "
        "learning rate: 1.250E-07 | global batch size:   128 | lm loss: {} | loss scale: 1.0 | grad norm: {} | "
        "number of skipped iterations: {:3d} | number of nan iterations: {:3d} |")


def line(iteration, loss="6.0E+00", norm="35.123", skipped=0, nan=0, of=4):
    text = LINE.format(iteration, of, loss, norm, skipped, nan)
    return text.replace(" lm loss:  |", "").replace(" grad norm:  |", "")


def found(*lines, last=4, interval=1, first=0):
    return problem(list(iterations(lines)), last, interval, first)


def test_iterations_are_read_from_the_real_format():
    one, two = iterations(["noise", line(1, "1.045678E+01", skipped=2, nan=1), f"[default7]:{line(2, 'nan')}", "node1: iteration 3"])
    assert one == Iteration(1, 4, 10.45678, 35.123, 31234.5, 2, 1)
    assert math.isnan(two.lm_loss)


def test_a_line_of_core_v0_12_1():
    # As printed; with --log-throughput one field more.
    printed = (" [2026-11-26 06:25:24] iteration        1/       6 | consumed samples:            8 | elapsed time per iteration (ms): 15561.9 |"
               "{} learning rate: 9.455245E-04 | global batch size:     8 | lm loss: 6.909760E+00 | loss scale: 1.0 | grad norm: 0.672 |"
               " num zeros: 0 | number of skipped iterations:   0 | number of nan iterations:   0 |")
    for more in ("", " throughput per GPU (TFLOP/s/GPU): 120.4 |"):
        assert list(iterations([printed.format(more)])) == [Iteration(1, 6, 6.90976, 0.672, 15561.9)]


def test_a_skipped_iteration_has_no_loss():
    assert next(iterations([line(7, "")])).lm_loss is None


def test_a_good_end():
    good = [line(number) for number in (1, 2, 3, 4)]
    assert found(*good) is None
    assert found(*good[2:], first=2) is None
    assert found(*good[2:], first=-1) is None
    assert found(*reversed(good)) is None
    # Megatron logs multiples of its interval only.
    assert found(line(2), line(4), interval=2) is None
    assert found(line(3), last=3, interval=3) is None
    # A skipped step on the way is fp16's usual business.
    assert found(line(1), line(2, skipped=1), line(3), line(4)) is None
    assert found(line(2), line(4, skipped=1), interval=2) is None
    assert found(line(2), line(4, nan=1), interval=2) is None


@pytest.mark.parametrize(("end", "cause", "words"), [
    (line(4, ""), "nan_loss", "the loss of the last iteration logged, 4, is missing (bad since iteration 4)"),
    (line(4, "nan"), "nan_loss", "4, is nan"),
    (line(4, "inf"), "nan_loss", "4, is inf"),
    (line(4, norm="nan"), "nan_grad", "the grad norm of the last iteration logged, 4, is nan"),
    (line(4, norm=""), "nan_grad", "4, is missing"),
    (line(4, norm="-inf"), "nan_grad", "4, is -inf"),
    (line(4, "", skipped=1), "skipped_iterations", "iterations were skipped to the end: 1 of the last 1, up to iteration 4"),
    (line(4, nan=1), "nan_loss", "the loss was nan in the last 1 iterations, up to 4"),
    (line(3), "exit_early", "the last iteration logged is 3 of 4"),
])
def test_a_bad_end(end, cause, words):
    key, said = found(line(1), line(2), line(3), end)
    assert key == cause
    assert words in said


def test_since_when_it_is_bad():
    assert "bad since iteration 2)" in found(line(1), line(2, norm="nan"), line(3, ""), line(4, "nan"))[1]
    assert "bad since iteration 4)" in found(line(1), line(2, "nan"), line(3), line(4, "nan"))[1]
    assert found(line(4, "nan"), first=-1)[1] == "the loss of the last iteration logged, 4, is nan", "earlier lines are not known"


def test_fewer_than_asked_for():
    assert found(line(1), line(2), line(4)) == ("exit_early", "only 3 of 4 iterations were logged between 0 and 4")
    assert found(line(4), first=2) == ("exit_early", "only 1 of 2 iterations were logged between 2 and 4")
    assert found(line(2), line(4), first=-1) == ("exit_early", "only 2 of 3 iterations were logged between 1 and 4")
    # The same line twice is one iteration.
    assert found(line(1), line(2), line(2), line(4)) is not None


def test_the_launch_script_runs_it_as_a_program(tmp_path):
    log = tmp_path / "train.log"
    log.write_bytes(b"\xff\n" + "\n".join([line(2), line(4, "nan")]).encode())

    def ask(*words):
        return subprocess.run([sys.executable, _training_log.__file__, str(log), *words], capture_output=True, text=True, check=False)

    bad = ask("4", "2", "0")
    assert (bad.returncode, bad.stdout) == (1, "nan_loss: the loss of the last iteration logged, 4, is nan (bad since iteration 4)\n")
    log.write_text(line(2) + "\n" + line(4))
    assert (ask("4", "2", "0").returncode, ask("4", "2", "0").stdout) == (0, "")
    assert ask("4", "1", "0").returncode == 1
