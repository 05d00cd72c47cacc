"""What the controller keeps of a run's end, and whom it tells: roles/pretrain/tasks/keep.yml, played."""
import json
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def keep(folder, verdict):
    """Play it for this verdict; returns what ansible said."""
    (folder / "hosts").write_text("[ascend_nodes]\nn1 ansible_connection=local cluster_address=10.0.0.1\n", encoding="utf-8")
    tasks = {"ansible.builtin.import_role": {"name": "ascend.cluster.pretrain", "tasks_from": "keep"}}
    given = {"pretrain_verdict": verdict, "__pretrain_last": {"run_id": "abc"}, "pretrain_on_end": f"cat >>{folder}/told"}
    (folder / "play.yml").write_text(json.dumps([{"hosts": "ascend_nodes", "gather_facts": False, "tasks": [tasks], "vars": given}]), encoding="utf-8")
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "0", "COLUMNS": "300",
                   "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections")}
    words = ["ansible-playbook", str(folder / "play.yml"), "-i", str(folder / "hosts")]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return " ".join(done.stdout.split())


def test_an_end_is_told_once_and_what_was_known_first_is_kept(tmp_path):
    kept, told = tmp_path / "runs/abc/verdict.json", tmp_path / "told"

    def ends():
        return [json.loads(line)["end"] for line in told.read_text().splitlines()]

    first = {"end": "e1 done 1", "message": "failed on n2", "losses": [[1, 6.5], [2, 6.0]], "time": 1.0}
    assert f"The verdict is kept in {tmp_path}/runs/abc/verdict.json." in keep(tmp_path, first)
    assert json.loads(kept.read_text()) == first and ends() == ["e1 done 1"]
    # Who follows a run that is over sees less of it, at another time.
    assert f"The verdict is kept in {tmp_path}/runs/abc/verdict.json." in keep(tmp_path, {**first, "losses": [], "time": 2.0})
    assert json.loads(kept.read_text()) == first and ends() == ["e1 done 1"]
    # Resumed, it has another end.
    keep(tmp_path, {**first, "end": "e2 done 0"})
    assert json.loads(kept.read_text())["end"] == "e2 done 0" and ends() == ["e1 done 1", "e2 done 0"]


def test_where_it_cannot_be_kept_the_site_is_told_all_the_same(tmp_path):
    (tmp_path / "runs").write_text("a file")
    said = keep(tmp_path, {"end": "e1 done 1", "message": "failed on n2"})
    assert "The verdict could not be kept in" in said and json.loads((tmp_path / "told").read_text())["end"] == "e1 done 1"
