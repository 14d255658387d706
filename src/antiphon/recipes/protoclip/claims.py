"""ProtoCLIP's claims: prototypes against CLIP, with and without what else keeps it from learning rows by heart."""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim

_BARE = {"augment": False, "towers__image__head__dropout": 0.0, "towers__text__head__dropout": 0.0}
_PROTO, _CLIP = Arm(prototypes="translated"), Arm(prototypes="none")
_BARE_PROTO, _BARE_CLIP = Arm(_PROTO | _BARE), Arm(_CLIP | _BARE)
_MASKED_PROTO, _MASKED_CLIP = Arm(_PROTO, masked=True), Arm(_CLIP, masked=True)


def _claim(text: str, better: Arm, worse: Arm, metric: str = "probe", floor: str = "probe majority") -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"test/{floor}")


# CLIP has the same changed pictures, dropout, further heads (idle), last stage and steps. On dev (one seed, more steps)
# prototypes gained without changed pictures and dropout and no more with dropout, so both are measured.
CLAIMS = [
    _claim("Prototypes beat CLIP of the same augmentation and steps at linear classification.", _PROTO, _CLIP),
    _claim(
        "Prototypes beat CLIP at zero-shot classification by the classes' names.",
        _PROTO, _CLIP, "zero_shot", "zero_shot majority",
    ),
    _claim(
        "Prototypes make clusters of pictures agree better with the classes than CLIP's do.",
        _PROTO, _CLIP, "AMI", "AMI of shuffled rows",
    ),
    _claim(
        "Prototypes beat CLIP at retrieval (the paper's do at batches of 64, not of 512).",
        _PROTO, _CLIP, "mean recall", "chance mean recall",
    ),
    _claim("Back-translated prototypes beat the centroids themselves.", _PROTO, Arm(prototypes="own")),
    _claim(
        "Clusters of a frozen text model beside the own ones beat the own ones alone.",
        Arm(prototypes="translated", teacher="all-MiniLM-L6-v2"), _PROTO,
    ),
    _claim("Without changed pictures and dropout prototypes beat CLIP.", _BARE_PROTO, _BARE_CLIP),
    _claim(
        "Without changed pictures and dropout prototypes make clusters agree better with the classes than CLIP's do.",
        _BARE_PROTO, _BARE_CLIP, "AMI", "AMI of shuffled rows",
    ),
    _claim("CLIP with changed pictures and dropout beats prototypes without.", _CLIP, _BARE_PROTO),
    _claim(
        "Exploratory, added when the others had been read: with the words of the classes' names taken out of the "
        "captions prototypes beat CLIP at zero-shot classification.",
        _MASKED_PROTO, _MASKED_CLIP, "zero_shot", "zero_shot majority",
    ),
    _claim(
        "Exploratory, likewise: zero-shot classification lives on those words; without them in the captions prototypes "
        "do worse.",
        _PROTO, _MASKED_PROTO, "zero_shot", "zero_shot majority",
    ),
]  # fmt: skip
