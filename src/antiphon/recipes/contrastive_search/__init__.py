"""Contrastive search for neural text generation, with and without SimCTG's training (arXiv 2210.14140, 2202.06417).

Of the k likeliest next tokens V_k the one is taken that is likely and whose hidden state is new:

    x_t   = argmax_{v in V_k} (1 - a) p(v | x_<t) - a max_{j<t} cos(h_v, h_j)
    L_CL  = mean over i != j of max(0, rho - cos(h_i, h_i) + cos(h_i, h_j))        SimCTG: L = L_MLE + L_CL

h being last hidden states. SimCTG (2202.06417) trains them apart so that the search has something to choose by;
2210.14140 finds that models off the shelf are isotropic enough (GPT-2 small and medium are the exceptions), so that the
search is all that is needed: as diverse as people's text, and more coherent than sampling. It does not beat sampling at
MAUVE. rho = 0 is plain training, the baseline; `train: null` measures a model as it is.

    antiphon train contrastive_search data.source=folder data.options.folder=my.csv data.columns=[text]
    antiphon generate runs/contrastive_search-.../ "It began" --method contrastive

(`model=openai-community/gpt2` and any other of the hub; `joined=true` for texts too short for a beginning and its end.)

Texts are read one behind the other, in windows; measured are continuations of held-out beginnings, of equal lengths:
special tokens, of an end too, have no chance there.
The official code's settings: k = 5, a = 0.6 for English; rho = 0.5, lr 2e-5, 40,000 steps of 128 windows of 256 tokens.

differs: the model is SmolLM2-135M-Instruct, its weights of 4 bits each, not GPT-2 or OPT.
differs: SimCTG trains its last two layers for seconds on news (`tuned`), not all of GPT-2 for 40,000 steps.
differs: news in English with beginnings of 24 words and 48 tokens made, not WebText with 40 and 200 tokens.
differs: coherence is judged by SmolLM2 as it came, so by the same weights or nearly so; the paper's judge is OPT.
differs: typical sampling's mass is 0.2, as its own paper has it for stories (arXiv 2202.00666); what 2210.14140 took
  is not verified.
differs: 32 beginnings a seed, where the paper has a thousand; neither training makes the model more isotropic than
  it was, plain training makes it less so.
differs: no people were asked, and MAUVE is not measured; `embedder` gives a small likeness of it, "mauve-lite".
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from antiphon.data import sources
from antiphon.data.collate import Collate
from antiphon.data.pairs import Pairs, expand, splits
from antiphon.distributed import rank
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.evaluation.isotropy import isotropy_by_language, isotropy_of_texts
from antiphon.generation.decoding import Decoding, Method
from antiphon.generation.models import open_language_model
from antiphon.objectives.simctg import token_contrast_sums
from antiphon.recipes.contrastive_search.config import Config
from antiphon.recipes.contrastive_search.measuring import (
    LanguageModel,
    anchors,
    layers_drawn,
    made,
    methods_drawn,
    scores,
    texts_drawn,
    whole,
)
from antiphon.recipes.contrastive_search.texts import Ids, Passages, cut_to, last_layers, passages, scratch, windows
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper(
    "2210.14140",
    "Contrastive Search Is What You Need For Neural Text Generation",
    ("text",),
)


class SimCtg(ContrastiveLearner):
    """A language model with L_MLE + L_CL. A row's sums are its own; they are gathered so that processes share means.

    Args:
        model: a causal language model of `transformers`.
        margin: rho.
        tuned: how many last layers learn; None: the whole model.
    """

    def __init__(self, model: Any, margin: float, tuned: int | None = None) -> None:
        super().__init__()
        self.margin = margin
        self.whole = (model,)  # not a part of this module: checkpoints hold what is trained alone
        self.trained = model if tuned is None else last_layers(model, tuned)
        if tuned is not None:
            model.requires_grad_(False)
            self.trained.requires_grad_(True)

    def embed(self, batch: Batch) -> Views:
        """Sums of a window, and over how many tokens or pairs they run."""
        ids_BT, mask_BT = batch["ids"].values, batch["ids"].mask
        # what follows a window is padding, which it does not see: the causal mask alone is right
        said = self.whole[0].to(ids_BT.device)(input_ids=ids_BT, output_hidden_states=True, use_cache=False)
        each = cross_entropy(said.logits[:, :-1].flatten(0, 1).float(), ids_BT[:, 1:].flatten(), reduction="none")
        nats_BT = torch.where(mask_BT[:, 1:], each.view(len(ids_BT), -1), 0.0)
        pushed_B, pairs_B = token_contrast_sums(said.hidden_states[-1], mask_BT, margin=self.margin)
        tokens_B = mask_BT[:, 1:].sum(1)
        return {"nats": nats_BT.sum(1), "tokens": tokens_B.float(), "pushed": pushed_B, "pairs": pairs_B.float()}

    def losses(self, views: Views) -> dict[str, Tensor]:
        """Means over all tokens, and over all pairs, of the batch."""
        return {
            "mle": views["nats"].sum() / views["tokens"].sum().clamp(min=1),
            "contrast": views["pushed"].sum() / views["pairs"].sum().clamp(min=1),
        }


def run(cfg: Config, run: Run) -> Measures:
    """Train, save the model, continue held-out beginnings, and measure."""
    started = time.perf_counter()
    run.seed_all()
    data = splits(cfg.data, 0)  # one division for all seeds: their arms go on from one start
    column = expand(cfg.data.columns, data["train"].column_names)[0]
    texts = {name: [text for text in rows[column] if text] for name, rows in data.items()}
    speaker = _started(cfg, run, texts["train"])
    asked = passages(
        texts[cfg.split], prefix=cfg.prefix, after=cfg.decoding.max_tokens, count=cfg.passages, joined=cfg.joined,
        seed=run.seed,
    )  # fmt: skip
    asked = Passages(asked.prefixes, cut_to(speaker[1], asked.human, cfg.decoding.max_tokens))
    before = isotropy_of_texts(*speaker, whole(asked))[-1] if cfg.train is not None else None
    if cfg.train is not None:
        run.seed_all()
        _fit(cfg, run, speaker, texts["train"], SimCtg(speaker[0], cfg.rho, cfg.tuned), cfg.train)
        _save(run, speaker)
    measures: Measures = {"seconds/training": time.perf_counter() - started}
    judge = speaker if cfg.judge is None else open_language_model(cfg.judge)
    levels = _anchors(cfg, run, speaker, asked, judge)
    found = {f"{cfg.split}/{name}": value for name, value in levels.items()}
    found[f"{cfg.split}/start/isotropy"] = levels["isotropy"] if before is None else before
    rows: dict[str, Measures] = {}
    for method in dict.fromkeys((cfg.decoding.method, *cfg.compared)):
        said = made(speaker, asked.prefixes, _decoding(cfg, method), run.seed)
        rows[method] = scores(said, asked, judge, cfg.embedder)
        own = method == cfg.decoding.method
        found |= {f"{cfg.split}/{name if own else f'{method}/{name}'}": each for name, each in rows[method].items()}
        if own:
            run.picture("continuations", *texts_drawn(asked, said, method))
    human = {name.removeprefix("human/"): value for name, value in levels.items() if name.startswith("human/")}
    run.picture("decoders", *methods_drawn(rows | {"people": human}))
    by_text = {"prose": _layers(levels)} | _languages(cfg, run, speaker)
    found |= {f"isotropy/{name}": layers[-1] for name, layers in by_text.items()}
    run.picture("isotropy", *layers_drawn(by_text))
    return run.finish(measures | found | {"seconds/total": time.perf_counter() - started})


def _decoding(cfg: Config, method: Method) -> Decoding:
    own = cfg.decoding.but(method=method)
    return own.but(mass=cfg.typical) if method == "typical" else own


def _started(cfg: Config, run: Run, texts: list[str]) -> LanguageModel:
    """The model, trained as far as all arms and seeds share."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the start is one for all seeds
        speaker = (
            scratch(texts, **cfg.scratch.model_dump()) if cfg.model == "scratch" else open_language_model(cfg.model)
        )
    if cfg.start is not None:
        shared = run.part("start", cfg.only("data", "model", "scratch", "window", "start"), seed=0)
        _fit(cfg, shared, speaker, texts, SimCtg(speaker[0], 0.0), cfg.start)
    return speaker


