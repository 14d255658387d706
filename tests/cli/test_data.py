"""`data`: the sources are listed, bad files are found and named."""

import json

import pytest

from antiphon.data import sources
from antiphon.data.sources import made


@pytest.fixture
def files(here):
    (here / "files").mkdir()
    for row in made.load(3):
        for column, ending in (("image", "png"), ("speech", "wav")):
            (here / f"files/{row['id']}.{ending}").write_bytes(row[column]["bytes"])
        (here / f"files/{row['id']}.txt").write_text(row["text"])
    return here / "files"


def test_every_source_is_listed(command):
    told = command("data", "list").out
    assert all(name in told for name in sources.names())


def test_a_made_source_is_ready(command):
    assert command("data", "get", "made").out == "made: 512 rows, ready\n"


def test_good_files_pass(command, files):
    answer = command("data", "check", "folder", "folder=files")
    assert answer.code == 0
    assert [line.split()[:2] for line in answer.out.splitlines()] == [["image", "3"], ["speech", "3"], ["text", "3"]]


def test_bad_files_are_named_and_written_to_a_report(command, files, here):
    (files / "000001.png").write_bytes(b"not a picture")
    (files / "000002.wav").write_bytes(b"")
    answer = command("data", "check", "folder", "folder=files", "--report", "bad.jsonl")
    assert answer.code == 1
    assert "image            3 items, 1 cannot be used" in answer.out
    assert "image of 000001:" in answer.out
    listed = [json.loads(line) for line in (here / "bad.jsonl").read_text().splitlines()]
    assert [(item["column"], item["row"]) for item in listed] == [("image", "000001"), ("speech", "000002")]
    assert "empty" in listed[1]["reason"]


def test_a_limit_looks_at_the_first_rows_only(command):
    assert "text             2 items" in command("data", "check", "made", "--limit", 2).out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("get", "stamp"), "no source 'stamp': there are"),
        (("check", "folder", "folder=nowhere"), "nowhere: not a folder"),
        (("check", "made", "size"), "'options.size' is not key=value"),
        (("check", "made", "colour=red"), "made has no option colour"),
    ],
)
def test_a_mistake_is_one_line(command, words, said):
    assert said in command.refused("data", *words)
