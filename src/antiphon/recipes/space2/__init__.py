"""SPACE-2: turns of dialogs contrasted by how much of their semantic trees they share (arXiv 2209.06638).

A turn's tree (domain > intent > slot > value) is seen from ten views v: nodes D, I, S, V, edges DI, IS, SV, paths DIS,
ISV, DISV. With z^v a turn's unit vector in v's projection, two copies of each of N turns by dropout, T = 0.07:

    r_ij^v = Jaccard(set_i^v, set_j^v), r_ii = 1, and 0 where both are empty
    p_ij^v = e^{z_i.z_j / T} / sum_{k != i} e^{z_i.z_k / T}
    L^v    = (1 / 2N) sum_i -[ sum_{j != i} r_ij^v log p_ij^v ] / sum_{j != i} r_ij^v
    loss   = (mean_v L^v + 0.1 L_mlm) of labelled turns + (the same with r = identity) of as many unlabelled turns

z^v = unit(tanh(W^v h)): h is what the saved space gives, the projections are for training alone. `scores` is the one
field that arms differ by: `views` (SPACE-2), `combined` (one score, the mean of the views), `exact` (1 for equal
trees), `none` (no labels: SimCLR on everything), `shuffled` (`views`, the trees dealt out anew between turns, a
control), `labelled` (`views` without unlabelled turns), `mlm`, and `random` (nothing is trained).

On texts of one's own, here a CSV with columns `text` and `kind` (of a `domain`, `slot` or `value` too, where there are
columns for them; or a column `tree`; `unlabelled` takes more files):

    antiphon train space2 data.source=folder data.options.folder=my.csv more='[]' unlabelled='[]' asked='[]' \\
        levels='{intent: kind}'

The ten views, the loss, the temperature, the weight of masked words and which words are masked are the published
code's; 80/10/10 on values too is reconstructed. Values are masked in every arm, the one use of labels in `none` and
`mlm`. All ten losses are averaged, always: a view in which a batch shares nothing has r = identity, and so is SimCLR.
What trees share is counted by sparse products; r itself and the cosines of a batch are dense, ten matrices of them.

In the claims no domain of dev and test is trained on, and no dialog of theirs: of SNIPS, whose rows tell no domain, the
intent tells it (`domains`).

differs: a convolution over hashed words, trained here from nothing, in the place of a dialog BERT of 110M; it masks
    words, not word pieces, and asks for the most frequent ones only.
differs: the turn before is read as words of its own, ahead of the turn, in the place of role, turn and position
    embeddings.
differs: 12,000 labelled turns or fewer of five sets and up to as many unlabelled ones, not 3 and 19 million; no
    evaluation set is among them (the paper's are), and all sets are mixed in a batch, where the code takes one set at a
    time.
differs: frozen vectors are what most claims are about. Fine-tuning (`tune`, R-Drop) is without masked words and without
    the paper's step of contrast by intents before it, from another start, and for 150 or 300 steps at a rate of 0.02,
    where the paper has 60 epochs at 0.0001.
differs: Banking77 is tested on a fifth of its training file, since its test file is not here, and so trained on seven
    tenths of it where the paper takes all; CLINC150 is tested on its validation file. HWU64, TOP and MultiWOZ are not
    here, and spans (REST8K, DSTC8) are not measured.
"""

from __future__ import annotations

import time
from functools import partial

import torch

from antiphon.data.pairs import Pairs
from antiphon.encoders.heads import HeadConfig
from antiphon.encoders.space import Branch, Space, branches_of
from antiphon.encoders.towers import Tower
from antiphon.encoders.words import WordCnn
from antiphon.errors import UserError
from antiphon.evaluation.claims import Paper
from antiphon.recipes.space2.claims import CLAIMS
from antiphon.recipes.space2.config import Config, dialogs, intents
from antiphon.recipes.space2.floors import floors, own_vectors, tuned_floors
from antiphon.recipes.space2.learner import Space2
from antiphon.recipes.space2.material import Material, material, shuffled, words_encoder
from antiphon.recipes.space2.measures import Asked, Turns, intent_scores, means, ranks, tree_scores
from antiphon.recipes.space2.pictures import draw
from antiphon.recipes.space2.rows import TurnBatches, frequent_words
from antiphon.recipes.space2.trees import TreeCodes
from antiphon.recipes.space2.tuning import tuned
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit

PAPER = Paper(
    "2209.06638",
    "SPACE-2: Tree-Structured Semi-Supervised Contrastive Pre-training for Task-Oriented Dialog Understanding",
    ("text",),
)

__all__ = ["CLAIMS", "PAPER", "Asked", "Config", "Space2", "laptop", "paper", "run", "tiny"]


