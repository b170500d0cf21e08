"""A page of ours is sound: self-contained, safe, and usable by keyboard and screen reader."""

import base64
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from emotion.reporting.album import EDGE_PX
from emotion.reporting.report import make_page, render
from emotion.runs import RunFolder
from tests.reporting.page_tree import Node, parse


@pytest.fixture(params=["one run", "a sweep"])
def text(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("html" if request.param == "one run" else "sweep_html")


@pytest.fixture
def tree(text: str) -> Node:
    return parse(text)


def test_nothing_is_loaded(text: str, tree: Node) -> None:
    for node in tree.find("*"):
        for key in ("src", "href", "srcset", "action", "poster", "data"):
            value = node.attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (node.tag, key, value[:60])
    assert "@import" not in text
    assert "url(" not in text


def test_only_our_own_script_may_run(tree: Node) -> None:
    policy = tree.one("meta", http_equiv="Content-Security-Policy").attributes["content"] or ""
    script = next(node for node in tree.find("script") if "type" not in node.attributes)
    digest = base64.b64encode(hashlib.sha256("".join(map(str, script.children)).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_references_resolve(tree: Node) -> None:
    ids = [node.attributes["id"] for node in tree.find("*") if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in tree.find("*"):
        for key in ("aria-labelledby", "for"):
            for name in (node.attributes.get(key) or "").split():
                assert name in ids, (node.tag, key, name)
        target = node.attributes.get("href") or ""
        if target.startswith("#"):
            assert target[1:] in ids


def test_tables_have_captions_and_scopes(tree: Node) -> None:
    tables = list(tree.find("table"))
    assert len(tables) > 8
    for table in tables:
        assert table.one("caption").text
        for heading in table.find("th"):
            assert heading.attributes.get("scope") in ("row", "col")
            assert heading.text
        widths = {len([c for c in row.children if isinstance(c, Node)]) for row in table.find("tr")}
        assert len(widths) == 1


def test_sortable_tables_say_so(tree: Node) -> None:
    table = tree.one("table", class_="sortable")
    for heading in table.one("thead").find("th"):
        assert heading.attributes["aria-sort"] in ("none", "ascending", "descending")
        assert heading.one("button").attributes["type"] == "button"


def test_pictures_and_charts_have_names(tree: Node) -> None:
    charts = [node for node in tree.find("svg") if node.attributes.get("role") == "img"]
    assert len(charts) > 20
    for node in charts:
        assert node.attributes.get("aria-label")
    for node in tree.find("svg"):
        assert node.attributes.get("role") == "img" or node.attributes.get("aria-hidden") == "true"
    for node in tree.find("img"):
        assert node.attributes.get("alt")


def test_headings_do_not_skip_levels(tree: Node) -> None:
    levels = [int(node.tag[1]) for node in tree.find("*") if re.fullmatch(r"h[1-6]", node.tag)]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_page_has_language_title_skip_link_and_footer(tree: Node) -> None:
    assert tree.one("html").attributes["lang"] == "en"
    assert tree.one("title").text == tree.one("h1").text
    assert tree.one("a", class_="skip").attributes["href"] == "#content"
    assert tree.one("main").attributes["id"] == "content"
    footer = tree.one("footer").text
    assert "perceived expressions" in footer
    assert "Barrett" in footer
    assert "2019" in footer


def test_a_picture_is_embedded_once(run: RunFolder) -> None:
    def same(run: RunFolder, ids: Sequence[str]) -> Mapping[str, np.ndarray]:
        return {name: np.full((300, 300, 3), 90, np.uint8) for name in ids}

    page = parse(render(make_page([run], same)))
    assert len(list(page.find("image"))) == 1
    assert len(list(page.find("use"))) > 20
    address = page.one("image").attributes["href"] or ""
    assert Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))).size == (EDGE_PX, EDGE_PX)
