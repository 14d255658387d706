"""CCP's claims: context against shuffled order, the guards against their absence, and calibration.

Under the asymmetric norm a key does not hang on its batch, so its gap is 0 by construction, trained or not: what can be
lost are the claims of how far training widens the symmetric one's, and of what is left in held-out pairs.
"""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str, *, higher: bool = True) -> Claim:
    return Claim(
        text, better=better, worse=worse, metric=f"test/{metric}", floor=f"{floor}/test/{metric}", higher=higher
    )


_CONTEXT, _SHUFFLED = Arm(order="document"), Arm(order="shuffled")
_OWN, _SHARED = Arm(bank="language"), Arm(bank="shared")
_BATCH = Arm(bank="batch")
_SLOW, _OF_THE_QUERY = Arm(momentum=0.95), Arm(momentum=0.0)
_ASYMMETRIC, _SYMMETRIC = Arm(norm="asymmetric"), Arm(norm="symmetric")
_LAYER, _NO_NORM = Arm(norm="layer"), Arm(norm="none")
_CENTRED, _RAW = Arm(calibration="centre"), Arm(calibration="none")

CLAIMS = [
    _claim(
        "Context prediction without bilingual data finds translations in held-out documents better than the same "
        "training with the order of the sentences shuffled.",
        _CONTEXT, _SHUFFLED, "accuracy", "random",
    ),
    _claim(
        "The same on sentences of another kind (Tatoeba): the paper's benchmark.",
        _CONTEXT, _SHUFFLED, "outside/accuracy", "tfidf",
    ),
    _claim("The same between languages other than English.", _CONTEXT, _SHUFFLED, "others", "tfidf"),
    _claim(
        "The same at finding a sentence's neighbours among those of its language, which is what is trained.",
        _CONTEXT, _SHUFFLED, "neighbours", "random",
    ),
    _claim(
        "With a bank for each language a linear probe tells languages apart less well than with one bank that holds "
        "the same keys of all.",
        _OWN, _SHARED, "language_probe", "random", higher=False,
    ),
    _claim(
        "The same of Tatoeba's sentences.", _OWN, _SHARED, "outside/language_probe", "random", higher=False,
    ),
    _claim(
        "A bank for each language finds translations better than one bank that holds the same keys of all.",
        _OWN, _SHARED, "accuracy", "random",
    ),
    _claim(
        "A bank for each language keeps a higher effective rank than one bank that holds the same keys of all.",
        _OWN, _SHARED, "effective_rank", "random",
    ),
    _claim(
        "A bank for each language finds translations better than no bank, the batch's own keys being the negatives.",
        _OWN, _BATCH, "accuracy", "random",
    ),
    _claim(
        "Without a bank the space collapses, the paper says: a bank for each language keeps a higher effective rank "
        "than none.",
        _OWN, _BATCH, "effective_rank", "random",
    ),
    _claim(
        "The same by the mean cosine of different sentences: it is lower with a bank for each language than with none.",
        _OWN, _BATCH, "mean_cosine", "random", higher=False,
    ),
    _claim(
        "With a bank for each language a linear probe tells languages apart less well than with none.",
        _OWN, _BATCH, "language_probe", "random", higher=False,
    ),
    _claim(
        "The guard that holds off collapse here, which the paper does not tell of: keys from a slow copy of the "
        "encoder keep a higher effective rank than keys of the encoder itself.",
        _SLOW, _OF_THE_QUERY, "effective_rank", "random",
    ),
    _claim(
        "Keys from a slow copy of the encoder find translations better than keys of the encoder itself.",
        _SLOW, _OF_THE_QUERY, "accuracy", "random",
    ),
    _claim(
        "Training teaches symmetric batch norm to leak: the gap between keys normalised with their query and apart, on "
        "held-out pairs, rises over that of the untrained encoder, while under the asymmetric norm it is 0 by "
        "construction.",
        _ASYMMETRIC, _SYMMETRIC, "leak/rise", "random", higher=False,
    ),
    _claim(
        "Asymmetric batch norm overstates less than symmetric: the accuracy of the contrast on training pairs, in "
        "batches as in training, over that on as many held-out pairs with queries and keys normalised apart.",
        _ASYMMETRIC, _SYMMETRIC, "leak/spread", "random", higher=False,
    ),
    _claim(
        "Held-out contrast, queries and keys normalised apart: asymmetric batch norm is more accurate than symmetric.",
        _ASYMMETRIC, _SYMMETRIC, "leak/apart", "random",
    ),
    _claim(
        "The same against layer norm, which cannot leak.", _ASYMMETRIC, _LAYER, "leak/apart", "random",
    ),
    _claim("The same against no norm, which cannot leak.", _ASYMMETRIC, _NO_NORM, "leak/apart", "random"),
    _claim(
        "Asymmetric batch norm finds neighbours better than symmetric.",
        _ASYMMETRIC, _SYMMETRIC, "neighbours", "random",
    ),
    _claim(
        "Centring each language by its training texts finds translations better than the vectors as they are.",
        _CENTRED, _RAW, "accuracy", "tfidf",
    ),
    _claim("The same on sentences of another kind (Tatoeba).", _CENTRED, _RAW, "outside/accuracy", "tfidf"),
]  # fmt: skip
