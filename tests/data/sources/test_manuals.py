"""Manual pages: the prose of man(7) without its macros, and pages that are left out."""

import gzip

import pytest

from antiphon.data.cache import DataError
from antiphon.data.sources import load
from antiphon.data.sources.manuals import read_page

PAGE = r""".\" A comment.
.TH accept 2 2022-12-04
.SH NAME
accept, accept4 \- take a connection on a socket
.SH SYNOPSIS
.nf
.BI "int accept(int " sockfd );
.fi
.SH DESCRIPTION
The
.BR accept ()
call takes the first of the queue for
.IR sockfd ,
.RB ( SOCK_STREAM ,
.BR "two words" ).
.PP
It isn\(aqt \fBbold\fP any\-more, \[lq]said\[rq] it.\" not this
.TS
tables are left out
.TE
.TP
.B EBADF
No such file.
.SH "SEE ALSO"
.BR bind (2)
"""


def test_the_prose_of_a_page():
    title, text = read_page(PAGE)
    assert title == "take a connection on a socket"
    assert text == (
        "The accept() call takes the first of the queue for sockfd, (SOCK_STREAM, two words). "
        'It isn\'t bold any-more, "said" it. EBADF No such file.'
    )


@pytest.fixture
def packages(tmp_path):
    folder = tmp_path / "manpages-dev/usr/share/man/man2"
    folder.mkdir(parents=True)
    (folder / "accept.2.gz").write_bytes(gzip.compress(PAGE.encode()))
    (folder / "accept4.2.gz").symlink_to("accept.2.gz")
    (folder / "old.2.gz").write_bytes(gzip.compress(b".so man2/accept.2\n"))
    (folder / "none.2.gz").write_bytes(gzip.compress(b".SH NAME\nnone\n.SH DESCRIPTION\nwords words\n"))
    return tmp_path


def test_pages_that_point_to_another_are_no_rows(packages):
    rows = load("manuals", folder=packages, packages=["manpages-dev"], shortest=5)
    assert rows.column_names == ["id", "text", "title", "section"]
    assert rows["id"][:] == ["accept.2"]
    assert rows[0]["section"] == "2"
    assert "2 that point to another page" in rows.info.description
    assert "1 without a purpose" in rows.info.description
    none = load("manuals", folder=packages, packages=["manpages-dev"])
    assert len(none) == 0
    assert "1 that are short" in none.info.description


def test_a_folder_without_pages_is_told(tmp_path):
    with pytest.raises(DataError, match=r"manuals: no pages below .*manpages-dev"):
        load("manuals", folder=tmp_path, packages=["manpages-dev"])
