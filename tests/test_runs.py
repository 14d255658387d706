"""Run folders: found again by the same config, locked, logged, rewound, and clear about what is wrong."""

import json
import threading

import pytest

from antiphon.config import Config
from antiphon.runs import OtherVersions, Run, RunError, Waiting, read_jsonl, write_atomically


class Settings(Config):
    """A recipe's config."""

    width: int = 8


class Nested(Config):
    """A config in a config."""

    name: str | None = "a"
    inner: Settings = Settings()


def test_the_same_arguments_find_the_same_folder(tmp_path):
    first = Run.of("clip", Settings(), root=tmp_path)
    assert Run.of("clip", Settings(width=8), root=tmp_path).folder == first.folder
    others = [Run.of("clip", Settings(width=9), root=tmp_path), Run.of("clip", Settings(), seed=1, root=tmp_path)]
    assert len({first.folder, *(run.folder for run in others)}) == 3


def test_the_folder_says_what_it_holds(tmp_path):
    run = Run(tmp_path / "r", Settings(width=9), recipe="clip", seed=4)
    described = json.loads((run.folder / "run.json").read_text())
    assert described["recipe"] == "clip"
    assert described["seed"] == 4
    assert described["changed"] == {"width": 9}
    assert described["versions"]["torch"]
    assert (run.folder / "config.yaml").read_text() == "width: 9\n"


def test_another_config_is_refused_field_by_field(tmp_path):
    Run(tmp_path, Nested(), seed=3)
    with pytest.raises(RunError, match=r"another config \(name: \"a\" -> null; inner\.width: 8 -> 9\): .* --changed"):
        Run(tmp_path, Nested(name=None, inner=Settings(width=9)), seed=3)
    with pytest.raises(RunError, match=r"another run \(seed 3, not 4\)"):
        Run(tmp_path, Nested(), seed=4, changed=True)
    with pytest.raises(RunError, match=r"another run \(recipe run, not clip"):
        Run(tmp_path, Nested(), seed=3, recipe="clip", changed=True)


def test_a_changed_config_is_kept_where_that_is_said(tmp_path):
    Run(tmp_path, Nested()).finish({"accuracy": 0.5})
    run = Run(tmp_path, Nested(name="b"), changed=True)
    assert run.result is None  # it was another config's
    assert "name: b" in (tmp_path / "config.yaml").read_text()
    described = json.loads((tmp_path / "run.json").read_text())
    assert described["changed"] == {"name": "b"}
    assert [each["changed"] for each in described["earlier"]] == [{}]
    Run(tmp_path, Nested(name="b")).finish({"accuracy": 0.6})
    assert Run(tmp_path, Nested(name="b"), changed=True).result == {"accuracy": 0.6}
    with pytest.raises(RunError, match='name: "b" -> "a"'):
        Run(tmp_path, Nested())
    Run(tmp_path, Nested(), changed=True)
    assert len(json.loads((tmp_path / "run.json").read_text())["earlier"]) == 2


def test_a_field_that_an_older_version_did_not_have_is_at_its_default(tmp_path):
    Run(tmp_path, Nested())
    (tmp_path / "config.yaml").write_text("name: a\n")
    Run(tmp_path, Nested())
    with pytest.raises(RunError, match=r"inner\.width: 8 -> 9"):
        Run(tmp_path, Nested(inner=Settings(width=9)))
    (tmp_path / "config.yaml").write_text("name: a\ngone: 1\n")
    with pytest.raises(RunError, match=r"gone: 1 -> \(nothing\)"):
        Run(tmp_path, Nested())


def test_other_versions_are_told_of_a_run_that_goes_on(tmp_path):
    Run(tmp_path, Settings())
    described = json.loads((tmp_path / "run.json").read_text())
    described["versions"]["torch"] = "0.1"
    (tmp_path / "run.json").write_text(json.dumps(described))
    run = Run(tmp_path, Settings())  # nothing was trained yet
    (tmp_path / "checkpoints").mkdir()
    with pytest.warns(OtherVersions, match=r"torch 0\.1 -> .*: equal, but not to the bit"):
        Run(tmp_path, Settings())
    run.finish({"accuracy": 0.5})
    Run(tmp_path, Settings())  # nothing will be