def _fit(cfg: Config, run: Run, speaker: LanguageModel, texts: list[str], learner: SimCtg, train: Train) -> None:
    fit(learner, windows(speaker[1], texts, cfg.window), train, run, collate=Collate({"ids": Ids()}, seed=run.seed))
    speaker[0].eval()


def _save(run: Run, speaker: LanguageModel) -> None:
    """Keep model and tokenizer as `transformers` does, in `model/`."""
    if rank() == 0:
        for part in speaker:
            part.save_pretrained(run.folder / "model")


def _anchors(cfg: Config, run: Run, speaker: LanguageModel, asked: Passages, judge: LanguageModel) -> Measures:
    """What arms that differ in how they continue share is measured once."""
    same = cfg.but(decoding=Decoding(max_tokens=cfg.decoding.max_tokens), compared=(), embedder=None, languages=())
    return run.part("anchors", same).once(lambda: anchors(speaker, asked, judge))


def _languages(cfg: Config, run: Run, speaker: LanguageModel, *, most: int = 24) -> dict[str, list[float]]:
    """Isotropy by layer on sentences of other languages."""
    if not cfg.languages:
        return {}

    def measured() -> Measures:
        rows = sources.load("tatoeba", languages=cfg.languages)
        told = {code: [text for text in rows[f"text_{code}"] if text][:most] for code in cfg.languages}
        layers = isotropy_by_language(*speaker, told)
        return {f"{code}/{at:02}": one for code, line in layers.items() for at, one in enumerate(line)}

    same = cfg.only("data", "model", "scratch", "window", "start", "tuned", "train", "rho", "languages")
    kept = run.part("languages", same, seed=0 if cfg.train is None else run.seed).once(measured)
    return {code: [kept[name] for name in sorted(kept) if name.startswith(f"{code}/")] for code in cfg.languages}