_OF_THE_FLOORS = (
    "data", "more", "unlabelled", "domains", "tree", "levels", "previous", "at_most", "before", "most", "text",
    "dropout", "width", "asked", "shots", "l2", "turns", "reference",
)  # fmt: skip
"""What the rows and the floors depend on."""


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the space, and measure it: held-out trees, and intents from few examples, beside the floors."""
    started = time.perf_counter()
    shared = cfg.only(*_OF_THE_FLOORS)
    found = material(shared.model_dump_json(), run.seed)
    for row, reason in found.refused:
        run.quarantine("text", row, reason)
    _want_trees(cfg, found)
    labelled = shuffled(found.labelled, run.seed) if cfg.scores == "shuffled" else found.labelled
    codes = TreeCodes([row["tree"] for row in labelled])
    run.seed_all()
    encoder = words_encoder(cfg.text, cfg.dropout)
    learner = Space2(
        encoder, codes.starts, frequent_words([*labelled, *found.unlabelled], cfg.vocabulary), head=cfg.text.head,
        width=cfg.width, projected=cfg.projected, scores=cfg.scores, temperature=cfg.temperature, mlm=cfg.mlm,
        view_weights=cfg.view_weights,
    )  # fmt: skip
    space, turns = Space(branches_of(learner.branches)).eval(), found.held["test"]
    beneath = partial(
        floors, space, found.held, found.asked, shots=cfg.shots, l2=cfg.l2, reference=cfg.reference, seed=run.seed
    )
    measures = dict(run.part("floors", shared).once(beneath)) | found.counts
    at_start, views_at_start = own_vectors(space, turns.texts), _projections(learner, encoder, turns)
    if cfg.scores != "random":
        collate = TurnBatches(
            labelled, found.unlabelled, codes, share=cfg.masked, together=cfg.together, seed=run.seed
        )  # fmt: skip
        run.seed_all()
        fit(learner.train(), collate.rows, cfg.train, run, collate=collate)
    space.eval().save(run.folder / "space")
    measures |= _measured(cfg, space, found, run.seed)
    if cfg.tune:
        measures |= tuned_floors(measures, cfg.examples) | _tuned(
            cfg, run, branches_of(learner.branches)["text"], found
        )
    projections, vectors = _projections(learner, encoder, turns), own_vectors(space, turns.texts)
    measures |= ranks(projections, vectors) | {
        name.replace("rank/", "rank/start/"): value for name, value in ranks(views_at_start, at_start).items()
    }
    draw(run, measures, turns, at_start, vectors, projections, cfg.reference)
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


def _want_trees(cfg: Config, found: Material) -> None:
    """Labels are asked for, so there must be some.

    Raises:
        UserError: there are none in one of the sources.
    """
    if found.bare and cfg.scores not in ("none", "mlm", "random"):
        raise UserError(
            f"scores={cfg.scores} wants labels, and no row of {', '.join(found.bare)} has any: no trees in a column "
            f"{cfg.tree!r}, no levels; set levels={{intent: COLUMN}}, or scores=none to train without"
        )


@torch.inference_mode()
def _projections(learner: Space2, encoder: WordCnn, turns: Turns) -> torch.Tensor:
    return learner.eval().projected(encoder.collate(turns.texts))


def _tuned(cfg: Config, run: Run, branch: Branch, found: Material) -> Measures:
    """Accuracies of fine-tuned copies of a branch."""
    return means(
        {
            name: tuned(cfg, run, name, branch, of, train=cfg.tuning, agreement=cfg.agreement, examples=cfg.examples)
            for name, of in found.asked.items()
        }
    )


def _measured(cfg: Config, space: Space, found: Material, seed: int) -> Measures:
    """Held-out trees and intents."""
    embed, measures = partial(own_vectors, space), dict[str, float]()
    for side, held in found.held.items():
        measures |= {f"{side}/tree/{name}": value for name, value in tree_scores(embed(held.texts), held).items()}
    return measures | means(
        {name: intent_scores(embed, of, shots=cfg.shots, seed=seed, l2=cfg.l2) for name, of in found.asked.items()}
    )


SNIPS = {
    "addtoplaylist": ("music",), "bookrestaurant": ("restaurants",), "getweather": ("weather",),
    "playmusic": ("music",), "ratebook": ("books",), "searchcreativework": ("books", "media", "movies", "music"),
    "searchscreeningevent": ("movies",),
}  # fmt: skip
"""Of SNIPS's intents, the domains of SGD that their utterances are about."""


def tiny() -> Config:
    """Seconds: names of generated shapes, the shape in the place of a domain and the colour of an intent."""
    made = Pairs(source="made", columns=("text",), limit=480)
    return Config(
        data=made,
        more=(),
        unlabelled=(made,),
        levels={"domain": "shape", "intent": "colour"},
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=32,
        projected=8,
        vocabulary=50,
        asked=(Asked(name="made", data=made, classes="shape"),),
        l2=1e-2,
        turns=60,
        tune=True,
        examples=(10, "all"),
        tuning=Train(steps=4, batch_size=32, lr=1e-2),
        train=Train(steps=40, batch_size=16, lr=1e-2, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: fields of life of SGD that training never sees, and intents of Banking77 and CLINC150."""
    return Config(
        more=(dialogs("snips", "atis", "woz2", "simm"),),
        unlabelled=(dialogs("restaurant8k", "dstc8", "simr"),),
        domains=SNIPS,
        at_most=12_000,
        text=Tower(encoder="scratch-tiny-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=128,
        asked=(
            Asked(name="banking77", data=intents("banking77")),
            Asked(name="clinc150", data=intents("clinc150"), test=intents("clinc150", "val")),
        ),
        reference="all-MiniLM-L6-v2",
        train=Train(steps=120, batch_size=64, lr=3e-3),
    )


def paper() -> Config:
    """The published numbers, as near as the encoder allows; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        more=(),
        unlabelled=(Pairs(source="shards", columns=("text",)),),
        text=Tower(encoder="scratch-base-words", head=HeadConfig(pooling="attention", norm="none", dropout=0.2)),
        width=768,
        projected=768,
        before=128,
        most=128,
        vocabulary=30_000,
        # batches, rate, warm-up and decay of the published script; 60 epochs of 3M turns
        train=Train(steps=1_400_000, batch_size=128, lr=1e-5, warmup=0.1, schedule="linear"),
        tune=True,
        tuning=Train(steps=7000, batch_size=128, lr=1e-4),
    )
