"""The stamp of Megatron's index cache: what it covers, and what is removed when it does not agree."""
from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from preprocess_data.files import InUseError, alone_in

PROGRAM = Path(__file__).parents[2] / "roles" / "dataset" / "files" / "build_index_cache.py"
NAME = "0123456789abcdef0123456789abcde{}-GPTDataset-{}"  # core_v0.12.1 has -train- between


def load() -> Any:
    spec = importlib.util.spec_from_file_location("build_index_cache", PROGRAM)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


cache_program = load()


class Site:
    """A Megatron folder, a dataset, and a cache; Megatron's part is played by `build`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix = folder / "data" / "alpaca_text_document"
        self.cache = folder / "data" / "cache"
        self.code = folder / "mg" / "megatron" / "core" / "datasets" / "gpt_dataset.py"
        self.built: list[list[str]] = []
        for path in (self.prefix.parent, self.code.parent):
            path.mkdir(parents=True)
        self.code.write_text("1")
        self.data("one")

    def data(self, content: str) -> None:
        Path(f"{self.prefix}.bin").write_text(content)
        Path(f"{self.prefix}.idx").write_text("index of " + content)

    def argv(self, **more: str) -> list[str]:
        options = {"data-path": str(self.prefix), "data-cache-path": str(self.cache), "seq-length": "64", "seed": "1",
                   "global-batch-size": "8", "train-iters": "3", "lr": "1e-3", **more}
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def build(self, argv: list[str], megatron: Path, folder: Path) -> None:
        self.built.append(argv)
        seed = cache_program.relevant(argv)["--seed"][0]
        for end in ("description.txt", "shuffle_index.npy"):
            (folder / NAME.format(seed, end)).write_text(Path(f"{self.prefix}.bin").read_text())

    def run(self, capsys: pytest.CaptureFixture[str], **more: str) -> str:
        cache_program.run(self.argv(**more), self.folder / "mg")
        return capsys.readouterr().out

    def files(self) -> set[str]:
        return {path.name for path in self.cache.iterdir()}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(tmp_path)
    monkeypatch.setattr(cache_program, "build", made.build)
    return made


def test_built_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert "wrote 2 files" in site.run(capsys)
    before = {path: path.stat().st_mtime_ns for path in site.cache.iterdir()}
    assert site.run(capsys).endswith("is up to date\n")
    assert len(site.built) == 1
    assert {path: path.stat().st_mtime_ns for path in site.cache.iterdir()} == before


def test_arguments_without_influence_do_not_count(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    assert "up to date" in site.run(capsys, lr="2e-3", save="/elsewhere")


@pytest.mark.parametrize("change", [{"seed": "2"}, {"train-iters": "4"}, {"split": "90,10,0"}, {"seq-length": "32"},
                                    {"global-batch-size": "16"}, {"eval-iters": "1"}, {"tokenizer-name-or-path": "/t/"}])
def test_arguments_with_influence_count(site: Site, change: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    assert "wrote" in site.run(capsys, **change)


def test_plans_take_turns(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys, seed="1")
    assert "removed" not in site.run(capsys, seed="2")
    assert "up to date" in site.run(capsys, seed="1")
    assert "up to date" in site.run(capsys, seed="2")


def test_other_data_removes_what_was_made_from_the_old(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys, seed="1")
    site.run(capsys, seed="2")
    site.data("two")
    said = site.run(capsys, seed="2")
    assert f"removed {NAME.format(1, 'description.txt')}" in said
    assert {name for name in site.files() if "GPTDataset" in name} == {
        NAME.format(2, end) for end in ("description.txt", "shuffle_index.npy")}
    assert {(site.cache / name).read_text() for name in site.files() if "GPTDataset" in name} == {"two"}
    assert "wrote" in site.run(capsys, seed="1")


def test_what_another_plan_made_is_removed_with_its_code_and_stays_with_its_data(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    other = site.prefix.with_name("other_text_document")
    for end in ("bin", "idx"):
        Path(f"{other}.{end}").write_text("other")
    site.run(capsys, seed="1")
    site.run(capsys, **{"data-path": str(other), "seed": "3"})
    site.data("two")
    assert f"removed {NAME.format(1, 'description.txt')}" in site.run(capsys, seed="2")
    made = {seed: {NAME.format(seed, end) for end in ("description.txt", "shuffle_index.npy")} for seed in (2, 3)}
    assert {name for name in site.files() if "GPTDataset" in name} == made[2] | made[3]
    site.code.write_text("2")
    assert f"removed {NAME.format(3, 'description.txt')}" in site.run(capsys, seed="2")
    assert {name for name in site.files() if "GPTDataset" in name} == made[2]


def test_nothing_is_kept_of_a_build_that_is_made_anew(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    stamp = next(site.cache.glob("index_cache-*.json"))
    no_more_made = NAME.format(1, "document_index.npy")
    content = json.loads(stamp.read_text())
    content["files"][no_more_made] = 3
    stamp.write_text(json.dumps(content))
    (site.cache / no_more_made).write_text("old")
    assert "up to date" in site.run(capsys)
    (site.cache / NAME.format(1, "shuffle_index.npy")).unlink()
    assert f"removed {no_more_made}" in site.run(capsys)
    assert no_more_made not in site.files()


def test_other_code_counts(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    site.code.write_text("2")
    assert "wrote" in site.run(capsys)


def test_lost_and_shortened_files_are_noticed(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    for damage in (Path.unlink, lambda path: path.write_text("x")):
        damage(site.cache / NAME.format(1, "shuffle_index.npy"))
        assert "wrote" in site.run(capsys)
        assert "up to date" in site.run(capsys)


def test_files_without_a_stamp_are_not_trusted(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.cache.mkdir()
    (site.cache / NAME.format(8, "train-shuffle_index.npy")).write_text("half")
    (site.cache / NAME.format(9, "shuffle_index.npy")).write_text("half")
    (site.cache / ".building-old").mkdir()
    (site.cache / "notes.txt").write_text("mine")
    site.run(capsys)
    assert not {NAME.format(8, "train-shuffle_index.npy"), NAME.format(9, "shuffle_index.npy")} & site.files()
    assert ".building-old" not in site.files()
    assert "notes.txt" in site.files()


def test_failed_build_leaves_nothing(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(argv: list[str], megatron: Path, folder: Path) -> None:
        site.build(argv, megatron, folder)
        raise SystemExit(2)

    monkeypatch.setattr(cache_program, "build", fail)
    with pytest.raises(SystemExit):
        site.run(capsys)
    assert site.files() == set()


def test_two_at_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    before = site.files()
    site.data("two")
    with alone_in(site.cache, print):
        with pytest.raises(cache_program.CacheError, match=r"Another build_index_cache is at work in .*cache .*Wait for it to end"):
            site.run(capsys)
        assert "made from other data" in check(site)
    assert site.files() == before and len(site.built) == 1
    assert "wrote 2 files" in site.run(capsys)


def check(site: Site) -> str:
    """What a look at the cache says, which needs no lock."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert cache_program.run(site.argv(), site.folder / "mg", check=True) == cache_program.NOT_UP_TO_DATE
    return said.getvalue()


