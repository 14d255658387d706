"""The line for a user's own rows that each recipe's page shows gives the folder these options and no others."""

import re

import pytest

from antiphon import recipes
from antiphon.config import parse
from antiphon.evaluation.pages import recipe_page


@pytest.mark.parametrize("name", recipes.names())
def test_the_pages_line_leaves_nothing_of_the_claims_rows(name):
    module = recipes.get(name)
    (line,) = re.findall(rf"^antiphon train {name} (data\.source=folder .*?)  #", recipe_page(name, module, []), re.M)
    data = parse(module.laptop(), line.split()).data
    assert data.options == {"folder": "my/files"}
    assert data.limit is None
    assert data.split_by is None
