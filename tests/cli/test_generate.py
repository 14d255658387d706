"""`generate`: continuations of texts, as text and as JSON; a kept run, and mistakes in one line."""

import json

import pytest
import torch

from antiphon.generation.models import open_language_model


@pytest.fixture
def run(here):
    """A run's folder that keeps a language model, whose states are not all alike."""
    torch.manual_seed(0)
    for part in open_language_model("scratch-tiny"):
        part.save_pretrained(here / "run/model")
    return "run"


def test_texts_go_on(command, run):
    answer = command("generate", run, "a dog", "rain falls", "--tokens", 12, "--json")
    assert answer.code == 0, answer
    rows = json.loads(answer.out)
    assert [row["text"] for row in rows] == ["a dog", "rain falls"]
    assert all(row["continuation"] for row in rows)
    assert command("generate", run, "a dog", "--tokens", 12).out.startswith(f"a dog{rows[0]['continuation']}")
    sign = rows[0]["continuation"][2]
    cut = json.loads(command("generate", run, "a dog", "--tokens", 12, "--stop", sign, "--json").out)
    assert cut[0]["continuation"] == rows[0]["continuation"].split(sign)[0]


@pytest.mark.parametrize("method", ["nucleus", "typical", "diverse"])
def test_what_is_drawn_comes_from_the_seed(command, run, method):
    said = [command("generate", f"{run}/model", "a dog", "--method", method, "--seed", seed).out for seed in (1, 1, 2)]
    assert said[0] == said[1] != said[2]


@pytest.mark.filterwarnings("always::antiphon.evaluation.isotropy.AnisotropyWarning")
def test_a_model_whose_states_are_alike_is_warned_of(command, run, monkeypatch):
    from antiphon.evaluation import isotropy

    monkeypatch.setattr(isotropy, "isotropy_of_texts", lambda *_: [0.5, 0.1])
    answer = command("generate", run, "a dog")
    assert answer.code == 0
    assert "antiphon: The model's last hidden states are much alike (isotropy 0.10, wanted 0.35" in answer.err
    assert command("generate", run, "a dog", "--method", "greedy").err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "best"), "method: input should be 'greedy'"),
        (("--penalty", 2), "penalty: input should be less than or equal to 1"),
        (("--tokens", 0), "max_tokens: input should be greater than"),
        (("--tokens", 5000), "pass the 2048 that LlamaForCausalLM takes"),
    ],
)
def test_a_mistake_is_one_line(command, run, words, said):
    assert said in command.refused("generate", run, "a dog", *words)


def test_no_model_is_one_line(command, here, run):
    (here / "empty").mkdir()
    assert "empty: no language model could be opened there" in command.refused("generate", "empty", "a dog")
    assert "makes no token of" in command.refused("generate", run, "")