def test_a_build_that_waited_for_nobody_holds_the_folder(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def second(argv: list[str], megatron: Path, folder: Path) -> None:
        with pytest.raises(InUseError), alone_in(site.cache, print):
            pass
        site.build(argv, megatron, folder)

    monkeypatch.setattr(cache_program, "build", second)
    assert "wrote 2 files" in site.run(capsys)


def test_manifest_tells_data_of_the_same_shape_apart(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = Path(f"{site.prefix}.manifest.json")
    for digest in ("a", "b"):
        manifest.write_text(json.dumps({"outputs": {f"{site.prefix.name}.bin": {"sha256": digest}}}))
        assert "wrote" in site.run(capsys)


@pytest.mark.parametrize(("argv", "expected"), [
    (["--seed", "1", "--seed", "2"], {"--seed": ["2"]}),
    (["--seed=1", "--lr", "3"], {"--seed": ["1"]}),
    (["--data-path", "0.3", "/a", "0.7", "/b", "--seed", "1"], {"--data-path": ["0.3", "/a", "0.7", "/b"], "--seed": ["1"]}),
    (["--mock-data", "--split", "1,0,0"], {"--mock-data": [], "--split": ["1,0,0"]}),
    (["--lr", "1"], {}),
])
def test_options_are_read_as_argparse_reads_them(argv: list[str], expected: dict[str, list[str]]) -> None:
    assert cache_program.relevant(argv) == expected


def test_missing_dataset_and_missing_options(site: Site) -> None:
    Path(f"{site.prefix}.idx").unlink()
    with pytest.raises(cache_program.CacheError, match=r"There is no .*\.idx"):
        cache_program.run(site.argv(), site.folder / "mg")
    with pytest.raises(cache_program.CacheError, match="--data-cache-path must be"):
        cache_program.run(["--data-path", "/a"], site.folder / "mg")


def test_up_to_date_without_megatron(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.run(capsys)
    done = subprocess.run([sys.executable, str(PROGRAM), *site.argv()], cwd=site.folder / "mg", capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.endswith("is up to date\n")) == (0, True)


def test_check_looks_and_changes_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def check(**more: str) -> tuple[int, str]:
        done = subprocess.run([sys.executable, str(PROGRAM), "--check", *site.argv(**more)], cwd=site.folder / "mg",
                              capture_output=True, text=True, check=False)
        assert len((done.stdout + done.stderr).splitlines()) == 1
        return done.returncode, done.stdout + done.stderr

    assert "is not there" in check()[1]
    assert not site.cache.exists()
    site.run(capsys)
    before = site.files()
    assert check(lr="2e-3") == (0, f"build_index_cache: {site.cache} is up to date\n")
    code, said = check(**{"train-iters": "4"})
    assert (code, "is not there" in said) == (3, True)
    site.data("two")
    code, said = check()
    assert (code, "made from other data" in said) == (3, True)
    assert site.files() == before
    Path(f"{site.prefix}.idx").unlink()
    assert check()[0] == 1


def test_without_megatron_the_message_says_so(site: Site) -> None:
    done = subprocess.run([sys.executable, str(PROGRAM), *site.argv()], cwd=site.folder / "mg", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "cannot be imported" in done.stderr and "playbooks/conda_env.yml, megatron.yml" in done.stderr
