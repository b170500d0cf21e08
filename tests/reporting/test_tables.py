"""Markdown and LaTeX say what the page says, and survive hostile names."""

import re

from emotion.reporting.tables import Cell, Column, Table, latex, markdown, matrix, text

HOSTILE = "a|b_c & 50% #1 {x} ~^\\ <b>*é 표정"


def example() -> Table:
    columns = (Column("Name", number=False), Column("Bar", plain=False), Column("Accuracy, %"))
    rows = (
        (Cell("first", strong=True), Cell("", 0.5), Cell("61.4\u202f%", 0.614, "59.8–63.0")),
        (Cell(HOSTILE), Cell("", 0.4), Cell("−2.1", -2.1)),
    )
    return Table("Scores_1.", columns, rows, notes=("* few images",))


def test_markdown_is_a_table_with_the_cells_of_the_page() -> None:
    lines = markdown(example()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    split = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table]
    assert [len(row) for row in split] == [2, 2, 2, 2]
    assert split[0] == ["Name", "Accuracy, %"]
    assert split[1] == [":---", "---:"]
    assert split[2] == ["**first**", "**61.4 % (59.8–63.0)**"]
    assert re.sub(r"\\(.)", r"\1", split[3][0]) == HOSTILE
    assert "* few images".replace("*", "\\*") in markdown(example())


def test_latex_escapes_everything_that_means_something() -> None:
    text = latex(example(), label="tab:x")
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    assert body.count("\\\\\n") == 2
    assert "\\textbf{61.4\\,\\% (59.8--63.0)}" in body
    assert "a|b\\_c \\& 50\\% \\#1 \\{x\\} \\textasciitilde{}\\textasciicircum{}\\textbackslash{}" in body
    assert "\\textless{}b\\textgreater{}" in body
    assert "표정" in body
    assert "$-$2.1" in body
    assert "\\begin{tabular}{lr}" in text
    assert len(re.findall(r"(?<!\\)&", body)) == 2  # one separator a row
    assert text.count("{") - text.count("\\{") == text.count("}") - text.count("\\}")


def test_a_matrix_ends_with_the_recall_of_each_class() -> None:
    table = matrix([[3, 1], [0, 0]], ["a", "b"], "Confusion")
    assert [cell.text for cell in table.rows[0]] == ["a", "3", "1", "4", "75.0\u202f%"]
    assert [cell.text for cell in table.rows[1]] == ["b", "0", "0", "0", "—"]


def test_text_aligns_its_columns_and_escapes_nothing() -> None:
    columns = (Column("loss.class_weights", number=False), Column("accuracy"))
    table = Table(
        "A sweep", columns, ((Cell("none"), Cell("9.5")), (Cell("balanced"), Cell("10.25"))), notes=("a_b",)
    )
    assert text(table).splitlines() == [
        "A sweep",
        "",
        "loss.class_weights  accuracy",
        "none                     9.5",
        "balanced               10.25",
        "",
        "a_b",
    ]
