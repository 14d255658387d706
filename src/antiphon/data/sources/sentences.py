"""Single English sentences without labels, from Wikipedia (the out-of-scope data of CLINC150), in lower case.

Read from `$ANTIPHON_DATA/wiki_sentences/sentences.txt`, a sentence a line.
"""

from __future__ import annotations

from datasets import Dataset

from antiphon.data.cache import DataError, data_folder
from antiphon.data.table import table

DESCRIPTION = "English Wikipedia sentences, lower-cased, in no order of documents"
LICENCE = "CC BY-SA (Wikipedia)"


def load() -> Dataset:
    """Rows of `id, text`; a sentence that stands there twice is one row.

    Raises:
        DataError: no such file.
    """
    path = data_folder("wiki_sentences") / "sentences.txt"
    if not path.is_file():
        raise DataError(f"{path}: no such file; wanted one sentence a line")
    lines = dict.fromkeys(line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    rows = [{"id": f"{number:06}", "text": line} for number, line in enumerate(line for line in lines if line)]
    return table(rows, {"id": "text", "text": "text"}, description=DESCRIPTION, licence=LICENCE)
