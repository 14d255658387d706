"""Short texts that a language model writes or scores, one for each text asked, kept on disk as they come.

A `Prompt` is data: an instruction, a few answered examples, and the frame that each text is asked in. What answers is a
`Writer`: a local model (`contrast.LocalWriter`) or a server (`endpoint.RemoteWriter`). `Written` keeps each answer as
one line of JSON under a hash of all that decided it, so that work that was killed goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, runtime_checkable

from filelock import FileLock
from pydantic import Field, NonNegativeFloat, PositiveInt

from antiphon.config import Config
from antiphon.errors import UserError


@dataclass(frozen=True)
class Prompt:
    """How a language model is asked.

    Attributes:
        instruction: what to do, in a sentence or two.
        frame: what each asking looks like, `{}` standing for a text; the answer follows on the same line.
        shots: answered examples: the texts of the frame, and the answer.
    """

    instruction: str
    frame: str
    shots: tuple[tuple[tuple[str, ...], str], ...]

    def beginning(self) -> str:
        """What all askings have in common: the instruction and the examples."""
        return f"{self.instruction}\n\n" + "".join(f"{self.asked(*texts)} {said}\n\n" for texts, said in self.shots)

    def asked(self, *texts: str) -> str:
        """The frame about these texts, each on one line."""
        return self.frame.format(*(" ".join(text.split()) for text in texts))

    def messages(self, *texts: str) -> list[dict[str, str]]:
        """The same as turns of a conversation."""
        turns = [{"role": "system", "content": self.instruction}]
        for example, said in self.shots:
            turns += [{"role": "user", "content": self.asked(*example)}, {"role": "assistant", "content": said}]
        return [*turns, {"role": "user", "content": self.asked(*texts)}]


class Writing(Config):
    """How texts are written: see `contrast`."""

    weight: NonNegativeFloat = 0.4
    """lambda: how much the opposite instruction's log-probability counts against a token; 0 is plain greedy."""
    plausible: Annotated[float, Field(gt=0, le=1)] = 0.1
    """eta: a token is looked at where its probability is this share of the likeliest's, or more."""
    max_tokens: PositiveInt = 20
    """Of an answer."""


@runtime_checkable
class Writer(Protocol):
    """What answers prompts.

    Attributes:
        name: tells models and servers apart whose answers differ.
    """

    name: str

    def write(self, prompt: Prompt, opposite: Prompt | None, texts: Sequence[str], cfg: Writing) -> list[str]:
        """An answer of one line to each text; "" where it says nothing."""
        ...

    def score(self, prompt: Prompt, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
        """A number from 0 to 5 for each pair of texts; None where the answer is none."""
        ...


class BrokenLine(UserWarning):
    """The last line of a file was cut off; what it held is made again."""


class Written:
    """Answers on disk, a line of JSON each, by the hash of what decided them.

    Args:
        path: made where it is absent. Several processes may share it: one makes what is missing, the others wait.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def answers(
        self,
        asked: Sequence[Mapping[str, Any]],
        make: Callable[[list[int]], Sequence[Any]],
        *,
        batch_size: int,
        size: Callable[[int], float] = lambda _: 0.0,
        progress: Callable[[int], None] = lambda _: None,
    ) -> list[Any]:
        """The answer to each asking, made in batches where it is not there.

        Batches are the same whether or not some of them were made before, so that a run that was killed ends with the
        very answers of one that was not.

        Args:
            asked: all that decides an answer, as JSON can hold it.
            make: answers, as JSON can hold them, to the askings at these places.
            batch_size: askings made at once; kept after each batch.
            size: of the asking at a place, to batch like with like.
            progress: called with the number of askings done since the last call.
        """
        keys = [_key(one) for one in asked]
        first = {key: at for at, key in reversed(list(enumerate(keys)))}
        order = sorted(first.values(), key=lambda at: (size(at), keys[at]))
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_name(f".{self.path.name}.lock")):
            found = self._read()
            for start in range(0, len(order), batch_size):
                places = order[start : start + batch_size]
                missing = [at for at in places if keys[at] not in found]
                if missing:
                    fresh = dict(zip([keys[at] for at in places], make(places), strict=True))
                    self._add({keys[at]: (asked[at], fresh[keys[at]]) for at in missing})
                    found |= {keys[at]: fresh[keys[at]] for at in missing}
                progress(len(places))
        return [found[key] for key in keys]

    def _read(self) -> dict[str, Any]:
        """What is there; a last line without its end is cut off."""
        if not self.path.exists():
            return {}
        data = self.path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:
            said = f"{self.path}: its last line was cut off ({len(data) - len(whole)} bytes) and is dropped"
            warnings.warn(said, BrokenLine, stacklevel=3)
            with self.path.open("r+b") as file:
                file.truncate(len(whole))
        found = {}
        for number, line in enumerate(whole.decode("utf-8").splitlines(), start=1):
            try:
                kept = json.loads(line)
                found[str(kept["key"])] = kept["answer"]
            except (json.JSONDecodeError, KeyError, TypeError):
                raise UserError(
                    f"{self.path}:{number} is no answer that was kept ({line[:40]!r}): mend or delete the line"
                ) from None
        return found

    def _add(self, fresh: Mapping[str, tuple[Mapping[str, Any], Any]]) -> None:
        lines = [json.dumps({"key": key, "answer": said, "text": one["texts"]}) for key, (one, said) in fresh.items()]
        with self.path.open("a", encoding="utf-8") as file:
            file.write("".join(f"{line}\n" for line in lines))


def write_all(
    kept: Written,
    writer: Writer,
    prompt: Prompt,
    opposite: Prompt | None,
    texts: Sequence[str],
    cfg: Writing,
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda _: None,
) -> list[str]:
    """What a writer answers to each text, from the disk where it is there.

    Args:
        kept: where answers are kept.
        writer: who answers.
        prompt: how it is asked.
        opposite: what is held against it, where `cfg.weight` is not 0.
        texts: what is asked about.
        cfg: how it is written.
        batch_size: texts at once.
        progress: as `Written.answers`.
    """
    against = opposite if cfg.weight > 0 else None
    how: dict[str, Any] = {"writer": writer.name, "prompt": asdict(prompt), "cfg": cfg.model_dump(mode="json")}
    how |= {"opposite": None if against is None else asdict(against)}
    return kept.answers(
        [how | {"texts": [text]} for text in texts],
        lambda places: writer.write(prompt, against, [texts[at] for at in places], cfg),
        batch_size=batch_size,
        size=lambda at: len(texts[at]),
        progress=progress,
    )


def score_all(
    kept: Written,
    writer: Writer,
    prompt: Prompt,
    pairs: Sequence[tuple[str, str]],
    *,
    batch_size: int = 32,
    progress: Callable[[int], None] = lambda _: None,
) -> list[float | None]:
    """What a writer scores each pair of texts, 0 to 5, from the disk where it is there; None for no number."""
    how: dict[str, Any] = {"writer": writer.name, "prompt": asdict(prompt), "answer": "score"}
    return kept.answers(
        [how | {"texts": list(pair)} for pair in pairs],
        lambda places: writer.score(prompt, [pairs[at] for at in places]),
        batch_size=batch_size,
        size=lambda at: sum(map(len, pairs[at])),
        progress=progress,
    )


def _key(asked: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(asked, sort_keys=True).encode(), digest_size=12).hexdigest()
