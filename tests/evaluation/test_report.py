from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from antiphon.evaluation.report import (
    Answer,
    Classes,
    Curve,
    Direction,
    Fact,
    Figure,
    Grid,
    Group,
    Item,
    Mark,
    Media,
    Panel,
    Plane,
    Query,
    Report,
    charts,
    html,
    write,
)
from antiphon.evaluation.report.picks import pick, ranked
from antiphon.evaluation.retrieval import retrieve

HOSTILE = "</script></title><script>alert(1)</script> \"'><img src=x onerror=alert(1)> & {{ 7*7 }} {0}"
PICTURE, SOUND = Media("image/jpeg", b"\xff\xd8picture"), Media("audio/ogg", b"OggSsound")
VOID = {"meta", "link", "img", "br", "input"}


def filled(text: str = "A cat.") -> Report:
    way = Direction(text, {1: 0.125, 5: 0.5, 10: 0.75}, {1: 0.01, 5: 0.05, 10: 0.1}, 3.5, 41, 43)
    item = Item(text, picture=PICTURE, sound=SOUND, note=text)
    right, wrong = Answer(item, 17, -0.321, True), Answer(Item(text), 1, 0.654, False)
    return Report(
        title=text,
        summary=[text],
        figures=[Figure(text, 0.87, 0.083)],
        panels=[Panel(text, [Curve(text, [1, 10, 20], [5.0, 2.0, 1.2345]), Curve("b", [1, 10, 20], [4.0, 3.0, 1.5])])],
        groups=[Group(text, [way])],
        reverse=[Group(text, [way])],
        grid=Grid(text, [text, "b"], [text, "b"], [[None, 0.271], [0.828, None]], text),
        classes=[Classes(text, 0.611, 0.512, 0.0625, 0.243, 139)],
        plane=Plane([Mark(0, 0, "picture", text, text, PICTURE), Mark(1, 2, "caption", "b", text),
                     Mark(3, 1, "recording", "", text), Mark(3, 0, "picture", "b", text)], text),
        gallery=[Query(text, item, [wrong], 17, 43, right), Query(text, Item(text), [replace(right, rank=1)], 1, 43)],
        facts=[Fact(text, text)],
        settings=f"key: {text}",
        credits=text,
    )  # fmt: skip


