"""Shape checks are on under pytest only; torch runs on one thread, so that results do not depend on the machine."""

from collections.abc import Sequence

from datasets import Dataset
from jaxtyping import install_import_hook

import tests.typechecker  # noqa: F401  (the hook looks it up by name)

install_import_hook("antiphon", "tests.typechecker.check")
Sequence.register(Dataset)  # it is one in all but name: rows by number, and a length

import pytest  # noqa: E402
import torch  # noqa: E402


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)
    torch.manual_seed(0)
