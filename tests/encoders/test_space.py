"""A space: unit vectors that do not depend on the batch, a whole round trip, and clear refusals."""

import json

import pytest
import torch

from antiphon.data.sources import made
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space, SpaceError


@pytest.fixture
def space():
    def branch(signal):
        encoder = open_encoder(signal, "scratch-tiny")
        return Branch(encoder, Head(encoder.width, 8, HeadConfig(pooling="attention", hidden=4)))

    return Space({signal: branch(signal) for signal in ("text", "image", "speech")}).eval()


@pytest.fixture(scope="module")
def rows():
    return made.load(5)


@pytest.mark.parametrize(("branch", "column"), [("text", "text"), ("image", "image"), ("speech", "speech")])
def test_vectors_are_unit_and_do_not_depend_on_the_batch(space, rows, branch, column):
    items = list(rows[column])
    whole = space.embed(**{branch: items})
    assert torch.allclose(whole.norm(dim=1), torch.ones(5), atol=1e-5)
    for size in (1, 2):
        assert torch.allclose(space.embed_column(branch, items, batch_size=size), whole, atol=1e-5)


def test_the_same_input_twice_is_the_same_vector(space, rows):
    items = [rows["speech"][0], rows["speech"][0]]
    space.train()
    vectors = space.embed(speech=items)
    assert torch.equal(vectors[0], vectors[1])
    assert space.branches["speech"].training


def test_a_missing_item_is_a_zero_vector(space):
    assert torch.equal(space.embed(text=["a", None])[1], torch.zeros(8))


def test_round_trip(space, rows, tmp_path):
    wanted = {name: space.embed_column(name, list(rows[name])) for name in ("text", "image", "speech")}
    space.save(tmp_path / "space")
    space.save(tmp_path / "space")  # over itself
    again = Space.load(tmp_path / "space")
    for name, vectors in wanted.items():
        assert torch.equal(again.embed_column(name, list(rows[name])), vectors)
    assert {path.name for path in tmp_path.iterdir()} == {"space"}
    card = (tmp_path / "space/README.md").read_text()
    assert "library_name: antiphon" in card
    assert "| speech | MelSpeech |" in card


def test_files_are_read_too(space, rows, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(rows[0]["image"]["bytes"])
    assert torch.equal(space.embed(image=[file]), space.embed(image=[rows[0]["image"]]))
    assert torch.equal(space.embed(image=[str(file)]), space.embed(image=[rows[0]["image"]]))


def test_nothing_is_unpickled(space, tmp_path):
    folder = space.save(tmp_path / "space")
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".json", ".safetensors", ".md"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda space: space.embed(), "one kind of items at a time, got none"),
        (lambda space: space.embed(text=["a"], image=[]), "got \\['image', 'text'\\]"),
        (lambda space: space.embed(video=["a"]), "no branch 'video': it has image, speech, text"),
        (lambda space: space.embed(text="a cat"), "takes a list of items, got a single str"),
    ],
)
def test_refusals(space, call, message):
    with pytest.raises(SpaceError, match=message):
        call(space)


def test_folders_that_are_no_spaces(space, tmp_path):
    with pytest.raises(SpaceError, match=r"no space\.json"):
        Space.load(tmp_path)
    folder = space.save(tmp_path / "space")
    described = json.loads((folder / "space.json").read_text())
    (folder / "space.json").write_text(json.dumps(described | {"format": 99}))
    with pytest.raises(SpaceError, match="format 99"):
        Space.load(folder)


@pytest.mark.parametrize("name", ["head.safetensors", "head.json", "encoder/model.safetensors", "encoder/encoder.json"])
@pytest.mark.parametrize("harm", ["cut", "missing", "strange"])
def test_a_damaged_folder_is_told_in_one_line(space, tmp_path, name, harm):
    file = space.save(tmp_path / "space") / "text" / name
    if harm == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: len(file.read_bytes()) // 2] if harm == "cut" else b'{"a": 1}')
    with pytest.raises(SpaceError, match="damaged or of another version") as caught:
        Space.load(tmp_path / "space")
    assert "\n" not in str(caught.value)


def test_some_branches_only(space, tmp_path):
    folder = space.save(tmp_path / "space")
    (folder / "image/head.json").write_text("damaged")  # and not read
    assert set(Space.load(folder, only=["text"]).branches) == {"text"}
    with pytest.raises(SpaceError, match="no branch 'video': it has image, speech, text"):
        Space.load(folder, only=["video"])


def test_branches_share_one_width():
    encoder = open_encoder("text", "scratch-tiny")
    with pytest.raises(SpaceError, match="share one width"):
        Space({"a": Branch(encoder, Head(64, 8)), "b": Branch(encoder, Head(64, 4))})
