"""WordNet's files: the most frequent sense by its counts, synonyms and antonyms of that sense."""

import pytest

from antiphon.data.cache import DataError
from antiphon.data.wordnet import wordnet

LICENCE = "  1 This software and database is being provided to you, the LICENSEE  \n"
FILES = {
    "data.noun": LICENCE
    + "00000100 06 n 03 car 0 auto 0 motor_car 0 001 @ 00000200 n 0000 | a vehicle  \n"
    + "00000200 06 n 02 car 1 Cabin 0 000 | of a lift  \n"
    + "00000300 06 n 01 hold 0 000 | a grip  \n",
    "index.noun": LICENCE
    + "cabin n 1 0 1 0 00000200  \ncar n 2 1 @ 2 2 00000100 00000200  \nauto n 1 1 @ 1 0 00000100  \n"
    + "hold n 1 0 1 0 00000300  \n"
    + "motor_car n 1 1 @ 1 0 00000100  \n",
    "data.verb": LICENCE + "00000400 35 v 02 hold 0 keep 0 001 ! 00000500 v 0101 01 + 08 00 | to have  \n"
    "00000500 35 v 01 drop 0 001 ! 00000400 v 0101 01 + 08 00 | to let go  \n",
    "index.verb": LICENCE + "drop v 1 1 ! 1 1 00000500  \nhold v 1 1 ! 1 1 00000400  \nkeep v 1 1 ! 1 0 00000400  \n",
    "data.adj": LICENCE + "00000600 00 s 02 hot(p) 0 heated 0 000 | warm  \n",
    "index.adj": LICENCE + "hot a 1 0 1 1 00000600  \nheated a 1 0 1 0 00000600  \n",
    "data.adv": LICENCE,
    "index.adv": LICENCE,
    "cntlist.rev": "car%1:06:00:: 1 2\ncar%1:06:01:: 2 9\nhold%1:06:00:: 1 3\nhold%2:35:00:: 1 8\n"
    "hot%5:00:00:x:00 7 1\n",
}


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "usr/share/wordnet"
    root.mkdir(parents=True)
    for name, text in FILES.items():
        (root / name).write_text(text)
    wordnet.cache_clear()
    yield tmp_path
    wordnet.cache_clear()


def test_a_word_stands_for_its_most_frequent_sense(folder):
    found = wordnet(folder)
    assert found.synonyms["car"] == ("cabin",)  # the second sense is the more frequent
    assert found.synonyms["auto"] == ("car",)  # "motor_car" is no single word
    assert found.synonyms["hold"] == ("keep",)  # the verb is
    assert found.synonyms["heated"] == ("hot",)  # without the mark of its place, "hot(p)"
    assert found.synonyms["hot"] == ("heated",)  # its count is of a seventh sense, which is no more
    assert "motor_car" not in found.synonyms
    assert "drop" not in found.synonyms


def test_opposed_words_have_the_antonym_themselves(folder):
    assert wordnet(folder).opposed == {"hold", "drop"}  # and not "keep", of the same sense


def test_a_folder_without_it_is_told(tmp_path):
    wordnet.cache_clear()
    with pytest.raises(DataError, match=r"wordnet: no .*cntlist\.rev; unpack wordnet-base there"):
        wordnet(tmp_path)