class Page(HTMLParser):
    """The elements, the text, and that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)


def test_the_page_is_well_formed_and_loads_nothing_from_elsewhere():
    text = html(filled())
    page = Page(text)
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    for _, attributes in page.tags:
        for name in ("src", "href", "poster", "srcset", "data", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "default-src 'none'" in text
    assert [page.count(tag) for tag in ("html", "head", "body", "script", "style")] == [1] * 5


def test_hostile_texts_come_out_as_they_went_in_and_nothing_else_changes():
    kind, hostile = Page(html(filled())), Page(html(filled(HOSTILE)))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in kind.tags]
    assert not any(name.startswith("on") for _, attributes in hostile.tags for name in attributes)
    assert hostile.text == kind.text.replace("A cat.", HOSTILE)
    assert {attributes.get("alt") for tag, attributes in hostile.tags if tag == "img"} == {HOSTILE}


def test_pictures_and_sounds_are_inside():
    page = Page(html(filled()))
    assert {attributes["src"] for tag, attributes in page.tags if tag == "img"} == {PICTURE.uri}
    assert {attributes["src"] for tag, attributes in page.tags if tag == "audio"} == {SOUND.uri}
    assert [attributes["href"] for tag, attributes in page.tags if tag == "image"] == [PICTURE.uri]
    assert PICTURE.uri == "data:image/jpeg;base64,/9hwaWN0dXJl"


@pytest.mark.parametrize(
    "number", ["0.125", "0.500", "0.750", "3.5", "41", "43", "0.27", "0.83", "0.611", "0.512", "0.062", "0.243", "139",
               "87 %", "chance 8.3 %", "rank 17 of 43", "-0.321", "0.654", "1.23", "step 10: 2", "Of these 2, 1 have"]
)  # fmt: skip
def test_numbers_are_shown(number):
    assert number in Page(html(filled())).text


def test_numbers_come_from_the_input():
    other = replace(
        filled(),
        figures=[Figure("a", 0.44, 0.2)],
        groups=[Group("g", [Direction("a", {1: 0.333}, {1: 0.2}, 6, 7, 8)])],
        reverse=[],
        grid=None,
        classes=[],
        gallery=[],
    )
    text = Page(html(other)).text
    assert "0.333" in text
    assert "44 %" in text
    assert not any(number in text for number in ("0.125", "0.750", "87 %", "0.611", "rank 17"))


def test_bars_are_as_long_as_their_shares():
    drawn = str(charts.bar(filled().groups[0].directions[0]))
    assert re.findall(r'class="r(\d)"[^>]* width="([\d.]+%)"', drawn) == [
        ("2", "75.00%"), ("1", "50.00%"), ("0", "12.50%"),
    ]  # fmt: skip
    assert re.findall(r'class="chance" x1="([\d.]+%)"', drawn) == ["1.00%", "5.00%", "10.00%"]


def test_the_map_keeps_distances_and_every_mark_has_a_name():
    drawn = str(charts.plane(Plane([Mark(0, 0, "caption", "a", "p"), Mark(3, 4, "caption", "a", "q")], "")))
    (x, y), (a, b) = ((float(x), float(y)) for x, y in re.findall(r'class="fill" x="([\d.]+)" y="([\d.]+)"', drawn))
    assert (a - x) / (y - b) == pytest.approx(3 / 4, abs=0.01)  # up is up
    assert re.findall(r"<title>(.*?)</title>", drawn) == ["p (caption, a)", "q (caption, a)"]


def test_only_so_many_groups_have_a_colour():
    marks = [Mark(at, 0, "caption", f"g{group}", "") for group in range(10) for at in range(20 - group)]
    groups = charts.groups(Plane(marks, ""))
    assert groups[0] == ("g0", "c0", 20)
    assert [colour for _, colour, _ in groups[7:]] == ["c7", "other", "other"]


def test_an_empty_report_is_a_page_without_empty_sections():
    page = Page(html(Report("Nothing", ["No rows."])))
    assert page.count("section") == page.count("table") == page.count("svg") == page.count("details") == 0
    assert "No rows." in page.text


@pytest.mark.parametrize("values", [[2.0], [3.0, 3.0], [float("nan"), 1.0], [float("inf")], [-1.0, 1.0], [0.0, 0.0]])
def test_curves_of_any_values_can_be_drawn(values):
    drawn = str(charts.lines(Panel("p", [Curve("a", list(range(1, len(values) + 1)), values)])))
    places = re.findall(r'(?:cy|y1|x1|y)="([^"]*)"', drawn)
    assert all(-50 < float(place) < 400 for place in places)


def test_ticks_span_the_values_in_round_steps():
    assert charts.ticks(0, 17) == [0, 5, 10, 15, 20]
    assert charts.ticks(0, 0.07) == [0, 0.02, 0.04, 0.06, 0.08]
    assert charts.ticks(3, 3)[0] <= 3 <= charts.ticks(3, 3)[-1]


def test_labels_are_moved_apart_in_their_order():
    assert charts.apart([10, 12, 100], 20) == [10, 30, 100]
    assert charts.apart([100, 98], 20) == [109, 89]


def test_the_same_report_is_the_same_file(tmp_path):
    first, second = (write(filled(), tmp_path / name).read_bytes() for name in ("a.html", "b.html"))
    assert first == second
    assert first.decode() == html(filled())


def vectors(rows: int, seed: int) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def test_ranks_are_those_of_retrieve_and_ties_count_against_us():
    queries, keys = vectors(30, 0), vectors(40, 1)
    keys[5:15] = keys[5]  # ties
    labels, key_labels = torch.arange(30) % 12, torch.arange(40) % 12
    found = ranked(queries, keys, labels, key_labels)
    assert [one.rank for one in found] == retrieve(queries, keys, (labels, key_labels)).ranks.tolist()
    for one in found:
        places = [key for key, _ in one.keys]
        right = [place for place, key in enumerate(places, start=1) if key_labels[key] == one.label]
        assert one.found == bool(right)
        assert right[:1] == ([one.rank] if one.found else [])
        assert key_labels[one.right[0]] == one.label


def test_queries_without_a_right_key_are_left_out():
    found = ranked(vectors(3, 0), vectors(2, 1), torch.tensor([0, 7, 1]), torch.tensor([0, 1]))
    assert [one.query for one in found] == [0, 2]
    assert ranked(vectors(3, 0), vectors(0, 1), torch.arange(3), torch.arange(0)) == []


def test_half_of_the_picks_are_missed_and_the_seed_decides():
    kinds = [ranked(vectors(60, at), vectors(60, at + 9), torch.arange(60), torch.arange(60)) for at in range(3)]
    chosen = pick(kinds, count=12, seed=3)
    flat = [one for taken in chosen for one in taken]
    assert [one.found for one in flat].count(True) == 6
    assert len({one.label for one in flat}) == len(flat) == 12
    assert all(taken for taken in chosen)
    assert pick(kinds, count=12, seed=3) == chosen
    assert pick(kinds, count=12, seed=4) != chosen


def test_where_nothing_is_missed_there_are_fewer_picks():
    same = vectors(20, 0)
    kinds = [ranked(same, same, torch.arange(20), torch.arange(20))]
    assert [one.found for one in pick(kinds, count=12, seed=0)[0]] == [True] * 6
