"""`embed` and `search` on a tiny space: the nearest rows, as a table and as JSON; mistakes in one line."""

import json

import pytest
import torch

from antiphon.data.sources import made
from antiphon.encoders.space import Space
from antiphon.search.index import Index


@pytest.fixture
def run(trained, here):
    """A run's folder with a space, and pictures to embed."""
    (here / "run").mkdir()
    (here / "run/space").symlink_to(trained / "space")
    (here / "pictures").mkdir()
    for row in made.load(6):
        (here / f"pictures/{row['concept'].replace(' ', '_')}.png").write_bytes(row["image"]["bytes"])
    return here / "run"


def test_pictures_are_embedded_and_found(command, run, here):
    told = command("embed", "pictures", "--as", "image", "--space", "run/space", "--out", "run/index")
    assert told.out == "6 vectors of width 32 in run/index\n"
    answer = command("search", "--image", "pictures/red_circle.png", "--space", "run", "--json", "-k", 3)
    hits = json.loads(answer.out)
    assert len(hits) == 3
    assert hits[0]["row"] == "red_circle"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    assert hits[0]["score"] >= hits[1]["score"] >= hits[2]["score"]
    table = command("search", "a red circle", "--space", "run").out
    assert all(word in table for word in ("score", "image", "red_circle"))


def test_lines_of_a_text_file_are_rows(command, run, here):
    (here / "words.txt").write_text("a red circle\n\na blue star\n")
    command("embed", "words.txt", "--as", "text", "--space", "run/space", "--out", "run/index")
    index = Index.load("run/index")
    assert [(entry.row, entry.show) for entry in index.entries] == [
        ("words.txt:1", "a red circle"), ("words.txt:3", "a blue star"),
    ]  # fmt: skip
    assert torch.allclose(index.vectors, Space.load("run/space").embed(text=["a red circle", "a blue star"]), atol=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("search",), "search takes one query"),
        (("search", "a cat", "--image", "cat.png"), "search takes one query"),
        (("search", "a cat", "--space", "nowhere"), "nowhere/index holds no index"),
        (("search", "a cat", "--space", "run"), "run/index holds no index"),
        (("embed", "nowhere", "--as", "image", "--space", "run/space"), "nowhere: no such file or folder"),
        (("embed", "empty", "--as", "image", "--space", "run/space"), "no image in empty"),
        (("embed", "pictures", "--as", "smell", "--space", "run/space"), "smell"),
        (("embed", "pictures", "--as", "image", "--space", "nowhere"), "nowhere holds no space"),
        (("embed", "bad.png", "--as", "image", "--space", "run/space"), "bad.png"),
        (("embed", "bad.png", "--as", "text", "--space", "run/space"), "bad.png: not UTF-8 text"),
        (("embed", "pictures", "--as", "image", "--space", "run/space", "--precision", "int4"), "precision='int4'"),
    ],
)
def test_a_mistake_is_one_line(command, run, here, words, said):
    (here / "empty").mkdir()
    (here / "bad.png").write_bytes(b"\x89PNG\r\n\xff\xfe")
    assert said in command.refused(*words)


def test_a_wrong_query_file_or_column_is_one_line(command, run):
    command("embed", "pictures", "--as", "image", "--space", "run/space", "--out", "run/index")
    assert "gone.png: no such file" in command.refused("search", "--image", "gone.png", "--space", "run")
    assert "no branch 'speech'" in command.refused("search", "--speech", "gone.ogg", "--space", "run")
    assert "no entries of column 'smell'" in command.refused("search", "a cat", "--column", "smell", "--space", "run")


def test_a_manifest_gives_its_column(command, run, here):
    (here / "rows.csv").write_text('id,text,image\nfirst,"a red circle, small",pictures/red_circle.png\n')
    command("embed", "rows.csv", "--as", "text", "--space", "run/space", "--out", "run/index")
    (entry,) = Index.load("run/index").entries
    assert (entry.row, entry.column, entry.show) == ("first", "text", "a red circle, small")
    command("embed", "rows.csv", "--as", "image", "--space", "run/space", "--out", "run/pictures")
    index = Index.load("run/pictures")
    assert index.entries[0].show.endswith("red_circle.png")
    assert torch.allclose(index.vectors, Space.load("run/space").embed(image=["pictures/red_circle.png"]), atol=1e-5)
