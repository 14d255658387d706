"""CLIP: two or more towers, symmetric contrast between every pair of columns, a learned temperature (arXiv 2103.00020).

The baseline of all cross-modal recipes. Towers are `locked` (pretrained, frozen, their features computed once; LiT, arXiv
2111.07991, with both sides locked), `tuned` (pretrained and trained) or from `scratch`. Rows of one label are
positives of each other (SupCon targets): the same caption stands under several pictures.

Loss for columns a, b with unit views: `contrast(scale * a @ b.T)`, both directions (figure 3 of the paper).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from antiphon.config import Config as Settings
from antiphon.data.collate import by_column
from antiphon.data.pairs import Pairs, Splits, expand, signal_of, splits
from antiphon.encoders import Encoder
from antiphon.encoders.features import FeatureCache, Features, encode_once
from antiphon.encoders.heads import Head, HeadConfig
from antiphon.encoders.open import open_encoder
from antiphon.encoders.space import Branch, Space
from antiphon.evaluation.claims import Arm, Claim, Paper
from antiphon.objectives.contrast import Scale, symmetric_contrast
from antiphon.objectives.targets import same_label
from antiphon.runs import Measures, Run
from antiphon.training.fit import Every, Moment, Train, fit
from antiphon.training.learner import Batch, ContrastiveLearner
from antiphon.types import Views

PAPER = Paper("2103.00020", "Learning Transferable Visual Models From Natural Language Supervision")
