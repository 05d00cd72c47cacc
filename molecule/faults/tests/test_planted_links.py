"""The training user plants links where the project writes, to what is not that user's: root neither writes, reads nor gives away through them."""
import shlex

import pytest

W = "/opt/ascend-cluster"
M = f"{W}/Megatron-LM"
DATA = f"{M}/dataset/Mixtral-8x7B"
TOKENIZER = f"{M}/model_from_hf/Mixtral-8x7B"
CONDA = f"{W}/conda"
RUNS = f"{W}/runs"
FOLDER = f"{W}/planted-test"  # for the checkpoints of a run of this module's own
FOREIGN = "/srv/foreign"
CANARY = "only-root-may-read-this"
ASIDE = ".kept-aside"
#: What root writes in, runs or reads as its own. The folders of the user's own work are all others.
ROOTS = f"{W}/bin {W}/artifacts {W}/state {W}/hooks {W}/env.sh"

#: playbook, and the names in the training user's folders that its role writes: folders, and patterns of files
CASES = {
    "conda_env": ([CONDA], [f"{CONDA}/envs/*/constraints.txt", f"{CONDA}/envs/*/pip.conf", f"{CONDA}/envs/*/.ascend-cluster.json"]),
    "megatron": ([M, f"{M}/.git", f"{M}/megatron"], [f"{M}/megatron/__init__.py", f"{M}/.git/config", f"{M}/.git/HEAD"]),
    "ascendspeed": ([f"{W}/AscendSpeed", f"{W}/AscendSpeed/.git"], [f"{M}/pretrain_gpt.py", f"{W}/AscendSpeed/.git/config", f"{W}/AscendSpeed/.git/HEAD"]),
    "tokenizer": ([TOKENIZER, f"{M}/model_from_hf"], [f"{TOKENIZER}/*"]),
    "dataset": ([DATA, f"{DATA}/index_cache", f"{M}/dataset"], [f"{M}/dataset/*.parquet", f"{DATA}/*.*", f"{DATA}/index_cache/*"]),
    "data_share": ([DATA, f"{DATA}/index_cache", TOKENIZER, "~ascend/.ssh"],
                   [f"{DATA}/alpaca*", f"{DATA}/index_cache/*", f"{TOKENIZER}/*", "~ascend/.ssh/authorized_keys", "~ascend/.ssh/known_hosts"]),
}

pytestmark = pytest.mark.usefixtures("tidy", "foreign")