def _layers(levels: Measures) -> list[float]:
    return [levels[name] for name in sorted(levels) if name.startswith("isotropy/layer")]


def tiny() -> Config:
    """Seconds: names of coloured shapes, read byte by byte."""
    return Config(
        data=Pairs(source="made", columns=("text",), split_by="id", limit=192),
        model="scratch-tiny",
        window=32,
        start=Train(steps=4, batch_size=16, lr=3e-3, log_every=4),
        train=Train(steps=24, batch_size=16, lr=3e-3, save_every=4, log_every=1),
        decoding=Decoding(method="contrastive", candidates=4, max_tokens=24),
        compared=("greedy",),
        prefix=4,
        passages=3,
        joined=True,
    )


def laptop() -> Config:
    """The claims' setting: SmolLM2 on news, as it came or with its last two layers tuned, judged as it came."""
    return Config(
        data=Pairs(source="prose", columns=("text",), split_by="id", options={"sets": ["news"]}),
        model="smollm2-135m-instruct",
        window=48,
        tuned=2,
        train=Train(steps=6, batch_size=8, lr=5e-4, save_every=1000, log_every=1),
        passages=32,
        judge="smollm2-135m-instruct",
    )


def paper() -> Config:
    """SimCTG's published setting, with 2210.14140's way to continue; not run here."""
    return Config(
        data=Pairs(source="hub", columns=("text",), split_by="id"),
        model="openai-community/gpt2",
        window=256,
        train=Train(steps=40_000, batch_size=128, lr=2e-5),
        decoding=Decoding(method="contrastive", candidates=5, penalty=0.6, max_tokens=200),
        compared=("greedy", "beam", "nucleus", "typical", "diverse"),
        prefix=32,  # differs: beginnings are counted in words, 40 tokens in the paper
        passages=1000,
        judge="facebook/opt-2.7b",
    )


_SHELF: dict[str, Any] = {"train": None, "judge": None, "languages": ("deu", "fra", "tur", "hin", "jpn")}
"""The model as it came, which is its own judge then."""


def _shelf(text: str, other: Method, metric: str, floor: str) -> Claim:
    better = Arm(**_SHELF, decoding__method="contrastive")
    return Claim(text, better=better, worse=Arm(**_SHELF, decoding__method=other), metric=metric, floor=floor)


def _trained(text: str, metric: str, floor: str) -> Claim:
    return Claim(text, better=Arm(rho=0.5), worse=Arm(rho=0.0), metric=metric, floor=floor)


CLAIMS = [
    _shelf(
        "Off the shelf, a language model continues news more diversely by contrastive than by greedy search.",
        "greedy", "test/diversity", "test/looped/diversity",
    ),
    _shelf(
        "Off the shelf, it does so more coherently by contrastive search than by nucleus sampling, judged by itself.",
        "nucleus", "test/coherence", "test/dealt/coherence",
    ),
    _shelf(
        "Off the shelf, it does so more diversely by contrastive than by beam search.",
        "beam", "test/diversity", "test/looped/diversity",
    ),
    _shelf(
        "Off the shelf, it does so more coherently by contrastive search than by typical sampling, judged by itself.",
        "typical", "test/coherence", "test/dealt/coherence",
    ),
    # The floor is the model before training: neither loss makes it more isotropic than that.
    _trained(
        "SimCTG's loss makes a language model more isotropic than plain training does.",
        "test/isotropy", "test/start/isotropy",
    ),
    _trained(
        "Contrastive search is more diverse after SimCTG's training than after plain training (arXiv 2202.06417).",
        "test/diversity", "test/looped/diversity",
    ),
]  # fmt: skip
