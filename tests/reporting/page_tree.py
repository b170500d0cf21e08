"""An HTML page as a tree, from the standard library's parser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Node:
    tag: str
    attributes: dict[str, str | None] = field(default_factory=dict)
    children: list[Node | str] = field(default_factory=list)

    def find(self, tag: str, **attributes: str) -> Iterator[Node]:
        """All elements below this one with a tag ("*": any) and attribute values (class: one of its words)."""
        wanted = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items()}
        for child in self.children:
            if isinstance(child, Node):
                if tag in ("*", child.tag) and all(child.has(key, value) for key, value in wanted.items()):
                    yield child
                yield from child.find(tag, **attributes)

    def one(self, tag: str, **attributes: str) -> Node:
        return next(self.find(tag, **attributes))

    def has(self, key: str, value: str) -> bool:
        found = self.attributes.get(key) or ""
        return value in found.split() if key == "class" else found == value

    @property
    def text(self) -> str:
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(parts).split())


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("root")
        self.open = [self.root]
        self.unbalanced: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        node = Node(tag, dict(attrs))
        self.open[-1].children.append(node)
        if tag not in VOID:
            self.open.append(node)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Node(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.open[-1].tag == tag:
            self.open.pop()
        else:
            self.unbalanced.append(f"</{tag}> inside <{self.open[-1].tag}>")

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def parse(html: str) -> Node:
    """The document's tree.

    Raises:
        ValueError: an element is not closed, or closed twice.
    """
    builder = _Builder()
    builder.feed(html)
    builder.close()
    if builder.unbalanced or len(builder.open) > 1:
        raise ValueError(
            f"not well-formed: {builder.unbalanced[:5]}, open: {[node.tag for node in builder.open]}"
        )
    return builder.root


def cells(table: Node) -> list[list[str]]:
    """The texts of a table's body, row by row, without the small print."""
    body = table.one("tbody")
    return [
        [_without_small(cell) for cell in row.children if isinstance(cell, Node) and cell.tag in ("th", "td")]
        for row in body.find("tr")
    ]


def _without_small(cell: Node) -> str:
    kept = [child for child in cell.children if isinstance(child, str) or child.tag != "small"]
    return Node(cell.tag, {}, kept).text


def table_with(node: Node, caption: str) -> Node:
    return next(table for table in node.find("table") if caption in table.one("caption").text)


def number(text: str) -> float:
    """The first number of a text as it is printed; percentages as shares."""
    found = re.search(r"[-−]?[\d,]*\.?\d+", text)
    assert found, text
    value = float(found.group().replace(",", "").replace("−", "-"))
    return value / 100 if "%" in text else value
