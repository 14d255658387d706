"""Configs: frozen pydantic models, read from YAML files and `key.sub=value` words; every error at once.

>>> class Train(Config):
...     steps: int = 100
>>> class Recipe(Config):
...     train: Train = Train()
>>> parse(Recipe(), ["train.steps=5"]).train.steps
5
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import pydantic
import yaml

from antiphon.errors import UserError

C = TypeVar("C", bound="Config")

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
"""A field from 0 to 1."""


class Config(pydantic.BaseModel):
    """A frozen record of settings that refuses keys it does not know."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", validate_default=True)

    anew: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """By field, those that belong to its value: when it changes they go back to their defaults, unless given too."""

    def but(self: C, **changes: Any) -> C:
        """A validated copy with some fields changed; `__` reaches into a sub-config: `but(train__steps=5)`."""
        return parse(self, [(key.replace("__", "."), value) for key, value in changes.items()])

    def only(self: C, *fields: str, **changes: Any) -> C:
        """A config with these fields of this one, then `changes`; the rest by default."""
        return type(self)(**{field: getattr(self, field) for field in fields}, **changes)

    def changed(self) -> dict[str, Any]:
        """The fields that differ from the defaults, by dotted path: what a run is named by."""
        default = _flat(type(self)().model_dump(mode="json"))
        return {
            key: value for key, value in _flat(self.model_dump(mode="json")).items() if _differs(default, key, value)
        }

    def fingerprint(self) -> str:
        """Eight hex digits that name what differs from the defaults."""
        return hashlib.sha256(json.dumps(self.changed(), sort_keys=True).encode()).hexdigest()[:8]

    def to_yaml(self) -> str:
        """The resolved config, every field, as YAML."""
        return str(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


class ConfigError(UserError, ValueError):
    """A config that does not validate; the message lists every error with its dotted path."""


_SCIENTIFIC = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")


def parse(config: C, words: Iterable[str | tuple[str, Any]], files: Sequence[str | Path] = ()) -> C:
    """A copy of `config` with YAML files laid over it, then `key.sub=value` words, in that order.

    Args:
        config: where the defaults come from (often a preset).
        words: `"train.lr=1e-3"` strings (the value is YAML), or pairs of a dotted path and a value.
        files: YAML files of nested keys.

    Raises:
        ConfigError: unknown keys and invalid values, all of them, one a line.
    """
    tree = config.model_dump()
    layers = [list(_flat(_read_yaml(Path(file))).items()) for file in files]
    layers.append([_split(word) if isinstance(word, str) else word for word in words])
    for layer in layers:
        for path, value in layer:
            _start_anew(config, tree, path, value)
        for path, value in layer:
            _put(tree, path, value)
    try:
        return type(config).model_validate(tree)
    except pydantic.ValidationError as error:
        raise ConfigError(_explain(error, type(config))) from None


def _split(word: str) -> tuple[str, Any]:
    path, equals, value = word.partition("=")
    if not equals or not path:
        raise ConfigError(f"{word!r} is not key=value: write for instance train.steps=500")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError:
        raise ConfigError(f"{path}: {value!r} is not a YAML value: quote it") from None
    return path, _number(parsed)


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as a string: take it as the number that it is."""
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file")
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: a config file holds keys and values, this one holds a {type(tree).__name__}")
    return tree


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _differs(default: dict[str, Any], key: str, value: Any) -> bool:
    return key not in default or default[key] != value


def _put(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        child = tree.get(parent)
        if child is None:  # a sub-config that is not there yet
            child = tree[parent] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{path}: {parent} is a single value, it has no {last}")
        tree = child
    tree[last] = value


def _start_anew(config: Config, tree: dict[str, Any], path: str, value: Any) -> None:
    """Put back what belongs to the value that a field has so far, where it is about to change."""
    *parents, last = path.split(".")
    part: Any = config
    for parent in parents:
        part, tree = getattr(part, parent, None), tree.get(parent) or {}
        if not isinstance(part, Config) or not isinstance(tree, dict):
            return
    if last in part.anew and tree.get(last) != value:
        for name in part.anew[last]:
            tree[name] = type(part).model_fields[name].get_default(call_default_factory=True)


def _explain(error: pydantic.ValidationError, config: type[Config]) -> str:
    lines = []
    for item in error.errors():
        path = ".".join(str(part) for part in item["loc"]) or config.__name__
        if item["type"] == "extra_forbidden":
            known = ", ".join(_fields_at(config, [str(p) for p in item["loc"][:-1]]))
            lines.append(f"{path}: unknown key; known here: {known}")
        else:
            lines.append(f"{path}: {item['msg'].lower()}, got {item['input']!r}")
    return "\n".join(lines)


def _fields_at(config: type[pydantic.BaseModel], path: list[str]) -> list[str]:
    for part in path:
        field = config.model_fields.get(part)
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Config)):
            return []
        config = field.annotation
    return sorted(config.model_fields)
