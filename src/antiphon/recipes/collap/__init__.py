"""CoLLAP: recordings of minutes and texts of many sentences in one space (arXiv 2410.02271).

Recording i is cut into clips k with vectors a_ik, of mean a_i; text j into sentences m with vectors t_jm, and has a
vector t_j of the whole. Hats are unit length, y the sharpness of the attention (learned), T the temperature (learned):

    w_ijk = softmax_k( <^a_ik, ^t_j> / y )      v_ij = sum_k w_ijk a_ik         the text attends over the clips
    u_ij  = sum_m softmax_m( <^t_jm, ^a_i> / y ) t_jm                           and the recording over the sentences
    S_ij  = cos( v_ij + a_i, t_j )              `attention=text`, `fusion=vector`
    S_ij  = cos( v_ij + a_i, u_ij + t_j )       `attention=both`
    S_ij  = sum_k w_ijk <^a_ik, ^t_j>           `fusion=score`
    L     = symmetric InfoNCE of S / T

With y -> inf it is the mean over clips (`attention=none`), with y -> 0 the best clip. S is no inner product of two
vectors, so that search has two stages: cosines of one vector each (what the saved space gives), then S for the best.

On long recordings and texts of one's own:

    antiphon train collap data.source=folder data.options.folder=my.csv data.columns=[audio,text] scenes=null

The full text of the paper was not in reach, and no official code was found: S is reconstructed from its abstract.

differs: the recording attends over the sentences too (`attention=both`); with the text's attention alone (`text`), as
    reconstructed, retrieval on dev fell below that of the mean.
differs: the first stage has vectors and a loss of its own, which do not move the encoders; trained together with S,
    they kept the attention from hearing the order.
differs: recordings are composed of clips of real events, and texts of sentences in the same order, not music.
differs: a text goes through its frozen model by sentences, and attention joins them with a learned first token
    (RoBERTa's way, `reading=first`) or causally, with the last one taken (GPT-2's, `reading=last`); nothing is cut.
differs: clips are told by log-mel statistics, where the paper has Whisper and BEATs side by side.
differs: texts are made of names of sounds, not written by a music language model.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from antiphon.data.collate import Collate
from antiphon.data.pairs import Pairs, expand, signal_of, splits
from antiphon.encoders.features import Features
from antiphon.encoders.heads import Head, HeadConfig, unit
from antiphon.encoders.parts import Ordered, Parts
from antiphon.encoders.sequence import MelChunks
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.errors import UserError
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.recipes.collap.config import Config
from antiphon.recipes.collap.measures import attention_picture, measured, turned
from antiphon.recipes.collap.rows import Row, Scenes, Stock, clips_of, longest, own_rows
from antiphon.recipes.collap.score import fused, shares
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.training.views import views_of
from antiphon.types import Views

Rows = dict[str, list[Row]]

PAPER = Paper(
    "2410.02271",
    "CoLLAP: Contrastive Long-form Language-Audio Pretraining with Musical Temporal Structure Augmentation",
    ("audio", "text"),
)


class Collap(ContrastiveLearner):
    """A branch for recordings and one for texts, and the attention between their parts.

    The parts' vectors in S are maps of what the branches' encoders give. The branches' heads make the vectors of the
    first stage; they learn on what the encoders give, and do not move them.

    Args:
        cfg: as above.
        sound: the sound branch's name.
        widths: of a part's vector, by branch.
        most: parts of the longest item, by branch: views are padded to it.
    """

    def __init__(self, cfg: Config, sound: str, widths: dict[str, int], most: dict[str, int]) -> None:
        super().__init__()
        self.cfg, self.sound, self.most = cfg, sound, most
        inner = {name: Features(width, signal=name) for name, width in widths.items()}
        self.ordered = {
            sound: Ordered(inner[sound], cfg.width, hidden=cfg.hidden, dropout=cfg.dropout),
            "text": Ordered(
                inner["text"], cfg.width, hidden=cfg.hidden, blocks=1, pooling=cfg.reading, dropout=cfg.dropout
            ),
        }
        head = HeadConfig(norm="none")
        self.branches = nn.ModuleDict(
            {name: Branch(one, Head(cfg.width, cfg.width, head)) for name, one in self.ordered.items()}
        )
        self.maps = nn.ModuleDict({name: nn.Linear(cfg.width, cfg.width) for name in self.ordered})
        self.scale, self.first_scale = Scale(cfg.temperature), Scale(cfg.temperature)
        self.focus = Scale(cfg.sharpness, learned=cfg.attention != "none")

    def embed(self, batch: Batch) -> Views:
        """The first stage's vectors; and the parts', padded to one number, and which are there.

        A text has the whole's vector before its parts'.
        """
        views: Views = {"label": batch["label"]}
        for name, branch in branches_of(self.branches).items():
            encoded = branch.encoder(batch[name])
            tokens, mask, most = encoded.tokens, encoded.mask, self.most[name]
            if name == "text":
                tokens, mask = torch.cat([encoded.pooled[:, None], tokens], 1), torch.cat([mask[:, :1], mask], 1)
                most += 1
            lacking = most - tokens.shape[1]
            views[name] = pad(self.maps[name](tokens) * mask[:, :, None], (0, 0, 0, lacking))
            views[f"{name}_mask"] = pad(mask, (0, lacking))
            views[f"{name}_first"] = unit(branch.head.linear(encoded.pooled.detach()))
        return views

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Symmetric InfoNCE of S and of the first stage, over the rows that have both."""
        both = views[f"{self.sound}_mask"][:, 0] & views["text_mask"][:, 0]
        views = {name: view[both] for name, view in views.items()}
        same = same_label(views["label"])
        first = views[f"{self.sound}_first"] @ views["text_first"].T
        return {
            "contrast": symmetric_contrast(self.scale(self.scores(views)), same),
            "first": symmetric_contrast(self.first_scale(first), same),
        }

    def scores(self, views: Views, texts: Views | None = None) -> Float[Tensor, "a b"]:
        """S of every recording of `views` and every text of `texts` (of `views` itself where None)."""
        texts = texts or views
        return fused(
            views[self.sound], views[f"{self.sound}_mask"], texts["text"], texts["text_mask"], self.focus.scale,
            attention=self.cfg.attention, fusion=self.cfg.fusion,
        )  # fmt: skip

    def levels(self) -> dict[str, float]:
        """The temperature, and that of the attention."""
        return {"temperature": self.scale.temperature, "sharpness": self.focus.temperature}


