"""`classify` on a tiny space: by names and by examples, as vectors say; accuracies; mistakes in one line."""

import csv
import json

import pytest
import torch
from torch.nn.functional import normalize

from antiphon.data.sources import made
from antiphon.encoders.space import Space

COLOURS = ("red", "blue", "green")


@pytest.fixture
def rows(trained, here):
    """A space, pictures in a folder, and two manifests of texts with the colour of each."""
    (here / "run").symlink_to(trained)
    (here / "pictures").mkdir()
    found = [row for row in made.load(96) if row["colour"] in COLOURS]
    for row in found[:4]:
        (here / f"pictures/{row['id']}.png").write_bytes(row["image"]["bytes"])
    for name, part in (("known.csv", found[::2]), ("asked.csv", found[1::2])):
        with (here / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("text", "colour"), *((row["text"], row["colour"]) for row in part)])
    return found


def _space():
    return Space.load("run/space")


def test_pictures_by_names_in_a_template(command, rows, here):
    words = [word for colour in COLOURS for word in ("--class", colour)]
    told = command("classify", "pictures", "--as", "image", *words, "--template", "a {} circle", "--space", "run/space",
                   "-k", 2, "--json")  # fmt: skip
    answers = json.loads(told.out)["answers"]
    files = sorted((here / "pictures").iterdir())
    assert [answer["row"] for answer in answers] == [file.stem for file in files]
    scores = _space().embed(image=files) @ _space().embed(text=[f"a {colour} circle" for colour in COLOURS]).T
    for answer, line in zip(answers, scores, strict=True):
        best = line.argsort(descending=True)[:2]
        assert [one["class"] for one in answer["classes"]] == [COLOURS[at] for at in best]
        assert [one["score"] for one in answer["classes"]] == pytest.approx(line[best].tolist(), abs=1e-5)
    assert json.loads(told.out)["measures"] is None


def test_texts_by_examples_are_nearest_to_their_means_and_are_scored(command, rows):
    words = ("classify", "asked.csv", "--as", "text", "--examples", "known.csv", "--label", "colour",
             "--space", "run/space")  # fmt: skip
    said = json.loads(command(*words, "--json").out)
    means = []
    for colour in sorted(COLOURS):
        mean = _space().embed(text=[row["text"] for row in rows[::2] if row["colour"] == colour]).mean(0)
        means.append(normalize(mean, dim=0))
    asked = rows[1::2]
    chosen = (_space().embed(text=[row["text"] for row in asked]) @ torch.stack(means).T).argmax(1)
    expected = [sorted(COLOURS)[at] for at in chosen]
    assert [answer["classes"][0]["class"] for answer in said["answers"]] == expected
    right = [one == row["colour"] for one, row in zip(expected, asked, strict=True)]
    assert said["measures"]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert said["measures"]["chance"] == pytest.approx(1 / 3)
    table = command(*words).out
    assert f"accuracy {sum(right) / len(right):.3f} of {len(right)}" in table
    assert asked[0]["text"] in table


def test_names_of_a_file_and_lines_of_text(command, rows, here):
    (here / "names.txt").write_text("red\n\nblue\n")
    (here / "asked.txt").write_text("a red star\n")
    told = command("classify", "asked.txt", "--as", "text", "--classes", "names.txt", "--space", "run/space")
    assert "asked.txt:1" in told.out
    assert "accuracy" not in told.out


BY_NAME = ("--class", "red", "--class", "blue")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("pictures", "--as", "image"), "wants classes in one way"),
        (("pictures", "--as", "image", *BY_NAME, "--examples", "known.csv"), "wants classes in one way"),
        (("pictures", "--as", "image", *BY_NAME, "--class", "red"), "the class 'red' is given twice"),
        (("pictures", "--as", "image", *BY_NAME, "--template", "a picture"), "wants exactly one {}"),
        (("pictures", "--as", "image", "--classes", "nowhere.txt"), "nowhere.txt: no such file"),
        (("pictures", "--as", "image", "--classes", "empty.txt"), "empty.txt: no names of classes there"),
        (("pictures", "--as", "text", *BY_NAME), "no text in pictures"),
        (("asked.csv", "--as", "image", *BY_NAME), "asked.csv: no column 'image'; it has id, text, colour"),
        (("asked.csv", "--as", "text", "--examples", "known.csv"), "known.csv: no row has a class in a column 'class'"),
        (("asked.csv", "--as", "text", *BY_NAME, "--label", "colour"), "inputs are 'green' by their column 'colour'"),
        (("asked.csv", "--as", "speech", *BY_NAME), "speech"),
    ],
)
def test_a_mistake_is_one_line(command, rows, here, words, said):
    (here / "empty.txt").write_text("\n")
    assert said in command.refused("classify", *words, "--space", "run/space")
