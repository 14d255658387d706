"""X-CLIP's claims: what each part of the tower is worth, on moving stamps, on real video and on UCF101's frames."""

from __future__ import annotations

from antiphon.evaluation.claims import Arm, Claim

_WHOLE, _PLAIN = Arm(), Arm(prompts=0)
_MESSAGES, _MEAN = Arm(prompts=0, integrate=0), Arm(prompts=0, integrate=0, cross=False)
_FEW = {"shots": 4, "train__steps": 100}
_ONE = Arm(_MEAN, one_frame=True)
_UCF = {"data__source": "ucf101", "data__split_by": "group", "novel": "part", "captions": "text", "frames": 8,
        "text__head__map": "learned"}  # fmt: skip
_REGRESSION = Arm(_UCF, classifier="regression")
_REAL = {"data__source": "actions", "data__split_by": "recording", "captions": "text", "held_out": 0.0,
         "text__head__map": "learned"}  # fmt: skip


def _claim(text: str, better: Arm, worse: Arm, metric: str, floor: str) -> Claim:
    return Claim(text, better=better, worse=worse, metric=f"test/{metric}", floor=f"test/{floor}")


# Every arm on the same rows starts from the same start and takes as many steps. A motion and its reverse have the same
# frames, so that one frame drawn by chance cannot tell them apart (`order` is a half, but for noise): what that arm is
# asked is top-1. Without blocks over time no order of the frames changes anything.
CLAIMS = [
    _claim("X-CLIP beats the mean of frames at recognising seen classes in new videos.",
           _WHOLE, _MEAN, "top-1", "chance"),
    _claim(
        "Blocks over time tell a motion from its reverse, messages between frames alone cannot.",
        _PLAIN, _MESSAGES, "order", "order/chance",
    ),
    _claim(
        "Messages between frames beat the mean of frames alone at recognising seen classes.",
        _MESSAGES, _MEAN, "top-1", "chance",
    ),
    _claim(
        "Texts that see the video beat plain ones at classes that were held out (zero-shot).",
        _WHOLE, _PLAIN, "unseen/top-1", "unseen/chance",
    ),
    _claim(
        "With four videos of a class X-CLIP beats the mean of frames (few-shot).",
        Arm(**_FEW), Arm(_MEAN, **_FEW), "top-1", "chance",
    ),
    _claim(
        "On real video X-CLIP beats the mean of frames at telling standing up from sitting down.",
        Arm(**_REAL), Arm(_MEAN, **_REAL), "order/balanced", "order/chance",
    ),
    _claim(
        "On frames of UCF101 X-CLIP beats the mean of frames at ten actions (all training videos).",
        Arm(_UCF), Arm(_MEAN, **_UCF), "top-1", "chance",
    ),
    _claim(
        "On frames of UCF101 X-CLIP beats the mean of frames at ten actions (four videos of each).",
        Arm(_UCF, **_FEW), Arm(_MEAN, **_UCF, **_FEW), "top-1", "chance",
    ),
    _claim(
        "On frames of UCF101 texts that see the video beat plain ones at five actions never shown, told apart by their "
        "names (trained on ten others).",
        Arm(_UCF), Arm(_PLAIN, **_UCF), "unseen/top-1", "unseen/chance",
    ),
    _claim(
        "On frames of UCF101 X-CLIP beats logistic regression on the mean of frames (all training videos).",
        Arm(_UCF), _REGRESSION, "top-1", "chance",
    ),
    _claim(
        "On frames of UCF101 X-CLIP beats logistic regression on the mean of frames (four videos of each action).",
        Arm(_UCF, **_FEW), Arm(_REGRESSION, shots=4), "top-1", "chance",
    ),
    _claim(
        "Exploratory, added when the others had been read: the mean of six frames beats one frame, drawn by chance, at "
        "recognising seen classes.",
        _MEAN, _ONE, "top-1", "chance",
    ),
    _claim(
        "Exploratory, likewise: blocks over time need the frames in their order; shuffling those of the test videos "
        "costs them accuracy, and the mean of frames none.",
        _PLAIN, _MEAN, "lost by shuffling", "lost by shuffling/chance",
    ),
]  # fmt: skip
