"""ZSTE: zero-shot questions about time in sound, for any space of sound and text (TeminAL, arXiv 2408.09269).

Recordings of two events are made from clips of single ones: one after the other, or both at once, of one length and
loudness, so that neither gives the answer. Texts are a kind alone, or "<a> before <b>", "<a> after <b>",
"<a> while <b>".
The paper's five tasks are known in outline only; the questions here are:

    1 single        which kind is it, of all kinds
    2 both, either  are the two best kinds the two that sound; is the best one of them
    3 order         the true sentence against the one with the two kinds exchanged; mean of "before" and "after", for a
                    space that goes by the place in the text is right in one of them and wrong in the other
    4 relation      before, after or while, the two kinds given
    5 composition   the whole caption, of all before- and while-captions of all kinds

and 3 again with connectives that TeminAL never trains ("followed by", "then", "preceded by").

Axes: N recordings, C captions, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from antiphon.runs import Measures

RATE = 16_000
FADE = RATE // 50
"""Samples over which one event goes into the next: 20 ms, against clicks."""
LEVEL = 0.1
"""Root mean square of every recording."""

AHEAD = ("{} followed by {}", "{}, then {}")
BACK = ("{} preceded by {}",)
"""Connectives for a generalisation test: of the first kind before, and behind, the second."""

Embed = Callable[[list[str]], Tensor]
EmbedSound = Callable[[list[Tensor]], Tensor]


def stretch(clip: Float[Tensor, " s"], samples: int, start: float = 0.0) -> Float[Tensor, " t"]:
    """So many samples of a clip, repeated where it is shorter, at the common loudness.

    Args:
        clip: one event; silence around it is better cut off before.
        samples: how many.
        start: where to begin, as a share of what the clip is longer than that, in [0, 1].

    Raises:
        ValueError: a clip of silence alone, which cannot be brought to a loudness.
    """
    times = -(-samples // max(1, len(clip)))
    first = int(start * max(0, len(clip) - samples))
    return _levelled(clip.repeat(times)[first : first + samples])


def in_turn(first: Float[Tensor, " s"], second: Float[Tensor, " t"]) -> Float[Tensor, " both"]:
    """One after the other; they fade into each other within 20 ms, and no sample is lost."""
    rise = torch.linspace(0.0, 1.0, FADE)
    joined = torch.cat([first, second])
    joined[len(first) - FADE : len(first)] *= 1 - rise
    joined[len(first) : len(first) + FADE] *= rise
    return _levelled(joined)


def at_once(first: Float[Tensor, " s"], second: Float[Tensor, " s"]) -> Float[Tensor, " s"]:
    """Both at the same time, equally loud."""
    return _levelled(first + second)


def before(first: str, second: str) -> str:
    """The caption of `first`, then `second`."""
    return f"{first} before {second}"


def after(first: str, second: str) -> str:
    """The caption of `second`, then `first`."""
    return f"{first} after {second}"


def during(first: str, second: str) -> str:
    """The caption of both at once."""
    return f"{first} while {second}"


def zste(
    embed_sound: EmbedSound,
    embed_text: Embed,
    clips: Sequence[Tensor],
    kinds: Sequence[str],
    *,
    pairs: int = 120,
    seconds: float = 3.0,
    seed: int = 0,
    unseen: Collection[frozenset[str]] = (),
) -> Measures:
    """Accuracies in [0, 1] of every question, and the chance level of each.

    Args:
        embed_sound: 16 kHz waveforms to vectors `(N, D)`; called twice.
        embed_text: texts to vectors `(C, D)`; called once.
        clips: waveforms of single events; each is asked about alone.
        kinds: what each clip is.
        pairs: how many pairs of clips of two kinds, drawn by the seed.
        seconds: of each event in a pair; every recording lasts twice that.
        unseen: pairs of kinds that no training sentence joined: their order is reported apart.

    Raises:
        ValueError: clips and kinds differ in number, or fewer than three kinds.
    """
    names = sorted(set(kinds))
    if len(clips) != len(kinds) or len(names) < 3:
        raise ValueError(f"{len(clips)} clips of {len(kinds)} kinds, {len(names)} of them distinct: wanted 3 or more")
    samples = round(seconds * RATE)
    drawn = draw_pairs(kinds, pairs, seed=seed)
    texts = _texts(names, [(kinds[i], kinds[j]) for i, j in drawn])
    places = {text: place for place, text in enumerate(texts)}
    texts_CD = normalize(embed_text(texts).double(), dim=1)
    singles_ND = embed_sound([stretch(clip, 2 * samples) for clip in clips])
    parts = [(stretch(clips[i], samples), stretch(clips[j], samples)) for i, j in drawn]
    made = [in_turn(a, b) for a, b in parts] + [in_turn(b, a) for a, b in parts]
    made += [at_once(*(stretch(clips[place], 2 * samples) for place in pair)) for pair in drawn]  # of the same length
    ahead, back, overlaid = (normalize(part.double(), dim=1) @ texts_CD.T for part in embed_sound(made).chunk(3))
    single = normalize(singles_ND.double(), dim=1) @ texts_CD.T
    asked = _Asked(places, names, [(kinds[i], kinds[j]) for i, j in drawn])
    order = asked.order(ahead, back)
    new = torch.tensor([frozenset(pair) in set(unseen) for pair in asked.pairs])
    found = {
        "single": _share([_best(row, kind, names, places) for row, kind in zip(single, kinds, strict=True)]),
        "single/chance": 1 / len(names),
        **asked.events(ahead, overlaid),
        "order": order.mean().item(),
        "order/before": order[:, 0].mean().item(),
        "order/after": order[:, 1].mean().item(),
        "order/chance": 0.5,
        **asked.connectives(ahead, back),
        "relation": asked.relation(ahead, back, overlaid),
        "relation/chance": 1 / 3,
        **asked.composition(ahead, overlaid),
    }
    return found | {
        f"order/{name} pairs": order[which].mean().item()
        for name, which in (("unseen", new), ("seen", ~new))
        if len(unseen) and which.any()
    }


def order_margins(
    embed_sound: EmbedSound,
    embed_text: Embed,
    clips: Sequence[Tensor],
    kinds: Sequence[str],
    *,
    pairs: int = 120,
    seconds: float = 3.0,
    seed: int = 0,
) -> tuple[list[float], list[float]]:
    """How much nearer recordings are, in cosine, to "a before b" than to "b before a": of a then b, and of b then a.

    The first are positive and the second negative in a space that hears the order. Arguments are those of `zste`.
    """
    samples, drawn = round(seconds * RATE), draw_pairs(kinds, pairs, seed=seed)
    parts = [(stretch(clips[i], samples), stretch(clips[j], samples)) for i, j in drawn]
    sounds = normalize(embed_sound([in_turn(*pair) for pair in parts] + [in_turn(b, a) for a, b in parts]), dim=1)
    said = [form(kinds[i], kinds[j]) for form in (before, lambda a, b: before(b, a)) for i, j in drawn]
    ahead, back = normalize(embed_text(said), dim=1).chunk(2)
    margins = [((sound * (ahead - back)).sum(1)).tolist() for sound in sounds.chunk(2)]
    return margins[0], margins[1]


def draw_pairs(kinds: Sequence[str], count: int, *, seed: int) -> list[tuple[int, int]]:
    """Places of two clips of unlike kinds, so many times; the kinds are drawn evenly first, then their clips."""
    generator = torch.Generator().manual_seed(seed)
    of = {name: [place for place, kind in enumerate(kinds) if kind == name] for name in sorted(set(kinds))}
    ordered = list(permutations(of, 2))
    found = []
    for _ in range(count):
        chosen = ordered[int(torch.randint(len(ordered), (), generator=generator))]
        first, second = (of[name][int(torch.randint(len(of[name]), (), generator=generator))] for name in chosen)
        found.append((first, second))
    return found


class _Asked:
    """Scores of the made recordings against the captions, asked in several ways."""

    def __init__(self, places: dict[str, int], names: list[str], pairs: list[tuple[str, str]]) -> None:
        self.places, self.names, self.pairs = places, names, pairs

    def order(self, ahead: Tensor, back: Tensor) -> Tensor:
        """Right or wrong, of each pair with "before" and with "after"; each the mean of both recordings."""
        rows = []
        for row, turned, (a, b) in zip(ahead, back, self.pairs, strict=True):
            said = [
                [self._above(row, right, wrong), self._above(turned, wrong, right)]
                for right, wrong in ((before(a, b), before(b, a)), (after(b, a), after(a, b)))
            ]
            rows.append([sum(each) / 2 for each in said])
        return torch.tensor(rows, dtype=torch.float64)

    def connectives(self, ahead: Tensor, back: Tensor) -> Measures:
        """Order, with the connectives that are never trained: half of it in the order of time, half against it."""
        shares = {}
        for form in (*AHEAD, *BACK):
            right = []
            for row, turned, (a, b) in zip(ahead, back, self.pairs, strict=True):
                ours, theirs = form.format(a, b), form.format(b, a)
                ours, theirs = (theirs, ours) if form in BACK else (ours, theirs)
                right += [self._above(row, ours, theirs), self._above(turned, theirs, ours)]
            shares[form] = _share(right)
        halves = [sum(shares[form] for form in forms) / len(forms) for forms in (AHEAD, BACK)]
        named = {f"order/{form.replace('{}', '').strip(' ,')}": share for form, share in shares.items()}
        return named | {"order/unseen connectives": sum(halves) / 2}

    def relation(self, ahead: Tensor, back: Tensor, overlaid: Tensor) -> float:
        """Before, after or while."""
        right = []
        for place, (a, b) in enumerate(self.pairs):
            choices = [self.places[form(a, b)] for form in (before, after, during)]
            for answer, scores in enumerate((ahead, back, overlaid)):
                right.append(_wins(scores[place, choices], answer))
        return _share(right)

    def events(self, ahead: Tensor, overlaid: Tensor) -> Measures:
        """Which events sound, by the captions of single kinds."""
        columns = [self.places[name] for name in self.names]
        found: Measures = {}
        for kind, scores in (("sequence", ahead), ("overlay", overlaid)):
            best = [[self.names[at] for at in row.topk(2).indices.tolist()] for row in scores[:, columns]]
            both = [set(two) == set(pair) for two, pair in zip(best, self.pairs, strict=True)]
            either = [two[0] in pair for two, pair in zip(best, self.pairs, strict=True)]
            found |= {f"both in {kind}": _share(both), f"either in {kind}": _share(either)}
        found["both"] = (found["both in sequence"] + found["both in overlay"]) / 2
        return found | {"both/chance": 1 / math.comb(len(self.names), 2), "either/chance": 2 / len(self.names)}

    def composition(self, ahead: Tensor, overlaid: Tensor) -> Measures:
        """The caption of all; of an overlay either order of the two kinds is right."""
        captions = [form(*pair) for form in (before, during) for pair in permutations(self.names, 2)]
        columns = [self.places[caption] for caption in captions]
        best = [captions[at] for scores in (ahead, overlaid) for at in scores[:, columns].argmax(1).tolist()]
        right = [{before(a, b)} for a, b in self.pairs] + [{during(a, b), during(b, a)} for a, b in self.pairs]
        hits = [one in wanted for one, wanted in zip(best, right, strict=True)]
        return {"composition": _share(hits), "composition/chance": 1.5 / len(captions)}

    def _above(self, row: Tensor, right: str, wrong: str) -> bool:
        return bool(row[self.places[right]] > row[self.places[wrong]])


def _texts(names: list[str], pairs: list[tuple[str, str]]) -> list[str]:
    """Every caption that is asked about, once."""
    captions = [form(*pair) for form in (before, during) for pair in permutations(names, 2)]
    both_ways = [two for pair in pairs for two in (pair, pair[::-1])]
    captions += [after(*pair) for pair in both_ways] + [
        form.format(*pair) for pair in both_ways for form in (*AHEAD, *BACK)
    ]
    return list(dict.fromkeys([*names, *captions]))


def _best(row: Tensor, kind: str, names: list[str], places: dict[str, int]) -> bool:
    return _wins(row[[places[name] for name in names]], names.index(kind))


def _wins(scores: Tensor, answer: int) -> bool:
    """True where the answer is above all others; a tie is wrong."""
    others = torch.cat([scores[:answer], scores[answer + 1 :]])
    return bool(scores[answer] > others.max())


def _share(right: Sequence[bool]) -> float:
    return sum(right) / len(right)


def _levelled(wave: Tensor) -> Tensor:
    power = wave.square().mean().sqrt()
    if not power > 0:
        raise ValueError("a clip of silence alone has no loudness: leave it out")
    return wave * (LEVEL / power)
