"""The tiled losses against the dense ones, in float64, over uneven tiles; and what only they have: memory, range."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck
from torch.nn.functional import normalize

from antiphon.objectives.contrast import contrast, symmetric_contrast
from antiphon.objectives.negatives import (
    debiased_contrast,
    duplicate_mask,
    false_negative_mask,
    hard_negative_columns,
    off_diagonal,
)
from antiphon.objectives.sigmoid import sigmoid_contrast
from antiphon.objectives.targets import by_similarity, has_positive, normalise_rows, pad_negatives, softened
from antiphon.objectives.tiled import contrast_tiled, sigmoid_tiled
from antiphon.objectives.tiles import (
    AllowedKeys,
    BySimilarity,
    NotDuplicate,
    NotNearer,
    OffDiagonal,
    SameLabel,
    Softened,
)

few = settings(max_examples=25, derandomize=True, deadline=None)
shapes = st.tuples(st.integers(1, 9), st.integers(0, 5), st.integers(1, 6), st.integers(0, 10_000))
WIDTH = 4


def made(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labelled(labels, others, drop=False):
    same = labels[:, None] == others[None]
    if drop:
        same = same & off_diagonal(*same.shape)
    return normalise_rows(same.double())


class Case:
    """Random inputs with gradients, and both losses of them held against each other."""

    def __init__(self, queries, extra, seed):
        self.queries, self.keys = made(queries, WIDTH, seed=seed), made(queries + extra, WIDTH, seed=seed + 1)
        self.scale, self.bias = torch.tensor(1.7).double(), torch.tensor(-0.6).double()
        self.weights = made(queries, seed=seed + 2).abs() + 0.1
        self.labels = torch.arange(queries) % 3
        self.key_labels = torch.arange(queries + extra) % 3
        self.teacher, self.key_teacher = made(queries, 3, seed=seed + 3), made(queries + extra, 3, seed=seed + 4)
        self.inputs = [self.queries, self.keys, self.scale, self.bias, self.weights]
        for tensor in self.inputs:
            tensor.requires_grad_()

    @property
    def scores(self):
        return self.scale * self.queries @ self.keys.T

    def agree(self, ours, dense, *more):
        assert ours.item() == pytest.approx(dense.item(), abs=1e-10)
        inputs = [*self.inputs, *more]
        found, wanted = (
            torch.autograd.grad(each, inputs, allow_unused=True, retain_graph=True) for each in (ours, dense)
        )
        for mine, theirs in zip(found, wanted, strict=True):
            if theirs is None or mine is None:
                assert all(each is None or (each == 0).all() for each in (mine, theirs))
            else:
                torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)

    def both(self, size, *, targets=None, dense_targets=None, masks=(), mask=None, weights=None):
        """Both directions, and one."""
        for symmetric, dense in ((True, symmetric_contrast), (False, contrast)):
            ours = contrast_tiled(
                self.queries, self.keys, scale=self.scale, targets=targets, masks=masks, weights=weights,
                symmetric=symmetric, tile=size,
            )  # fmt: skip
            self.agree(ours, dense(self.scores, dense_targets, mask=mask, weights=weights))


@few
@given(shapes, st.booleans())
def test_identity(shape, weighted):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    case.both(size, weights=case.weights if weighted else None)


@few
@given(shapes, st.booleans())
def test_labels(shape, weighted):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    dense = labelled(case.labels, case.key_labels)
    targets = SameLabel(case.labels, case.key_labels)
    case.both(size, targets=targets, dense_targets=dense, weights=case.weights if weighted else None)


@few
@given(shapes, st.booleans())
def test_teachers(shape, weighted):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    weights = case.weights if weighted else None
    dense = by_similarity(case.teacher, case.key_teacher)
    case.both(size, targets=BySimilarity(case.teacher, case.key_teacher), dense_targets=dense, weights=weights)
    dense = softened(case.teacher @ case.key_teacher.T, temperature=0.3)
    targets = Softened(case.teacher, case.key_teacher, temperature=0.3)
    case.both(size, targets=targets, dense_targets=dense, weights=weights)


@few
@given(shapes, st.floats(-0.5, 0.5))
def test_masks(shape, margin):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    mask = false_negative_mask(case.teacher @ case.key_teacher.T, margin=margin)
    case.both(size, masks=[NotNearer(case.teacher, case.key_teacher, margin=margin)], mask=mask)
    duplicates = duplicate_mask(case.labels, case.key_labels)
    pair = [NotDuplicate(case.labels, case.key_labels), NotNearer(case.teacher, case.key_teacher, margin=margin)]
    case.both(size, masks=pair, mask=mask & duplicates, weights=case.weights)


def test_supcon_of_one_view_drops_self_and_lonely_rows():
    case = Case(9, 0, 0)
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 3, 3, 0])
    dense = labelled(labels, labels, drop=True)
    weights = has_positive(dense).double()
    assert weights.tolist() == [1, 1, 0, 1, 1, 1, 1, 1, 1]
    case.both(
        4, targets=SameLabel(labels, drop_diagonal=True), dense_targets=dense, masks=[OffDiagonal()],
        mask=off_diagonal(9, 9), weights=weights,
    )  # fmt: skip


def test_empty_places_of_a_queue():
    case = Case(5, 4, 1)
    filled = torch.tensor([True] * 7 + [False] * 2)
    case.both(3, masks=[AllowedKeys(filled)], mask=filled.expand(5, 9))


@few
@given(shapes, st.integers(1, 3))
def test_hard_negatives(shape, hard):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    negatives = made(queries, hard, WIDTH, seed=seed + 5).requires_grad_()
    present = torch.rand(queries, hard, generator=torch.Generator().manual_seed(seed)) > 0.4
    raw, mask = hard_negative_columns(case.queries @ case.keys.T, case.queries, negatives, present=present)
    for targets, dense in (
        (None, None),
        (SameLabel(case.labels, case.key_labels), labelled(case.labels, case.key_labels)),
    ):
        padded = dense if dense is None else pad_negatives(dense, hard)
        ours = contrast_tiled(
            case.queries, case.keys, scale=case.scale, targets=targets, weights=case.weights, negatives=negatives,
            present=present, tile=size,
        )  # fmt: skip
        case.agree(ours, symmetric_contrast(case.scale * raw, padded, mask=mask, weights=case.weights), negatives)


@few
@given(shapes, st.floats(0.01, 0.9), st.booleans())
def test_debiased(shape, prior, masked):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    masks = [NotDuplicate(case.labels, case.key_labels)] if masked else []
    mask = duplicate_mask(case.labels, case.key_labels) if masked else None
    left, right = normalize(case.queries, dim=1), normalize(case.keys, dim=1)
    scores = case.scale * left @ right.T
    shared = {"prior": prior, "lowest": -case.scale, "weights": case.weights}
    dense = debiased_contrast(scores, mask=mask, **shared)
    back = debiased_contrast(scores[:, :queries].T, mask=None if mask is None else mask[:, :queries].T, **shared)
    for symmetric, wanted in ((False, dense), (True, (dense + back) / 2)):
        ours = contrast_tiled(
            left, right, scale=case.scale, masks=masks, weights=case.weights, prior=prior, symmetric=symmetric,
            tile=size,
        )  # fmt: skip
        case.agree(ours, wanted)


@few
@given(shapes, st.booleans())
def test_sigmoid(shape, weighted):
    queries, extra, size, seed = shape
    case = Case(queries, extra, seed)
    weights = case.weights if weighted else None
    plain = sigmoid_tiled(case.queries, case.keys, scale=case.scale, bias=case.bias, weights=weights, tile=size)
    case.agree(plain, sigmoid_contrast(case.scores, bias=case.bias, weights=weights))
    same = case.labels[:, None] == case.key_labels[None]
    mask = false_negative_mask(case.teacher @ case.key_teacher.T) | same
    ours = sigmoid_tiled(
        case.queries, case.keys, scale=case.scale, bias=case.bias, positives=SameLabel(case.labels, case.key_labels),
        weights=weights, tile=size,
    )  # fmt: skip
    case.agree(ours, sigmoid_contrast(case.scores, same, bias=case.bias, weights=weights))
    ours = sigmoid_tiled(
        case.queries, case.keys, scale=case.scale, bias=case.bias, weights=weights, tile=size,
        masks=[NotNearer(case.teacher, case.key_teacher)],
    )  # fmt: skip
    mask = false_negative_mask(case.teacher @ case.key_teacher.T)
    case.agree(ours, sigmoid_contrast(case.scores, bias=case.bias, mask=mask, weights=weights))


def test_a_row_of_weight_zero_has_no_say():
    weights = torch.tensor([1.0, 0.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    case = Case(5, 2, 3)
    case.inputs.pop()
    case.both(2, weights=weights)
    targets = labelled(case.labels, case.key_labels)
    case.both(2, targets=SameLabel(case.labels, case.key_labels), dense_targets=targets, weights=weights)
    ours = sigmoid_tiled(case.queries, case.keys, scale=case.scale, weights=weights, tile=2)
    case.agree(ours, sigmoid_contrast(case.scores, weights=weights))


@pytest.mark.parametrize("loss", [contrast_tiled, sigmoid_tiled])
def test_nan_in_a_row_of_weight_zero_reaches_nothing(loss):
    queries, keys, weights = made(4, 3), made(4, 3, seed=1), torch.tensor([1.0, 0.0, 1.0, 1.0])
    one_way = {"symmetric": False} if loss is contrast_tiled else {}
    clean = loss(queries, keys, weights=weights, **one_way)
    queries[1] = math.nan
    queries.requires_grad_()
    keys.requires_grad_()
    found = loss(queries, keys, weights=weights, tile=2, **one_way)
    found.backward()
    assert found.item() == pytest.approx(clean.item(), abs=1e-12)
    assert (queries.grad[1] == 0).all()
    assert keys.grad.isfinite().all()


@pytest.mark.parametrize("loss", [contrast_tiled, sigmoid_tiled])
def test_all_weights_zero_gives_zero_with_a_graph(loss):
    queries, keys = made(3, 2).requires_grad_(), made(3, 2, seed=1).requires_grad_()
    found = loss(queries, keys, weights=torch.zeros(3))
    found.backward()
    assert found == 0
    assert (queries.grad == 0).all()
    assert (keys.grad == 0).all()


def test_gradcheck():
    case = Case(4, 2, 0)
    targets = SameLabel(case.labels, case.key_labels)

    def soft(queries, keys, scale, weights):
        return contrast_tiled(queries, keys, scale=scale, weights=weights, targets=targets, tile=3)

    def hard(queries, keys, scale, weights):
        return contrast_tiled(queries, keys, scale=scale, weights=weights, tile=3)

    def sigmoid(queries, keys, scale, bias, weights):
        return sigmoid_tiled(queries, keys, scale=scale, bias=bias, weights=weights, tile=3)

    assert gradcheck(soft, (case.queries, case.keys, case.scale, case.weights))
    assert gradcheck(hard, (case.queries, case.keys, case.scale, case.weights))
    assert gradcheck(sigmoid, (case.queries, case.keys, case.scale, case.bias, case.weights))


@pytest.mark.parametrize("frozen", ["queries", "keys"])
def test_a_frozen_side_gets_no_gradient_and_costs_none(frozen):
    case = Case(5, 0, 0)
    side = getattr(case, frozen)
    detached = {"queries": case.queries, "keys": case.keys, frozen: side.detach()}
    for loss in (contrast_tiled, sigmoid_tiled):
        case.agree(
            loss(detached["queries"], detached["keys"], scale=2.0, tile=2),
            (symmetric_contrast if loss is contrast_tiled else sigmoid_contrast)(
                2.0 * detached["queries"] @ detached["keys"].T
            ),
        )


def test_no_gradient_is_taken_where_none_is_wanted(monkeypatch):
    from antiphon.objectives import sweeps

    monkeypatch.setattr(sweeps, "_add_product", lambda *tensors: pytest.fail("a gradient was taken"))
    vectors = made(5, 3).requires_grad_()
    with torch.no_grad():
        assert sigmoid_tiled(vectors, vectors) > 0
        assert contrast_tiled(vectors, vectors) > 0


class TestRange:
    """One reference for all tiles is exact only within the range of the format: beyond, each row takes its own."""

    def far_apart(self, dtype):
        """Scores from -4e4 to 4e4; most rows and columns lie hundreds below the highest."""
        return (made(30, WIDTH) * 60).to(dtype).requires_grad_(), (made(33, WIDTH, seed=1) * 60).to(
            dtype
        ).requires_grad_()

    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
    def test_rows_far_apart(self, dtype, tolerance):
        queries, keys = self.far_apart(dtype)
        loss = contrast_tiled(queries, keys, tile=8)
        found = torch.autograd.grad(loss, (queries, keys))
        exact = [view.detach().double().requires_grad_() for view in (queries, keys)]
        wanted = symmetric_contrast(exact[0] @ exact[1].T)
        assert loss.item() == pytest.approx(wanted.item(), rel=tolerance)
        for mine, theirs in zip(found, torch.autograd.grad(wanted, exact), strict=True):
            torch.testing.assert_close(mine.double(), theirs, rtol=tolerance, atol=tolerance)

    @pytest.mark.parametrize("kind", ["opposed", "one lonely row", "equal", "one against all"])
    def test_cosines_at_the_lowest_temperature(self, kind):
        queries, keys = normalize(made(40, WIDTH), dim=1), normalize(made(40, WIDTH, seed=1), dim=1)
        if kind == "opposed":
            keys = -queries
        elif kind == "one lonely row":  # its best key is 100 + 99 below the best of the others
            keys = normalize(queries[1:2] + 0.01 * keys, dim=1)
            queries = keys.clone()
            queries[0] = -queries[0]
        elif kind == "equal":
            keys = queries = queries[:1].expand(40, -1)
        else:
            queries = queries.clone()
            queries[3] = -queries[4]
            keys = queries.clone()
        views = [view.float().clone().requires_grad_() for view in (queries, keys)]
        exact = [view.detach().double().requires_grad_() for view in views]
        loss, wanted = contrast_tiled(*views, scale=100.0, tile=16), symmetric_contrast(100 * exact[0] @ exact[1].T)
        assert loss.item() == pytest.approx(wanted.item(), rel=2e-5, abs=1e-5)
        grads = zip(torch.autograd.grad(loss, views), torch.autograd.grad(wanted, exact), strict=True)
        for mine, theirs in grads:
            torch.testing.assert_close(mine.double(), theirs, rtol=1e-3, atol=2e-5)

    def test_both_forms_of_a_softmax_agree(self, monkeypatch):
        from antiphon.objectives import sweeps

        case = Case(9, 3, 0)
        quick = contrast_tiled(case.queries, case.keys, scale=case.scale, weights=case.weights, tile=4)
        wanted = torch.autograd.grad(quick, case.inputs, allow_unused=True)
        calls = []
        careful = sweeps._Block._careful
        monkeypatch.setattr(sweeps._Block, "_careful", lambda self, *args: (calls.append(1), careful(self, *args)))
        create = sweeps._Block.__init__

        def no_range(self, *args):
            create(self, *args)
            self.depth = -700.0  # no sum is as large

        monkeypatch.setattr(sweeps._Block, "__init__", no_range)
        slow = contrast_tiled(case.queries, case.keys, scale=case.scale, weights=case.weights, tile=4)
        assert slow.item() == pytest.approx(quick.item(), abs=1e-12)
        found = torch.autograd.grad(slow, case.inputs, allow_unused=True)
        assert calls
        for mine, theirs in zip(found, wanted, strict=True):
            if mine is not None:
                torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", [contrast_tiled, sigmoid_tiled])
def test_bfloat16_autocast_is_as_near_as_the_dense_loss(loss):
    """A score of bfloat16 is off by 2^-9 of itself, whoever sums it: 4 % of the gradient's norm are allowed."""
    left, right = (normalize(made(64, 32, seed=seed), dim=1) for seed in (0, 1))
    right = normalize(0.3 * left + right, dim=1)
    exact = [view.clone().requires_grad_() for view in (left, right)]
    dense = symmetric_contrast if loss is contrast_tiled else sigmoid_contrast
    wanted = dense(20 * exact[0] @ exact[1].T)
    views = [view.float().requires_grad_() for view in (left, right)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(*views, scale=20.0, tile=24)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(wanted.item(), rel=0.02)
    grads = zip(torch.autograd.grad(found, views), torch.autograd.grad(wanted, exact), strict=True)
    for mine, theirs in grads:
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() / theirs.norm() < 0.04


def test_half_precision_vectors_get_gradients_of_their_kind():
    views = [normalize(made(9, 8, seed=seed), dim=1).bfloat16().requires_grad_() for seed in (0, 1)]
    loss = contrast_tiled(*views, scale=10.0, tile=4)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(
        symmetric_contrast(10 * views[0].double() @ views[1].double().T).item(), rel=0.02
    )
    assert views[0].grad.dtype == torch.bfloat16


both_losses = pytest.mark.parametrize(
    ("loss", "dense"), [(contrast_tiled, contrast), (sigmoid_tiled, sigmoid_contrast)]
)


class TestErrors:
    def same_text(self, ours, dense):
        with pytest.raises(ValueError) as theirs:  # noqa: PT011  (the texts are compared)
            dense()
        with pytest.raises(ValueError) as mine:  # noqa: PT011
            ours()
        assert str(mine.value) == str(theirs.value)

    @both_losses
    def test_too_few_keys_and_none(self, loss, dense):
        self.same_text(lambda: loss(torch.ones(3, 2), torch.ones(2, 2)), lambda: dense(torch.ones(3, 2)))
        self.same_text(lambda: loss(torch.ones(0, 2), torch.ones(0, 2)), lambda: dense(torch.ones(0, 0)))

    @pytest.mark.parametrize("weight", [-1.0, math.nan])
    @both_losses
    def test_bad_weights(self, loss, dense, weight):
        weights, ones = torch.tensor([1.0, weight]), torch.ones(2, 2)
        self.same_text(lambda: loss(ones, ones, weights=weights), lambda: dense(ones, weights=weights))

    def test_a_row_without_positive(self):
        labels, keys = torch.tensor([0, 1, 5]), torch.tensor([1, 0, 0])
        vectors = torch.ones(3, 2)
        self.same_text(
            lambda: contrast_tiled(vectors, vectors, targets=SameLabel(labels, keys), tile=2),
            lambda: contrast(vectors @ vectors.T, labelled(labels, keys)),
        )

    @pytest.mark.parametrize("factor", [-1.0, math.nan, math.inf])
    def test_weights_that_are_none(self, factor):
        teacher = torch.ones(3, 2)
        self.same_text(
            lambda: contrast_tiled(
                teacher, teacher, targets=BySimilarity(teacher, weight=lambda c: c * factor), tile=2
            ),
            lambda: by_similarity(teacher, weight=lambda c: c * factor),
        )

    def test_a_temperature_of_zero(self):
        teacher = torch.ones(3, 2)
        with pytest.raises(ValueError, match="temperature is 0"):
            Softened(teacher, temperature=0.0)

    @both_losses
    def test_a_masked_own_key(self, loss, dense):
        vectors, allowed = torch.ones(5, 2), torch.tensor([True, True, True, False, True])
        self.same_text(
            lambda: loss(vectors, vectors, masks=[AllowedKeys(allowed)], tile=2),
            lambda: dense(vectors @ vectors.T, mask=allowed.expand(5, 5)),
        )

    def test_a_masked_positive(self):
        vectors, allowed = torch.ones(5, 2), torch.tensor([True, True, True, False, True])
        masks, mask = [AllowedKeys(allowed)], allowed.expand(5, 5)
        labels = torch.tensor([0, 0, 1, 1, 0])
        self.same_text(
            lambda: contrast_tiled(vectors, vectors, targets=SameLabel(labels), masks=masks, tile=2),
            lambda: contrast(vectors @ vectors.T, labelled(labels, labels), mask=mask),
        )
        weights = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0])
        contrast_tiled(vectors, vectors, targets=SameLabel(labels), masks=masks, weights=weights, tile=2)

    def test_fewer_teacher_keys_than_queries(self):
        with pytest.raises(ValueError, match="3 queries but 2 keys"):
            NotNearer(torch.ones(3, 2), torch.ones(2, 2))

    def test_priors(self):
        ones = torch.ones(2, 2)
        with pytest.raises(ValueError, match=r"prior is 1, wanted a probability in \[0, 1\)"):
            contrast_tiled(ones, ones, prior=1.0)
        with pytest.raises(ValueError, match="prior corrects the negatives of identity targets"):
            contrast_tiled(ones, ones, prior=0.1, targets=SameLabel(torch.arange(2)))


MEASURE = """
import json, sys, torch
from pathlib import Path
from antiphon.objectives.tiled import contrast_tiled
torch.set_num_threads(1)
views = [torch.nn.functional.normalize(torch.randn(8192, 32), dim=1).requires_grad_() for _ in range(2)]
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))
contrast_tiled(*(view[:64] for view in views), scale=10.0).backward()
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
contrast_tiled(*views, scale=10.0, tile=512).backward()
print(json.dumps((status("VmHWM") - before) / 1024))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc/self/status")
def test_memory_is_that_of_vectors_and_tiles():
    """Of 8,192 pairs: the matrix of scores alone would be 256 MiB."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) < 40
