"""A primer's taxonomy of contrastive pre-training for text, as one recipe of free parts (arXiv 2102.12982).

Who should match whom is `pairing`, what is done to a text first is `view`, what else it is compared with is
`negatives`, and how is `loss`; every cell of the taxonomy is a config, and the published methods are these:

| published as | who matches whom | negatives | view | loss | words |
|---|---|---|---|---|---|
| SimCSE | input-input: two views of a text | batch | dropout alone | ranking | `pairing=texts view=none` |
| CLEAR | input-input | batch | deletion, span, reorder or synonyms | ranking | `pairing=texts view=span` |
| ESimCSE | input-input | queue | repetition | ranking | `pairing=texts view=repetition negatives=queue` |
| CERT | input-input | queue | any but its own | ranking | `pairing=texts view=reorder negatives=queue` |
| Quick-Thoughts, CONPONO | input-input: two columns | batch | dropout alone | ranking | `pairing=pair view=none` |
| SupCon fine-tuning | input-input: texts of one class | batch | deletion | ranking | `pairing=class` |
| CLESS, supervised | input-label: label's words | of others | deletion | binary | `pairing=label loss=binary` |
| CLESS, self-supervised | input-label: own words | of others | deletion | binary | `pairing=words loss=binary` |
| Ma and Collins | input-label | of others | deletion | corrected | `pairing=words loss=binary corrected=true` |
| ELECTRA | words: its own or replaced | unigram noise | none | binary | `pairing=tokens` |
| ELECTRIC | words | unigram noise | none | corrected | `pairing=tokens corrected=true` |
| DeCLUTR | input-input: spans of a document | batch | spans | ranking | `study=spans classes=null` |

Others are those of no paper: `negatives=hard` or `drawn`, `loss=triplet`, and so on.

With f = cosine / temperature, positives +, K keys, and p_k the chance that key k is drawn:

    ranking   -log e^{f+} / sum_k e^{f_k}                                   InfoNCE, ranking NCE
    binary    -log s(f+ + b) - sum_k log(1 - s(f_k + b)), b learned         negative sampling, binary NCE
    triplet   max(0, d(+) - d(k) + 0.2),  d = 1 - cosine                    semi-hard
    corrected f_k - log(K p_k) in the place of f_k                          Ma and Collins 2018

On texts of one's own with a column of classes, here `kind`, of a CSV; then new texts by names or by a few examples:

    antiphon train text_contrast pairing=label classes=kind data.source=folder data.options.folder=my.csv
    antiphon classify asked.csv --as text --examples known.csv --label kind --space runs/NAME/space

With `data.split_by=kind` the classes of dev and test are none of those of training, where there are many.

`study` says what a cell is looked at for, each in a file of its own: `classes` that training never saw; labels of a
long `tail`, many to a text (`tail.py`: labels as words against multi-hot, with or without pseudo-labels first);
how many `keys` each loss gains from (`keys.py`, `negatives=drawn`); what `views` do to sentences (`views.py`); and
whether `spans` of long documents make a good encoder (`spans.py`, DeCLUTR).

Label words and texts go through one encoder into one space, so that names of classes are found without a new head.
The primer has no experiments of its own; its figures come from the papers that it surveys.

differs: CLESS scores a pair by a network; here it is a cosine, so that zero-shot classification needs the space only.
differs: the encoder is a convolution over hashed words, for labels too, where CLESS averages a label's word vectors.
differs: in the long tail all labels of training are keys of every text, where CLESS draws some of other texts.
differs: spans (DeCLUTR) have 8 to 48 words, where the paper's have 32 to 512 tokens, and no start is pre-trained; the
    head keeps a linear map, where the paper has none.
differs: back-translation (CERT) needs translators that are not here; `view` has no slot for it, nor for words that a
    model fills in. CERT's queue holds keys of the encoder as it was, without a slower copy (its m = .999).
differs: CLESS hides a word from its text by a chance of its own (.5); here `view=deletion` does, at `rate`.
differs: synonyms and antonyms are WordNet's for a word's most frequent sense, and of lemmas only: "cars" has none.
"""

from __future__ import annotations

import time

from antiphon.data.pairs import Pairs
from antiphon.encoders.towers import Tower
from antiphon.evaluation.claims import Paper
from antiphon.evaluation.sts import scored_pairs
from antiphon.recipes.text_contrast.claims import CLAIMS
from antiphon.recipes.text_contrast.classes import of_classes
from antiphon.recipes.text_contrast.config import Config
from antiphon.recipes.text_contrast.keys import of_keys
from antiphon.recipes.text_contrast.learner import TextContrast
from antiphon.recipes.text_contrast.spans import of_spans
from antiphon.recipes.text_contrast.tail import of_labels
from antiphon.recipes.text_contrast.views import of_views
from antiphon.runs import Measures, Run
from antiphon.training.fit import Train

PAPER = Paper(
    "2102.12982",
    "A Primer on Contrastive Pretraining in Language Processing: Methods, Lessons Learned",
    ("text",),
)

__all__ = ["CLAIMS", "PAPER", "Config", "TextContrast", "laptop", "paper", "run", "tiny"]

STUDIES = {"classes": of_classes, "tail": of_labels, "keys": of_keys, "views": of_views, "spans": of_spans}


def run(cfg: Config, run: Run) -> Measures:
    """Train and measure, as the study says."""
    started = time.perf_counter()
    run.seed_all()
    measures = STUDIES[cfg.study](cfg, run)
    return run.finish({**measures, "seconds/total": time.perf_counter() - started})


def tiny() -> Config:
    """Seconds: the names of generated shapes, asked for their words."""
    return Config(
        data=Pairs(source="made", columns=("text",), limit=480),
        classes="colour",
        text=Tower(encoder="scratch-tiny-words"),
        labels=1,
        common=0,
        rates=(0.2,),
        anchors=1,
        shortest=1,
        longest=1,
        probes=(Pairs(source="made", columns=("text",), limit=240),) * 2,
        probed="colour",
        dev=(scored_pairs("made", "dev"),),
        asked=(scored_pairs("made", "test"),),
        width=32,
        train=Train(steps=40, batch_size=32, lr=1e-2, save_every=10, log_every=1),
    )


def laptop() -> Config:
    """The claims' setting: CLINC150; the intents of dev and test are none of those that training sees."""
    return Config(reference="all-MiniLM-L6-v2", train=Train(steps=200, batch_size=128, lr=1e-3))


def paper() -> Config:
    """CLESS at its largest, as near as is known: batch, and pseudo-labels a text; not run here."""
    return Config(
        data=Pairs(source="shards", columns=("text",)),
        classes=None,
        text=Tower(encoder="scratch-base-words"),
        loss="binary",
        train=Train(steps=100_000, batch_size=1024, lr=1e-3),
    )
