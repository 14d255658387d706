"""Our objectives against those of transformers and sentence-transformers, on the same tensors."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from antiphon.objectives.contrast import contrast, symmetric_contrast
from antiphon.objectives.negatives import false_negative_mask, off_diagonal
from antiphon.objectives.sigmoid import sigmoid_contrast
from antiphon.objectives.triplet import triplet


def unit(rows: int, seed: int) -> torch.Tensor:
    return normalize(torch.randn(rows, 16, generator=torch.Generator().manual_seed(seed)), dim=1)


@pytest.fixture(scope="module")
def losses():
    return pytest.importorskip("sentence_transformers.sentence_transformer.losses")


class Given(nn.Module):
    """A model that hands back the vectors it is given."""

    def forward(self, features):
        return features


def test_clip_loss_of_transformers():
    from transformers.models.clip.modeling_clip import image_text_contrastive_loss

    scores = unit(9, 0) @ unit(9, 1).T / 0.07
    torch.testing.assert_close(symmetric_contrast(scores), image_text_contrastive_loss(scores))


def test_siglip_loss_of_transformers():
    from transformers import SiglipConfig, SiglipModel

    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = SiglipConfig(
        text_config={**small, "vocab_size": 11, "max_position_embeddings": 8, "projection_size": 16},
        vision_config={**small, "image_size": 8, "patch_size": 4},
    )
    torch.manual_seed(0)  # transformers draws its random weights from the global generator
    model = SiglipModel(config).eval()
    pixels = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        theirs = model(input_ids=torch.arange(6).reshape(3, 2), pixel_values=pixels, return_loss=True)
    torch.testing.assert_close(sigmoid_contrast(theirs.logits_per_text), theirs.loss)


@pytest.mark.parametrize("hard", [0, 1])
def test_multiple_negatives_ranking(losses, hard):
    columns = [unit(7, seed) for seed in range(2 + hard)]
    theirs = losses.MultipleNegativesRankingLoss(Given(), scale=20.0).compute_loss_from_embeddings(columns, None)
    torch.testing.assert_close(contrast(columns[0] @ torch.cat(columns[1:]).T * 20), theirs)


def test_symmetric_multiple_negatives_ranking(losses):
    left, right = unit(7, 0), unit(7, 1)
    reference = losses.MultipleNegativesRankingLoss(
        Given(), scale=20.0, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
    )
    theirs = reference.compute_loss_from_embeddings([left, right], None)
    torch.testing.assert_close(symmetric_contrast(left @ right.T * 20), theirs)


def test_gist_embed_formula():
    teacher, scores, margin = unit(9, 0) @ unit(9, 1).T, unit(9, 2) @ unit(9, 3).T, 0.1
    # GISTEmbedLoss, margin_strategy "absolute", without the other blocks; its forward wants two whole models.
    masked = scores.clone()
    masked[(teacher > teacher.diagonal()[:, None] - margin) & off_diagonal(9, 9)] = -torch.inf
    theirs = nn.functional.cross_entropy(masked / 0.05, torch.arange(9))
    torch.testing.assert_close(contrast(scores / 0.05, mask=false_negative_mask(teacher, margin=-margin)), theirs)


@pytest.mark.parametrize(
    ("name", "mining", "margin"),
    [
        ("BatchHardTripletLoss", "hard", 0.3),
        ("BatchSemiHardTripletLoss", "semi-hard", 0.3),
        # Theirs averages over the triplets inside the margin, ours over all: so a margin that all are inside.
        ("BatchAllTripletLoss", "all", 5.0),
    ],
)
def test_triplet_losses(losses, name, mining, margin):
    vectors, labels = unit(12, 0), torch.arange(12) % 4
    distances = torch.cdist(vectors, vectors)
    same = labels[:, None] == labels[None, :]
    mask = off_diagonal(12, 12)
    ours = triplet(distances, same & mask, margin=margin, mining=mining, mask=mask)
    reference = getattr(losses, name)(Given(), distance_metric=lambda v: torch.cdist(v, v), margin=margin)
    torch.testing.assert_close(ours, reference.compute_loss_from_embeddings([vectors], labels))
