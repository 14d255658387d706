"""Pictures by a connector: the state is the model's own behind soft tokens, and the connector alone learns."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import Ridge
from torch.nn.functional import gelu

from antiphon.encoders.connected import Cells, ConnectedImage, Connector
from antiphon.encoders.features import Features
from antiphon.encoders.heads import identity_head
from antiphon.encoders.image import ScratchImage
from antiphon.encoders.prompted import PromptedText
from antiphon.encoders.space import Branch, Space
from antiphon.encoders.templates import Prompt
from antiphon.errors import WrongValue
from tests.encoders.test_prompted import BOTH, TEXTS, byte_tokenizer, gpt2, llama
from tests.encoders.tiny import check_alone_is_batch, check_gradients, check_round_trip, scatter

BARE = Prompt(chat=False)


@pytest.fixture(params=[llama, gpt2])
def model(request):
    return request.param()


def pictures() -> list[Image.Image]:
    """Noise of three kinds, which even a random encoder tells apart."""
    rng = np.random.default_rng(0)
    size = (40, 30, 3)
    fine, dark = rng.integers(0, 256, size), rng.integers(0, 60, size)
    coarse = np.repeat(np.repeat(rng.integers(0, 256, (5, 5, 3)), 8, axis=0), 6, axis=1)
    return [Image.fromarray(one.astype(np.uint8)) for one in (fine, dark, coarse)]


def cells_of(side=2):
    return Cells(scatter(ScratchImage("tiny", pixels=64)), side=side)


def seen_by(model, prompt=BOTH, side=2):
    cells = cells_of(side)
    scatter(model, size=0.25)  # enough that what stands far in front is seen at the end
    connector = scatter(Connector(cells.width, 48, hidden=16), 1)
    noise = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype(np.uint8)
    seen = cells.eval()(cells.collate([Image.fromarray(one) for one in noise])).tokens
    connector.measure(seen, model.get_input_embeddings().weight)
    return ConnectedImage(model, byte_tokenizer(), prompt, cells, connector).eval()


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_cells_are_means_of_squares_by_a_loop(side):
    cells = cells_of(side).eval()
    batch = cells.collate([*pictures(), None])
    found, inner = cells(batch), cells.inner(batch).tokens
    assert found.tokens.shape == (4, side * side, cells.width)
    assert not found.mask[3].any()
    for row in range(side):
        for column in range(side):
            # window i of n over r cells: from floor(i r / n) to ceil((i + 1) r / n)
            ys = range(row * 4 // side, -(-(row + 1) * 4 // side))
            xs = range(column * 4 // side, -(-(column + 1) * 4 // side))
            wanted = torch.stack([inner[0, 4 * y + x] for y in ys for x in xs]).mean(0)
            torch.testing.assert_close(found.tokens[0, row * side + column], wanted, atol=1e-5, rtol=1e-5)


def test_connector_by_hand():
    connector = scatter(Connector(5, 8, hidden=3), 2)
    cells, words = torch.randn(20, 4, 5) * 3 + 1, torch.randn(40, 8) * torch.arange(1.0, 9.0) + 5.0
    connector.measure(cells, words)
    connector.double()
    flat = cells.flatten(0, 1).double()
    inputs = torch.randn(2, 3, 5, dtype=torch.float64)
    standard = (inputs - flat.mean(0)) / flat.std(0)
    one, _, two = connector.layers
    inside = gelu(standard @ one.weight.T + one.bias) @ two.weight.T + two.bias
    direct = standard.mean(1, keepdim=True) @ connector.linear.weight.T + connector.linear.bias
    wanted = words.mean(0).double() + words.std(0).double() * (direct + inside)
    torch.testing.assert_close(connector(inputs), wanted, atol=1e-5, rtol=1e-5)


def test_the_beginning_is_a_ridge_regression_from_the_mean_cell():
    """By scikit-learn, on made vectors; then stretched to the length that the targets have around their mean."""
    generator = torch.Generator().manual_seed(0)
    cells = torch.randn(30, 2, 5, generator=generator)
    told = cells.mean(1) @ torch.randn(5, 8, generator=generator) + torch.randn(30, 8, generator=generator)
    connector = scatter(Connector(5, 8, hidden=3), 2)
    connector.measure(cells, torch.randn(40, 8, generator=generator) * 2 + 1)
    connector.begin(cells, told, penalty=0.5)
    inputs = connector.norm(cells.mean(1)).double().numpy()
    targets = ((told - connector.centre) / connector.spread).double().numpy()
    centred = targets - targets.mean(0)
    ridge = Ridge(alpha=0.5 * 30, fit_intercept=False).fit(inputs, centred).predict(inputs)
    stretch = np.linalg.norm(centred, axis=1).mean() / np.linalg.norm(ridge, axis=1).mean()
    wanted = connector.centre + connector.spread * torch.from_numpy(targets.mean(0) + stretch * ridge).float()
    for cell in range(2):
        torch.testing.assert_close(connector(cells)[:, cell], wanted, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("prompt", [BOTH, Prompt(), BARE, Prompt(before="x: ", after="!", chat=False)])
def test_the_state_is_the_models_at_the_last_token(model, prompt):
    encoder = seen_by(model, prompt)
    found = encoder(encoder.collate(pictures()))
    assert found.tokens.shape == (3, 1, 48)
    words = model.get_input_embeddings()
    text = encoder.tokenizer.decode(encoder.beginning.ids) + "|" + encoder.tokenizer.decode(encoder.after)
    whole = PromptedText(model, encoder.tokenizer, prompt)
    assert encoder.tokenizer.decode(whole.ids("|")) == text
    for at, picture in enumerate(pictures()):
        soft = encoder.connector(encoder.cells(encoder.collate([picture])).tokens)[0]
        parts = [words(torch.tensor(encoder.beginning.ids)), soft, words(torch.tensor(encoder.after, dtype=torch.long))]
        out = model(inputs_embeds=torch.cat(parts)[None], output_hidden_states=True)
        torch.testing.assert_close(found.pooled[at], out.hidden_states[-1][0, -1], atol=2e-4, rtol=2e-3)


@torch.no_grad()
def test_the_beginning_is_read_once(model, monkeypatch):
    encoder, seen = seen_by(model), []
    assert encoder.beginning.holds
    inner = type(model.base_model).forward
    monkeypatch.setattr(
        type(model.base_model),
        "forward",
        lambda self, **given: (
            seen.append(next(v.shape[1] for k, v in given.items() if k in ("input_ids", "inputs_embeds")))
            or inner(self, **given)
        ),
    )
    batch = encoder.collate(pictures())
    encoder(batch), encoder(batch)
    assert seen == [4 + len(encoder.after)] * 2, "the beginning was read when that was tried"


def test_the_connector_gets_the_same_gradient_by_either_way(model):
    """Where the model is frozen its beginning is read once, in training too."""
    encoder = seen_by(model)
    check_gradients(encoder, [pictures()[0], None, pictures()[1]])
    assert {name.partition(".")[0] for name, value in encoder.named_parameters() if value.requires_grad} == {
        "connector", "decoder"
    }  # fmt: skip
    batch, found = encoder.collate(pictures()), []
    for frozen in (False, True):
        model.requires_grad_(not frozen)
        encoder.zero_grad()
        encoder(batch).pooled.square().sum().backward()
        found.append({name: value.grad.clone() for name, value in encoder.connector.named_parameters()})
    for name, grad in found[0].items():
        torch.testing.assert_close(found[1][name], grad, atol=1e-4 * float(grad.abs().max()), rtol=1e-4, msg=name)


@pytest.mark.parametrize(("made", "prompt"), [(llama, BOTH), (llama, BARE), (gpt2, BARE)])
def test_alone_as_in_a_batch_and_read_back(made, prompt, tmp_path):
    encoder = seen_by(made(), prompt)
    check_alone_is_batch(encoder, pictures())
    again = check_round_trip(encoder, tmp_path, pictures())
    assert again.prompt == prompt


@torch.inference_mode()
def test_over_cells_that_are_computed_once():
    encoder = seen_by(llama())
    cells = list(encoder.cells(encoder.collate(pictures())).tokens)
    over = encoder.over(Features(encoder.cells.width, signal="image"), BARE).eval()
    assert over.decoder is encoder.decoder
    assert over.connector is encoder.connector
    wanted = encoder.over(encoder.cells, BARE).eval()
    torch.testing.assert_close(over(over.collate(cells)).pooled, wanted(wanted.collate(pictures())).pooled)


def test_texts_and_pictures_of_one_model_in_one_space(tmp_path):
    model = llama()
    seen, read = seen_by(model), PromptedText(model, byte_tokenizer(), BOTH)
    assert seen.decoder is read.decoder
    space = Space({"text": Branch(read, identity_head(48)), "image": Branch(seen, identity_head(48))}).eval()
    again = Space.load(space.save(tmp_path / "space"))
    for items in ({"text": TEXTS}, {"image": pictures()}):
        assert torch.equal(again.embed(**items), space.embed(**items))
    other = copy.deepcopy(seen)
    assert other.beginning.decoder is other.decoder is not seen.decoder


def test_errors():
    many = cells_of(5)
    batch = many.collate(pictures())
    with pytest.raises(WrongValue, match="16 cells of a picture: wanted a square map of 5 x 5 or more"):
        many(batch)
    cells = cells_of()
    with pytest.raises(WrongValue, match=r"a connector of .*: wanted width=\d+ and out=48"):
        ConnectedImage(llama(), byte_tokenizer(), BOTH, cells, Connector(cells.width, 40))
    bare = byte_tokenizer()
    bare.chat_template = None
    with pytest.raises(WrongValue, match="has no chat template"):
        ConnectedImage(llama(), bare, BOTH, cells, Connector(cells.width, 48))