def test_one_at_a_time(tmp_path):
    run = Run(tmp_path, Settings())
    with run.lock(), pytest.raises(RunError, match="another process is training here"):
        run.lock().acquire()


def test_metrics_are_kept_and_rewound(tmp_path):
    run = Run(tmp_path, Settings())
    assert run.metrics() == []
    for step in (1, 2, 3):
        run.log(step, loss=1.0 / step)
    run.rewind(2)
    assert [line["step"] for line in run.metrics()] == [1, 2]


def test_a_line_that_a_crash_cut_off_is_dropped(tmp_path):
    run = Run(tmp_path, Settings())
    run.log(1, loss=1.0)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert [line["step"] for line in run.metrics()] == [1]


def test_a_line_after_one_that_a_crash_cut_off_is_whole(tmp_path):
    run = Run(tmp_path, Settings())
    for name in ("a", "b"):
        run.quarantine("text", name, "bad")
    path = tmp_path / "quarantine.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    run.quarantine("text", "c", "schlecht \u00fc")
    assert run.quarantined() == {("text", "a"), ("text", "c")}
    path.write_bytes(b'{"column"')
    run.quarantine("text", "d", "bad")
    assert run.quarantined() == {("text", "d")}


def test_a_bad_line_inside_is_an_error(tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"a": 1}\nnot json\n{"a": 2}\n')
    with pytest.raises(RunError, match=r"m\.jsonl:2 is not JSON"):
        read_jsonl(path)


def test_results_are_found_again(tmp_path):
    run = Run(tmp_path, Settings())
    assert run.result is None
    run.finish({"accuracy": 0.5})
    assert Run(tmp_path, Settings()).result == {"accuracy": 0.5}


def test_a_failed_write_leaves_the_old_text(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot be written"):
        Run(tmp_path / "file" / "run", Settings())


def test_seed_all():
    import random

    import numpy as np
    import torch

    def draw(folder, seed):
        Run(folder, Settings(), seed=seed).seed_all()
        return random.random(), float(np.random.rand()), float(torch.rand(1))  # noqa: NPY002

    from tempfile import mkdtemp

    assert draw(mkdtemp(), 3) == draw(mkdtemp(), 3)
    assert draw(mkdtemp(), 3) != draw(mkdtemp(), 4)


def test_a_part_lies_beside_its_run_and_is_named_by_what_it_depends_on(tmp_path):
    run = Run.of("clip", Settings(width=9), seed=2, root=tmp_path)
    part = run.part("start", Settings())
    assert part.folder == Run.of("clip_start", Settings(), seed=2, root=tmp_path).folder
    assert run.part("start", Settings(), seed=0).seed == 0
    assert run.part("start", Settings(width=10)).folder != part.folder


def test_a_second_process_waits_for_a_part(tmp_path):
    part = Run(tmp_path / "r", Settings()).part("start", Settings())
    waiting = threading.Thread(target=lambda: part.once(lambda: {"accuracy": 0.5}))

    def begin():
        waiting.start()
        waiting.join(0.2)

    with part.lock():
        with pytest.warns(Waiting, match=r"start-.*another process is training here: waiting for it"):
            begin()
        assert waiting.is_alive()
        assert part.result is None
    waiting.join(5)
    assert part.result == {"accuracy": 0.5}


def test_a_part_is_measured_once_and_again_where_its_run_was_changed(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return {"accuracy": 0.1 * len(calls)}

    for changed, wanted in [(False, 0.1), (False, 0.1), (True, 0.2)]:
        part = Run(tmp_path / "r", Settings(), changed=changed).part("floors", Settings())
        assert part.once(measure) == {"accuracy": wanted}
