"""`Space`: what a user keeps. Named branches (encoder and head) of one shared space, with nothing of training in it.

space/
    space.json                 width, branches, which columns each one embeds, versions
    README.md                  a model card
    <branch>/encoder/          as the encoder saves itself
    <branch>/head.safetensors  head.json
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_model, save_model
from torch import Tensor, nn

from antiphon.distributed import rank
from antiphon.encoders import Encoder
from antiphon.encoders.batched import embed_items, evaluating
from antiphon.encoders.heads import Head, HeadConfig, unit
from antiphon.encoders.open import load_encoder, save_encoder
from antiphon.errors import UserError
from antiphon.runs import versions

FORMAT = 1


class SpaceError(UserError, ValueError):
    """A folder that is no space, or a branch that a space does not have; one line."""


class Branch(nn.Module):
    """An encoder and the head that maps it into the space."""

    encoder: Encoder
    head: Head

    def __init__(self, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head

    def forward(self, batch: Any) -> Float[Tensor, "b e"]:
        """Unit vectors of the space; a missing item's is zero."""
        vectors: Tensor = unit(self.head(self.encoder(batch))) * batch.present[:, None]
        return vectors


class Space(nn.Module):
    """One shared space with a branch for each signal.

    Args:
        branches: by name: "text", "image", "speech", ...
        card: text of the model card, Markdown.

    Example:
        >>> space = Space.load("runs/clip-demo/space")                          # doctest: +SKIP
        >>> scores = space.embed(text=["a red circle"]) @ space.embed(image=["circle.png"]).T  # doctest: +SKIP
    """

    def __init__(self, branches: dict[str, Branch], *, card: str = "") -> None:
        super().__init__()
        widths = {name: branch.head.out for name, branch in branches.items()}
        if len(set(widths.values())) != 1:
            raise SpaceError(f"the branches of a space share one width, these have {widths}")
        self.branches = nn.ModuleDict(branches)
        self.width = next(iter(widths.values()))
        self.card = card

    def embed(
        self,
        *,
        batch_size: int | None = None,
        precision: str = "float32",
        workers: int = 0,
        progress: Callable[[int], None] = lambda _: None,
        **items: Sequence[Any],
    ) -> Float[Tensor, "n e"]:
        """Unit vectors `(N, E)` of items of one signal, in their order.

        Items are encoded in batches of like size: texts by characters, recordings by the seconds of their headers.

        Args:
            batch_size: most items to encode at once; None leaves it to their sizes. It does not change the vectors.
            precision: what the encoder computes in. "bfloat16" moves the vectors by some thousandths, and is faster
                where the processor or the device multiplies bfloat16.
            workers: processes that read and decode items ahead of the encoder; 0 does it here.
            progress: called with the number of items done since the last call.
            items: one keyword, a branch's name, with texts, or files, bytes or decoded items.

        Raises:
            SpaceError: no such branch, or not exactly one.
            BadInput: an item that cannot be decoded.
        """
        if len(items) != 1:
            raise SpaceError(
                f"embed takes one kind of items at a time, got {sorted(items) or 'none'}: embed(text=[...])"
            )
        ((name, sequence),) = items.items()
        return self.embed_column(
            name, sequence, batch_size=batch_size, precision=precision, workers=workers, progress=progress
        )

    def embed_column(
        self,
        name: str,
        sequence: Sequence[Any],
        *,
        batch_size: int | None = None,
        precision: str = "float32",
        workers: int = 0,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Float[Tensor, "n e"]:
        """As `embed`, with the branch's name as an argument."""
        if isinstance(sequence, str | bytes):
            raise SpaceError(f"embed({name}=...) takes a list of items, got a single {type(sequence).__name__}")
        branch = self.branch(name)
        with evaluating(branch):
            return embed_items(
                branch.encoder,
                sequence,
                forward=lambda batch: unit(branch(batch).float()),  # of length one also after half precision
                batch_size=batch_size,
                precision=precision,
                workers=workers,
                device=next(branch.head.parameters()).device,
                progress=progress,
            )

    def branch(self, name: str) -> Branch:
        """The branch of this name.

        Raises:
            SpaceError: there is none.
        """
        if name not in self.branches:
            raise SpaceError(f"this space has no branch {name!r}: it has {', '.join(sorted(self.branches))}")
        return branches_of(self.branches)[name]

    def save(self, folder: str | Path) -> Path:
        """Write the space beside `folder`, then rename: an interrupted save leaves the old one whole.

        Of several processes that train together, the first one writes.
        """
        folder = Path(folder)
        if rank() != 0:
            return folder
        beside = folder.with_name(f".{folder.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        for name, branch in branches_of(self.branches).items():
            save_encoder(branch.encoder, beside / name / "encoder")
            save_model(branch.head, str(beside / name / "head.safetensors"))
            settings = {
                "width": branch.head.width,
                "out": branch.head.out,
                "config": branch.head.config.model_dump(),
            }
            (beside / name / "head.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
        described = {
            "format": FORMAT,
            "width": self.width,
            "branches": sorted(self.branches),
            "versions": versions(),
        }
        (beside / "space.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        (beside / "README.md").write_text(self._model_card(), encoding="utf-8")
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        beside.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
        return folder

    @classmethod
    def load(cls, folder: str | Path, *, only: Sequence[str] | None = None) -> Space:
        """Read a space from a local folder, or from the hub by its id; nothing is unpickled.

        Args:
            folder: a `space` folder, or a hub id.
            only: the branches to read; None reads all.

        Raises:
            SpaceError: no space there.
        """
        path = Path(folder)
        if not path.exists() and not path.is_absolute() and str(folder).count("/") == 1:
            from huggingface_hub import snapshot_download

            path = Path(snapshot_download(str(folder)))
        if not (path / "space.json").is_file():
            raise SpaceError(f"{folder} holds no space (no space.json): give the `space` folder of a run, or a hub id")
        described = json.loads((path / "space.json").read_text(encoding="utf-8"))
        if described.get("format") != FORMAT:
            raise SpaceError(
                f"{folder} is a space of format {described.get('format')}, this version reads format {FORMAT}"
            )
        strangers = sorted(set(only or ()) - set(described["branches"]))
        if strangers:
            raise SpaceError(f"{folder} has no branch {strangers[0]!r}: it has {', '.join(described['branches'])}")
        wanted = [name for name in described["branches"] if only is None or name in only]
        branches = {name: _load_branch(path / name) for name in wanted}
        return cls(branches, card=(path / "README.md").read_text(encoding="utf-8")).eval()

    def push_to_hub(self, repo: str, *, private: bool = False) -> str:
        """Upload the space with its model card; gives its address. Needs a hub token (`hf auth login`)."""
        from tempfile import TemporaryDirectory

        from huggingface_hub import HfApi

        api = HfApi()
        address = api.create_repo(repo, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            api.upload_folder(repo_id=repo, folder_path=str(self.save(Path(folder) / "space")))
        return str(address)

    def _model_card(self) -> str:
        if self.card:
            return self.card
        rows = "\n".join(
            f"| {name} | {type(branch.encoder).__name__} |" for name, branch in sorted(self.branches.items())
        )
        return (
            "---\nlibrary_name: antiphon\ntags: [contrastive, multimodal, retrieval]\n---\n\n# A shared space\n\n"
            f"Unit vectors of width {self.width}; the nearest by inner product match.\n\n"
            f"| branch | encoder |\n|---|---|\n{rows}\n\n"
            '```python\nfrom antiphon import Space\n\nspace = Space.load("this folder or hub id")\n'
            'space.embed(text=["a red circle"])\n```\n'
        )


def branches_of(modules: nn.ModuleDict) -> dict[str, Branch]:
    """The branches that a module holds, by name."""
    return {name: cast(Branch, module) for name, module in modules.items()}


def _load_branch(folder: Path) -> Branch:
    try:
        return _read_branch(folder)
    except (KeyError, TypeError, RuntimeError, ValueError, OSError, SafetensorError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise SpaceError(
            f"{folder}: this branch cannot be read, it is damaged or of another version ({reason})"
        ) from None


def _read_branch(folder: Path) -> Branch:
    settings = json.loads((folder / "head.json").read_text(encoding="utf-8"))
    head = Head(settings["width"], settings["out"], HeadConfig(**settings["config"]))
    load_model(head, str(folder / "head.safetensors"))
    return Branch(load_encoder(folder / "encoder"), head)
