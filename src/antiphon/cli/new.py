"""`antiphon new recipe NAME` and `antiphon new modality NAME`: a first file that keeps the house's contracts."""

from __future__ import annotations

import re
from pathlib import Path

import typer

from antiphon.errors import UserError

app = typer.Typer(help="Start a recipe or a modality from a template.", no_args_is_help=True, rich_markup_mode=None)

RECIPE = '''"""{title}: what it is, in one sentence (arXiv {arxiv}). Its loss is eq. N."""

from __future__ import annotations

from torch import Tensor

from antiphon.config import Config as Settings
from antiphon.data.collate import by_column
from antiphon.data.pairs import Pairs, splits
from antiphon.encoders.heads import Head
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space
from antiphon.evaluation.answers import answers
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper("{arxiv}", "{title}", ("image", "text"))


class Config(Settings):
    """Settings; the defaults are the claim's."""

    data: Pairs = Pairs(source="made", columns=("image", "text"))
    width: int = 64
    temperature: float = 0.07
    train: Train = Train(steps=200, batch_size=64, lr=1e-3)


class {name_class}(ContrastiveLearner):
    """Two towers."""

    def __init__(self, cfg: Config) -> None:
        super().__init__()
        self.image, self.text = (
            Branch(encoder, Head(encoder.width, cfg.width))
            for encoder in (open_encoder("image", "scratch-tiny"), open_encoder("text", "scratch-tiny"))
        )
        self.scale = Scale(cfg.temperature)

    def embed(self, batch: Batch) -> Views:
        """Unit views of both columns."""
        return {{"image": self.image(batch["image"]), "text": self.text(batch["text"])}}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Replace this by the method's own loss."""
        return {{"image-text": symmetric_contrast(self.scale(views["image"] @ views["text"].T))}}


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space, measure on test."""
    run.seed_all()
    rows = splits(cfg.data, run.seed)
    learner = {name_class}(cfg)
    collate = by_column(image=learner.image.encoder, text=learner.text.encoder)
    fit(learner, rows["train"], cfg.train, run, collate=collate)
    space = Space({{"image": learner.image, "text": learner.text}}).eval()
    space.save(run.folder / "space")
    test = rows["test"]
    images, texts = space.embed(image=test["image"]), space.embed(text=test["text"])
    labels = learner.scale.log_scale.new_tensor(test["label"]).long()
    found = answers(images, texts, labels, labels)
    return run.finish({{f"test/image->text/{{name}}": value for name, value in found.items()}})


def tiny() -> Config:
    """Seconds."""
    return Config(train=Train(steps=10, batch_size=16, save_every=5, log_every=1))


def laptop() -> Config:
    """The claim's setting."""
    return Config()


def paper() -> Config:
    """The published setting."""
    return Config()


CLAIMS = [
    Claim(
        "The method beats its baseline.",
        better=Arm(temperature=0.07),
        worse=Arm(temperature=1.0),
        metric="test/image->text/R@10",
        floor="test/image->text/chance R@10",
    )
]
'''

MODALITY = '''"""{title} encoders: items to vectors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from torch import nn

from antiphon.encoders import Encoder
from antiphon.encoders.blocks import Stack
from antiphon.encoders.pooling import masked_mean
from antiphon.types import Encoded, Padded


class {name_class}(Encoder):
    """A Transformer over frames of `channels` numbers, trained from scratch.

    Items are `(T, channels)` tensors. Add the class to `KINDS` in `encoders/open.py`.
    """

    signal = "{name}"

    def __init__(self, channels: int = 16, *, size: str = "tiny") -> None:
        super().__init__()
        self.settings = {{"channels": channels, "size": size}}
        self.channels = channels
        self.stack = Stack(size)
        self.width = self.stack.width
        self.project = nn.Linear(channels, self.width)

    def collate(self, items: Sequence[Any]) -> Padded:
        """Pad; None becomes length zero."""
        lengths = torch.tensor([0 if item is None else len(item) for item in items], dtype=torch.int64)
        values = torch.zeros(len(items), max([1, *lengths.tolist()]), self.channels)
        for row, item in zip(values, items, strict=True):
            if item is not None:
                row[: len(item)] = item
        return Padded(values, lengths)

    def forward(self, batch: Padded) -> Encoded:
        """Frames to vectors."""
        tokens = self.stack(self.project(batch.values), batch.mask)
        return Encoded(tokens, batch.mask, masked_mean(tokens, batch.mask))

    def save(self, folder: Path) -> None:
        """Weights and settings."""
        save_model(self, str(folder / "model.safetensors"))
        (folder / "encoder.json").write_text(json.dumps(self.settings), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> {name_class}:
        """Read what `save` wrote."""
        kept = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        encoder = cls(kept["channels"], size=kept["size"])
        load_model(encoder, str(folder / "model.safetensors"))
        return encoder
'''


@app.command()
def recipe(
    name: str = typer.Argument(..., help="Its name: small letters, digits and underscores."),
    arxiv: str = typer.Option("0000.00000", help="The paper's arXiv number."),
    title: str = typer.Option("A new method", help="The paper's title."),
    folder: Path = typer.Option(Path("src/antiphon/recipes"), help="Where the file goes."),
) -> None:
    """Write a recipe that runs and passes the contract tests; make it the method's from there.

    Example: antiphon new recipe my_method --arxiv 2401.00001
    """
    typer.echo(_write(folder, name, RECIPE.format(name_class=_class(name), arxiv=arxiv, title=title)))


@app.command()
def modality(
    name: str = typer.Argument(..., help="Its name: small letters, digits and underscores."),
    folder: Path = typer.Option(Path("src/antiphon/encoders"), help="Where the file goes."),
) -> None:
    """Write an encoder of a new signal that keeps the Encoder interface.

    Example: antiphon new modality touch
    """
    text = MODALITY.format(name=name, name_class=_class(name) + "Encoder", title=name.capitalize())
    typer.echo(_write(folder, name, text))


def _write(folder: Path, name: str, text: str) -> Path:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"{name!r} is no module name: small letters, digits and underscores, a letter first")
    if not folder.is_dir():
        raise UserError(f"no folder {folder}: run this in a checkout of antiphon, or give --folder")
    path = folder / f"{name}.py"
    if path.exists():
        raise UserError(f"{path} is there already: give another name")
    path.write_text(text, encoding="utf-8")
    return path


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