def run(cfg: Config, run: Run) -> Measures:
    """Encode or compose the rows, train, save the space, and measure retrieval and the order probe on dev and test."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, run.seed)
    columns = expand(cfg.data.columns, data["train"].column_names)
    heard = [column for column in columns if signal_of(column) in ("audio", "speech")]
    read = cfg.classes if cfg.scenes else next((column for column in columns if signal_of(column) == "text"), "text")
    if len(heard) != 1 or read not in data["train"].column_names:
        raise UserError(
            f"collap wants one column of sounds, and {'classes=' if cfg.scenes else 'texts in '}{read}: data.columns "
            f"gives {', '.join(heard) or 'no sounds'}, the rows have {', '.join(data['train'].column_names)}"
        )
    sound = signal_of(heard[0])
    of_clip = [tower.open(sound) for tower in cfg.sound] or [MelChunks(min(1.0, cfg.seconds), signal=sound)]
    towers = {sound: Parts(of_clip, seconds=cfg.seconds, most=cfg.heard), "text": Parts([cfg.text.open("text")])}
    rows = _rows(cfg, data, {sound: heard[0], "text": read}, towers, run)
    widths = {name: tower.width for name, tower in towers.items()}
    learner = Collap(cfg, sound, widths, longest(rows["train"], list(towers)))
    for name, ordered in learner.ordered.items():
        ordered.prepare([row[name] for row in rows["train"]])
    inner = {name: ordered.inner for name, ordered in learner.ordered.items()}
    collate = Collate(inner, keep=("label",), seed=run.seed)
    fit(learner, rows["train"], cfg.train, run, collate=collate)
    branches = branches_of(learner.branches)
    whole = {name: Branch(learner.ordered[name].over(towers[name]), branch.head) for name, branch in branches.items()}
    Space(whole).eval().save(run.folder / "space")
    measures: Measures = {"seconds/total": time.perf_counter() - started}
    for split, asked in rows.items():
        if split != "train":
            learner.most = longest(asked, list(towers))
            views, other = (views_of(learner, part, collate) for part in (asked, turned(asked)))
            found = measured(learner.scores, views, other, sound)
            measures |= {f"{split}/{name}": value for name, value in found.items()}
    _keep_pictures(cfg, run, learner, rows["test"][:3], collate)
    return run.finish(measures)


@torch.inference_mode()
def _keep_pictures(cfg: Config, run: Run, learner: Collap, rows: list[Row], collate: Collate) -> None:
    """The attention between a few recordings and their own texts."""
    sound = learner.sound
    rows = [row for row in rows if row[sound] is not None and row["text"] is not None]
    learner.most = longest(rows, list(learner.branches))
    views = views_of(learner, rows, collate)
    for at, row in enumerate(rows):
        one = {name: view[at : at + 1] for name, view in views.items()}
        asked = (one[sound], one[f"{sound}_mask"], one["text"], one["text_mask"], learner.focus.scale.cpu())
        clips, parts = (weights[0, :, 0] for weights in shares(*asked, attention=cfg.attention))
        clips, parts = clips[: len(row[sound])], parts[1 : len(row["text"]) + 1]
        said = row["said"] or [f"sentence {number + 1}" for number in range(len(parts))]
        drawing = attention_picture(clips / clips.sum(), parts, said, cfg.seconds)
        run.picture(f"attention-{at + 1}", drawing, f"Attention between {row['id']} of the test split and its text.")


def _rows(cfg: Config, data: dict[str, Any], columns: dict[str, str], towers: dict[str, Parts], run: Run) -> Rows:
    """Encoded rows by split; of composed recordings, also longer ones than any in training."""
    if cfg.scenes is None:
        return {split: own_rows(part, columns, towers, run) for split, part in data.items()}
    sound, rows, scenes = next(iter(columns)), {}, cfg.scenes
    for at, (split, part) in enumerate(data.items()):
        clips, kinds = clips_of(part, columns[sound], columns["text"], cfg.seconds, towers[sound], run)
        stock = Stock(clips, kinds, sound, towers["text"])
        count, seed = (scenes.train if split == "train" else scenes.asked), 3 * run.seed + at
        rows[split] = stock.rows(count, scenes.fewest, scenes.most, heard=cfg.heard, seed=seed)
        if split != "train":
            rows[f"{split}/long"] = stock.rows(count, scenes.long, scenes.long, heard=cfg.heard, seed=seed)
    return rows


def tiny() -> Config:
    """Seconds: generated melodies, one after the other, told apart by rhythm; a frozen random text tower."""
    return Config(
        data=Pairs(source="made", columns=("speech",), split_by="id", limit=72),
        scenes=Scenes(fewest=2, most=4, train=96, asked=20, long=6),
        classes="shape",
        text=Tower(encoder="scratch-tiny"),
        seconds=0.5,
        hidden=32,
        width=32,
        train=Train(steps=24, batch_size=32, lr=3e-3, save_every=4, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: recordings of 30 to 60 seconds, composed of ESC-10 and animals."""
    return Config(
        scenes=Scenes(train=8000), dropout=0.2, train=Train(steps=300, batch_size=64, lr=2e-3, weight_decay=0.1)
    )


