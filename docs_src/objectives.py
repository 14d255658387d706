"""One loss, many methods: who should match whom is a matrix of targets."""

import torch

from antiphon import contrast, symmetric_contrast
from antiphon.objectives.targets import by_similarity, same_label

torch.manual_seed(0)
images, texts = (torch.nn.functional.normalize(torch.randn(4, 8), dim=1) for _ in range(2))
scores = images @ texts.T / 0.07  # cosine over temperature

clip = symmetric_contrast(scores)  # row i matches column i: InfoNCE in both directions
supervised = contrast(scores, same_label(torch.tensor([0, 0, 1, 2])))  # rows with one label match each other
soft = contrast(scores, by_similarity(texts))  # as much as the texts are alike
print(f"{clip:.3f} {supervised:.3f} {soft:.3f}")
