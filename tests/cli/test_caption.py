"""`caption` with a tiny captioner: a caption for each file, as a table and as JSON; mistakes in one line."""

import json

import pytest

from antiphon.data.sources import made
from antiphon.recipes import audio_captioning
from antiphon.runs import Run


@pytest.fixture(scope="module")
def captioning(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioning")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTIPHON_CACHE", str(folder / "cache"))
        config = audio_captioning.tiny().but(train__steps=2, space__steps=2, start__steps=2)
        run = Run.of("audio_captioning", config, root=folder)
        audio_captioning.run(config, run)
    return run.folder


@pytest.fixture
def sounds(here):
    (here / "sounds").mkdir()
    for row in made.load(3):
        (here / f"sounds/{row['id']}.wav").write_bytes(row["speech"]["bytes"])
    return here / "sounds"


def test_recordings_are_captioned(command, captioning, sounds):
    found = json.loads(command("caption", "sounds", "--run", captioning, "--json").out)
    assert [one["file"] for one in found] == sorted(f"sounds/{path.name}" for path in sounds.iterdir())
    assert all(isinstance(one["caption"], str) for one in found)
    (alone,) = json.loads(command("caption", found[1]["file"], "--run", captioning, "--json").out)
    assert alone == found[1]
    table = command("caption", "sounds", "--run", captioning, "--method", "nucleus", "--seed", 3).out
    assert "caption" in table
    assert found[0]["file"].removeprefix("sounds/") in table


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sounds", "--run", "nowhere"), "nowhere/captioner holds no captioner"),
        (("nothing", "--run", "RUN"), "nothing: no such file or folder"),
        (("empty", "--run", "RUN"), "no recordings in empty"),
        (("sounds", "--run", "RUN", "--method", "best"), "method"),
    ],
)
def test_a_mistake_is_one_line(command, captioning, sounds, here, words, said):
    (here / "empty").mkdir()
    assert said in command.refused("caption", *(captioning if word == "RUN" else word for word in words))