def paper() -> Config:
    """As near as it is known: 51.3 k pairs of five minutes and 250 words; rates and steps unverified, not run here."""
    return Config(
        data=Pairs(source="shards", columns=("audio", "text")),
        scenes=None,
        sound=(Tower(encoder="openai/whisper-large-v2"), Tower(encoder="MIT/ast-finetuned-audioset-10-10-0.4593")),
        text=Tower(encoder="FacebookAI/roberta-base"),
        seconds=10.0,
        width=512,
        train=Train(steps=20_000, batch_size=256, lr=1e-4),
    )


_WHOLE, _MEAN = Arm(attention="both"), Arm(attention="none")


def _claim(text: str, better: Arm, worse: Arm, metric: str = "R@1") -> Claim:
    floor = "test/order/chance" if metric == "order" else f"test/chance {metric}"
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=floor)


CLAIMS = [
    _claim(
        "Hearing recordings whole beats hearing their first ten seconds at finding them by their texts.",
        _WHOLE,
        Arm(attention="both", heard=2),
    ),
    _claim(
        "Hearing recordings whole beats hearing their first thirty seconds at finding them by their texts.",
        _WHOLE,
        Arm(attention="both", heard=6),
    ),
    _claim(
        "With sentences read GPT-2's way too, hearing recordings whole beats hearing their first ten seconds.",
        Arm(attention="both", reading="last"),
        Arm(attention="both", reading="last", heard=2),
    ),
    _claim(
        "Attention hears the order (a text against itself with its halves exchanged), the mean of clips cannot.",
        _WHOLE,
        _MEAN,
        "order",
    ),
    _claim("Attention beats the mean of clips at finding recordings by their texts.", _WHOLE, _MEAN),
    _claim(
        "The text's attention alone (the paper's, as far as known) beats the mean of clips at finding recordings.",
        Arm(attention="text"),
        _MEAN,
    ),
]
