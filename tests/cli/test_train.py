"""`train`: measures as JSON, stop and go on, and a user's mistakes in one line."""

import json
import os
import signal

import pytest

from antiphon.runs import Run

TINY = ("train", "clip", "--preset", "tiny")


def test_measures_are_printed_as_json_and_kept(command, here):
    answer = command(*TINY, "--json", "train.steps=3")
    told = json.loads(answer.out.splitlines()[-1])
    assert answer.code == 0
    assert 0 <= told["measures"]["test/image->text/R@1"] <= 1
    assert json.loads((here / told["run"] / "result.json").read_text()) == told["measures"]
    again = command(*TINY, "--json", "train.steps=3")
    assert json.loads(again.out) == told


def test_measures_are_printed_as_a_list(command):
    answer = command(*TINY, "train.steps=2")
    assert "test/image->text/R@1" in answer.out
    assert "run: runs/clip-" in answer.out


def test_a_stopped_run_says_how_to_go_on_and_goes_on(command, here, monkeypatch):
    log = Run.log

    def ask_to_stop(self, step, **values):
        log(self, step, **values)
        if step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "log", ask_to_stop)
    stopped = command(*TINY, "train.steps=8")
    assert stopped.code == 130
    assert "saved after step 6: the same command goes on from here" in stopped.err
    monkeypatch.setattr(Run, "log", log)
    assert command(*TINY, "train.steps=8").code == 0
    (metrics,) = here.glob("runs/*/metrics.jsonl")
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, 9))


def test_a_yaml_file_is_laid_over_the_preset_and_words_over_it(command, here):
    (here / "my.yaml").write_text("train: {steps: 2, lr: 0.5}\nwidth: 16\n")
    command(*TINY, "--config", "my.yaml", "train.lr=0.001")
    (kept,) = here.glob("runs/*/config.yaml")
    text = kept.read_text()
    assert "width: 16" in text
    assert "steps: 2" in text
    assert "lr: 0.001" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*TINY, "--changed"), "--changed goes with --run FOLDER"),
        (("train", "clap"), "no recipe 'clap': there are"),
        (("train", "clip", "--preset", "huge"), "no preset 'huge': there are tiny, laptop and paper"),
        ((*TINY, "train.step=5"), "train.step: unknown key; known here: batch_size"),
        ((*TINY, "train.steps=many"), "train.steps: input should be a valid integer"),
        ((*TINY, "steps"), "'steps' is not key=value"),
        ((*TINY, "--config", "no.yaml"), "no.yaml: no such config file"),
        ((*TINY, "data.source=stamp"), "no source 'stamp': there are"),
        ((*TINY, "data.options.row=5"), "made has no option row"),
        ((*TINY, "data.columns=[image,smell]"), "no column 'smell'"),
        ((*TINY, "data.split_by=smell"), "data.split_by=smell"),
        ((*TINY, "data.limit=2"), "cannot fill 3 splits"),
        ((*TINY, "data.source=folder", "data.options={folder: nowhere}"), "nowhere: not a folder"),
    ],
)
def test_a_mistake_is_one_line(command, words, said):
    assert said in command.refused(*words)


def test_every_wrong_key_is_named_at_once(command):
    answer = command(*TINY, "train.step=5", "widht=3")
    assert answer.code == 1
    assert "train.step: unknown key" in answer.err
    assert "widht: unknown key" in answer.err


def test_a_run_goes_on_under_a_changed_config_where_that_is_said(command, here):
    first = json.loads(command(*TINY, "--json", "train.steps=4", "--seed", "3").out)["run"]
    words = ("train", "clip", "--run", first, "--json")
    assert json.loads(command(*words).out)["run"] == first  # its own settings and seed: nothing differs
    refused = command.refused(*words, "train.steps=6", "width=16")
    assert "another config (width: 32 -> 16; train.steps: 4 -> 6)" in refused
    assert "--changed" in refused
    refused = command.refused(*words, "--preset", "tiny")
    assert "(train.steps: 4 -> 20)" in refused
    assert "seed 3, not 4" in command.refused(*words, "--seed", "4", "--changed")
    more = command(*words, "train.steps=6", "--changed")
    assert more.code == 0, more.err
    assert "going on from step-00000004" in more.err
    lines = [json.loads(line) for line in (here / first / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert "steps: 6" in (here / first / "config.yaml").read_text()


def test_a_learner_of_another_width_is_told_in_one_line(command):
    first = json.loads(command(*TINY, "--json", "train.steps=2").out)["run"]
    answer = command("train", "clip", "--run", first, "--changed", "width=16")
    assert answer.code == 1
    going_on, refused = answer.err.splitlines()
    assert "going on from step-00000002" in going_on
    assert refused.startswith("antiphon: ")
    assert "does not fit this learner (branches." in refused


def test_a_run_folder_can_be_named(command, here):
    assert command(*TINY, "--run", "mine", "train.steps=2").code == 0
    assert (here / "mine/result.json").exists()


def test_a_run_that_has_ended_is_told_and_not_run_again(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ("train", "clip", "--preset", "tiny", "train.steps=2", "--json")
    first = command(*words)
    again = command(*words)
    assert "has ended, its measures follow" in again.err
    assert "has ended" not in first.err
    assert again.out == first.out