def as_user(site, node, script):
    done = site.run(node, f"runuser -u ascend -- bash -c {shlex.quote('shopt -s nullglob dotglob; ' + script)}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def plant(site, node, folders, files):
    """Put what lies there aside, and links in its place: of folders to the folder, of files to the file that is root's. Names them."""
    return as_user(site, node, f"""
        for path in {' '.join(files)}; do
            [ -f "$path" ] && [ ! -L "$path" ] && [[ $path != *{ASIDE} ]] && mv -T "$path" "$path{ASIDE}" && ln -s {FOREIGN}/secret "$path" && echo "$path"
        done
        for path in {' '.join(folders)}; do
            [ -d "$path" ] && [ ! -L "$path" ] && [ -w "${{path%/*}}" ] && mv -T "$path" "$path{ASIDE}" && ln -s {FOREIGN}/folder "$path" && echo "$path"
        done
        true""").split()


def mend(site):
    """Everything as it was: the outermost first, since the others lie in what was put aside."""
    for node in site.nodes:
        done = site.run(node, f"""
            while path=$(find {W} ~ascend -xdev -name '*{ASIDE}' -printf '%d %p\\n' | sort -n | head -n 1 | cut -d' ' -f2-) && [ -n "$path" ]; do
                rm -rf -- "${{path%{ASIDE}}}" && mv -T -- "$path" "${{path%{ASIDE}}}" || exit 1
            done""")
        assert done.returncode == 0, done.stderr


def look(site, node):
    """Owner, mode, size, kind and content of what is not the training user's."""
    done = site.run(node, f"find {FOREIGN} -printf '%p %u %g %m %y %s %T@\\n' | sort; find {FOREIGN} -type f -exec sha256sum {{}} + | sort")
    assert done.returncode == 0 and done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def foreign(site):
    """On each node a file that root alone reads, and a folder that is a daemon's; the nodes as they were, afterwards."""
    for node in site.nodes:
        done = site.run(node, f"""set -e
            rm -rf {FOREIGN}; mkdir -m 0755 {FOREIGN}
            install -m 0600 /dev/stdin {FOREIGN}/secret <<<{CANARY}
            install -d -m 0750 -o daemon -g daemon {FOREIGN}/folder
            install -m 0640 -o daemon -g daemon /dev/stdin {FOREIGN}/folder/file <<<{CANARY}""")
        assert done.returncode == 0, done.stderr
    yield
    mend(site)
    for node in site.nodes:
        site.run(node, f"rm -rf {FOREIGN}")
    status, output = site.play("site.yml")
    assert status == 0, output


@pytest.fixture
def untouched(site):
    """Nothing happens to it, and nothing of it is shown: the test says what was played by `untouched(output)`."""
    before = {node: look(site, node) for node in site.nodes}
    said = []
    yield said.append
    mend(site)
    assert {node: look(site, node) for node in site.nodes} == before
    assert said and CANARY not in " ".join(said)


def words(status, output):
    """It worked, or it was refused by words; it did not break."""
    assert status == 0 or "Traceback" not in output, output
    return output


@pytest.mark.parametrize("role", CASES)
@pytest.mark.parametrize("kind", ["files", "folders"])
def test_a_role_leads_root_nowhere(site, untouched, role, kind):
    folders, files = CASES[role]
    if kind == "files":
        planted = {node: plant(site, node, [], files) for node in site.nodes}
        assert planted["node1"], "the role writes nothing there any more: correct CASES"
        untouched(words(*site.play(f"playbooks/{role}.yml")))
        return
    # The last that the user can exchange, since each costs a play: all of them are planted for the whole site, below.
    for folder in reversed(folders):
        planted = {node: plant(site, node, [folder], []) for node in site.nodes}
        if planted["node1"] or planted["node2"]:
            untouched(words(*site.play(f"playbooks/{role}.yml")))
            return
    # Nobody but root can put anything in the place of what lies in root's folder.
    assert all(folder.rpartition("/")[0] == W for folder in folders)
    untouched("")


def test_a_run_leads_root_nowhere(site, untouched):
    """All names of a run's folder and of its checkpoints, in a run that is made again; then a log that only root reads, as one that failed."""
    current = {node: site.run(node, f"readlink {RUNS}/current").stdout.strip() for node in site.nodes}
    again = {"cluster_checkpoint_dir": f"{FOLDER}/ckpt", "pretrain_environment_extra": {"OMP_NUM_THREADS": 1}}
    status, output = site.play("playbooks/pretrain.yml", **again)
    assert status == 0, output
    run = site.run("node1", f"readlink {RUNS}/current").stdout.strip()
    assert run and run != current["node1"]
    try:
        for node in site.nodes:
            planted = plant(site, node, [], [f"{RUNS}/{run}/*", f"{FOLDER}/ckpt/.started-node*", f"{FOLDER}/ckpt/latest*"])
            assert f"{RUNS}/{run}/train.log" in planted and f"{RUNS}/{run}/pretrain_mixtral.sh" in planted
        untouched(words(*site.play("playbooks/pretrain.yml", pretrain_new_run=True, **again)))
        for folder in (f"{RUNS}/{run}", RUNS, f"{FOLDER}/ckpt"):
            for node in site.nodes:
                # The folder of runs lies in root's: the user cannot put anything in its place.
                assert bool(plant(site, node, [folder], [])) == (folder != RUNS)
            if folder != RUNS:
                untouched(words(*site.play("playbooks/pretrain.yml", pretrain_new_run=True, **again)))
            mend(site)
        for node in site.nodes:
            as_user(site, node, f"ln -sfn {FOREIGN}/folder {RUNS}/current")
        untouched(words(*site.play("playbooks/pretrain.yml", pretrain_new_run=True, **again)))
    finally:
        for node in site.nodes:
            site.run(node, f"rm -rf {RUNS}/{run} {RUNS}/current; runuser -u ascend -- ln -s {current[node]} {RUNS}/current")


def test_the_whole_site_leads_root_nowhere(site, untouched):
    """All of them at once, and no place that the user can write is left out."""
    planned = {folder for some, _ in CASES.values() for folder in some} | {M, RUNS, FOLDER}
    for node in site.nodes:
        writable = as_user(site, node, f"find {W} ~ascend -xdev -mindepth 1 -maxdepth 1 -type d -writable; find / -xdev -maxdepth 2 -type d -writable "
                                       f"-not -path '/proc*' -not -path '/dev*' -not -path '/tmp*' -not -path '/var/tmp*' -not -path '/run*'").split()
        home = as_user(site, node, "echo ~").strip()
        known = {folder.replace("~ascend", home) for folder in planned} | {home}
        assert {place for place in writable if not any(f"{one}/".startswith(f"{place}/") for one in known)} == set(), "the user can write there: extend CASES"
    folders = sorted({folder for some, _ in CASES.values() for folder in some} | {f"{M}/ckpt"}, key=lambda path: -path.count("/"))
    files = sorted({path for _, some in CASES.values() for path in some} | {f"{RUNS}/*/*"})
    for node in site.nodes:
        assert len(plant(site, node, [], files)) > 10
    untouched(words(*site.play("site.yml")))
    for node in site.nodes:
        plant(site, node, folders, [])
    untouched(words(*site.play("site.yml")))


def roots_places_are_roots(site, node):
    """What root runs, and reads as its own, the training user cannot change."""
    found = as_user(site, node, rf"find {ROOTS} /etc /usr/local /usr/lib/systemd -xdev -writable -not -type l; [ ! -w {W} ] || echo {W}")
    assert found == "", "the training user can write these"
    assert site.run(node, f"find {W} {ROOTS} -maxdepth 0 -not -user root; find {ROOTS} -not -user root").stdout == ""
    assert site.run(node, f"find {ROOTS} -type l -lname '/srv/*'").stdout == ""


def test_roots_places_are_roots(site):
    for node in site.nodes:
        roots_places_are_roots(site, node)


def test_an_earlier_versions_workspace_is_taken_back(site, untouched):
    """It was the training user's, who has put links, other programs and other archives there, and has some still open."""
    for node in site.nodes:
        done = site.run(node, f"""set -e
            chown -R ascend:ascend {ROOTS}; chown ascend:ascend {W}
            runuser -u ascend -- bash -ec '
                ln -sf {FOREIGN}/secret {W}/bin/prune_runs.py; ln -sf {FOREIGN}/secret {W}/bin/supervise/__main__.py;
                ln -sf {FOREIGN}/secret {W}/state/cann_toolkit.txt
                ln -s {FOREIGN}/secret {W}/bin/planted; echo exit 1 > {W}/bin/ascend-env
                for archive in {W}/artifacts/*.whl; do echo damaged > "$archive"; done'""")
        assert done.returncode == 0, done.stderr
    status, output = site.play("site.yml")
    untouched(output)
    assert status == 0, output
    for node in site.nodes:
        roots_places_are_roots(site, node)
        assert site.run(node, f"ls {W}/bin/planted").returncode != 0
        assert "env.sh" in site.run(node, f"cat {W}/bin/ascend-env").stdout
