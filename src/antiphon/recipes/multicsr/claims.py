"""MultiCSR's claims: the stages, each against its absence, and what they are worth without the shortcut of negation.

Each seed draws its own four fifths of some 800 sentences, 643, about all of which something is written. Curation keeps
two fifths of them by arithmetic, about 257, so that "all three stages" are fewer triplets than a stage alone: where
arms are compared with as many, `most` draws 200 for each of the two. All arms take the same number of steps, in which
fewer triplets come round more often (200 steps of 64: about 50 times for 257, 20 for 643).
"""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim

_EQUAL = 200
_SIMCSE = Arm(written="none", curated="none", masked=False)
_PLAIN = Arm(written="plain", curated="none", masked=False)
_STAGE_1 = Arm(curated="none", masked=False)

CLAIMS = [
    Claim("Triplets of all three stages beat unsupervised SimCSE at similarity (the headline).", Arm(), _SIMCSE,
          "test/sts", "tfidf/test/sts"),
    Claim("Triplets that are written plainly, without a stage, beat unsupervised SimCSE.", _PLAIN, _SIMCSE,
          "test/sts", "tfidf/test/sts"),
    Claim("Those written contrastively, without another stage, beat unsupervised SimCSE.", _STAGE_1, _SIMCSE,
          "test/sts", "start/test/sts"),
    Claim("All three stages beat as many plainly written triplets (200 of each).", Arm(most=_EQUAL),
          Arm(most=_EQUAL, **_PLAIN), "test/sts", "tfidf/test/sts"),
    Claim("All three stages, which keep two fifths of the triplets, beat all plainly written ones.", Arm(), _PLAIN,
          "test/sts", "tfidf/test/sts"),
    Claim("Stage 1: contrastive writing beats plain writing.", _STAGE_1, _PLAIN, "test/sts", "tfidf/test/sts",
          pictured=("worse",)),
    Claim("Stage 1: of what is written to say the same, contrastive writing copies less than plain writing.", _STAGE_1,
          _PLAIN, "quality/copied", "random/quality/copied", higher=False),
    Claim("Stage 1: of what is written to contradict, contrastive writing copies less than plain writing.", _STAGE_1,
          _PLAIN, "quality/copied_contrary", "random/quality/copied_contrary", higher=False),
    Claim("Stage 1: what is written contrastively to say the same shares fewer words with its sentence (Jaccard); the "
          "floor is what it shares with another one.", _STAGE_1, _PLAIN, "quality/jaccard_same",
          "random/quality/jaccard_same", higher=False),
    Claim("Stage 2: curation by the model's scores beats as many triplets at random, both masked.", Arm(),
          Arm(curated="random"), "test/sts", "random/test/sts"),
    Claim("Stage 3: masking by a frozen encoder beats no mask.", Arm(), Arm(masked=False),
          "test/sts", "random/test/sts"),
    Claim("A mask that removes pairs beats the released code's form of the loss.", Arm(), Arm(loss="official"),
          "test/sts", "random/test/sts"),
    Claim("They put entailments above contradictions more often than SimCSE (SICK).", Arm(), _SIMCSE,
          "test/order", "jaccard/test/order"),
    Claim("Contrastive writing puts them so more often than plain writing.", _STAGE_1, _PLAIN,
          "test/order", "jaccard/test/order"),
    Claim("Without the shortcut of negation, all three stages put entailments above contradictions more often than "
          "SimCSE: of SICK's pairs with as many of no, not, nobody, nothing and n't on both sides.", Arm(), _SIMCSE,
          "test/order_balanced", "jaccard/test/order_balanced"),
    Claim("All three stages beat unsupervised SimCSE at similarity, of such pairs alone.", Arm(), _SIMCSE,
          "test/sts_balanced", "tfidf/test/sts_balanced"),
    Claim("Contrastive writing puts entailments above contradictions more often than plain writing, of such pairs "
          "alone.", _STAGE_1, _PLAIN, "test/order_balanced", "jaccard/test/order_balanced"),
]  # fmt: skip
