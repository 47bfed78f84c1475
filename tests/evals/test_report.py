"""The report: its figures are the result's, nothing comes from elsewhere, and no text becomes markup."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from selectolax.lexbor import LexborHTMLParser, LexborNode

from evals.compare import Change
from evals.figures import score, signed
from evals.markdown import safe
from evals.records import EvalResult, SystemResult
from evals.report import write_report
from evals.report_plots import Curve, curves, histogram, spread
from evals.results import to_json
from rag.errors import InvalidInputError

HOSTILE = (
    "<script>alert(1)</script>",
    '</title><img src="http://evil.example/x" onerror="alert(1)">',
    "]]>--><!-- ' \" &amp; &lt;",
    "ما هي مدة الإجازة السنوية؟",
    "\u202eright to left\u202c | pipe `tick` [link](https://evil.example)",
    "x" * 500,
    "a lone \ud800 surrogate and a \x00 nul",
)


def system(name: str, values: list[float], **more: Any) -> SystemResult:
    mean = sum(values) / len(values)
    return SystemResult(
        name=name, settings={"retrieval": {"dense_weight": 0.7}}, fingerprint={"model": "m"},
        metrics={"ndcg@10": mean, "recall@10": 0.81234, "tokens_in": 512.0},
        intervals={"ndcg@10": (mean - 0.03, mean + 0.04)},
        per_query={"ndcg@10": {f"q{number}": value for number, value in enumerate(values)}},
        latency_ms={"p50": 12.34, "p95": 45.6, "p99": 78.9}, index={"chunks": 1234, "seconds": 2.5}, **more,
    )  # fmt: skip


def result(*systems: SystemResult, questions: tuple[str, ...] = (), **more: Any) -> EvalResult:
    count = len(systems[0].per_query["ndcg@10"])
    texts = {f"q{n}": questions[n] if n < len(questions) else f"Question {n}?" for n in range(count)}
    fields = {"kind": "retrieval", "dataset": "made", "dataset_sha256": "0" * 64, "provenance": {"commit": "abc"}}
    return EvalResult(**{**fields, **more}, queries=count, systems=systems, questions=texts)


BEFORE = [0.0, 0.25, 0.5, 0.75, 1.0, 0.5, 0.5]
AFTER = [0.5, 0.25, 0.6, 0.70, 1.0, 0.9, 0.1]


def written(tmp_path: Path, *results: EvalResult, metric: str | None = None) -> LexborHTMLParser:
    html, _, _ = write_report([(f"file{n}", one) for n, one in enumerate(results)], tmp_path / "report.html", metric)
    return LexborHTMLParser(html.read_text(encoding="utf-8"))


def tables(page: LexborHTMLParser) -> list[list[list[str]]]:
    return [
        [[cell.text(separator=" ", strip=True) for cell in row.css("th, td")] for row in table.css("tr")]
        for table in page.css("table")
    ]


def titles(page: LexborHTMLParser, selector: str) -> list[str]:
    return [node.text() for node in page.css(f"{selector} title")]


def test_every_figure_of_the_tables_is_the_results(tmp_path: Path) -> None:
    page = written(tmp_path, result(system("old", BEFORE), system("new", AFTER)))
    data = json.loads((tmp_path / "report.json").read_text())
    scores, decision, fell, rose, speed = tables(page)
    assert scores[0] == ["", "old", "new"]
    for row, metric in zip(scores[1:], ("ndcg@10", "recall@10", "tokens_in"), strict=True):
        for cell, one in zip(row[1:], data["results"][0]["systems"], strict=True):
            ends = one["intervals"].get(metric)
            assert cell == score(one["metrics"][metric]) + (f" {score(ends[0])} to {score(ends[1])}" if ends else "")
    (pair,) = data["comparisons"]
    assert [row[1] for row in decision[1:5]] == [
        signed(pair["difference"]),
        f"{signed(pair['interval'][0])} to {signed(pair['interval'][1])}",
        score(pair["p_adjusted"]),
        "yes" if pair["is_decided"] else "no",
    ]
    assert decision[-1][1] == "3, 2, 2"
    for shown, changes in ((fell, pair["fell"]), (rose, pair["rose"])):
        assert [row[1:] for row in shown[1:]] == [
            [score(c["a"]), score(c["b"]), signed(c["difference"])] for c in changes
        ]
        assert [row[0] for row in shown[1:]] == [change["question"] for change in changes]
    assert [change["query"] for change in pair["fell"]] == ["q6", "q3"]
    assert speed[1:] == [
        ["p50", "12.3 ms", "12.3 ms"], ["p95", "45.6 ms", "45.6 ms"], ["p99", "78.9 ms", "78.9 ms"],
        ["index: chunks", "1,234", "1,234"], ["index: seconds", "2.5", "2.5"],
    ]  # fmt: skip
    assert page.css_first(".verdict").text() == pair["verdict"]
    assert data["results"][0] == json.loads(json.dumps(to_json(result(system("old", BEFORE), system("new", AFTER)))))


def test_the_page_is_built_as_it_was_agreed(tmp_path: Path) -> None:
    curve = {"old": {"points": [[0.5, 0.1, 0.9], [1.0, 0.4, 0.1]], "area": 0.2, "coverage": 0.75, "risk": 0.25}}
    page = written(tmp_path, result(system("old", BEFORE), system("new", AFTER), provenance={"curve": curve}))
    assert [(node.tag, node.text()) for node in page.css("h1, h2, h3")] == [
        ("h1", "Evaluation"), ("h2", "made"), ("h3", "Scores"), ("h3", "The same in figures"),
        ("h3", "new against old"), ("h3", "How far they moved"), ("h3", "Is it real?"),
        ("h3", "Questions that changed most"), ("h3", "Risk and coverage"), ("h3", "The same in figures"),
        ("h3", "Speed"), ("h3", "The same in figures"), ("h3", "Where the figures come from"),
    ]  # fmt: skip
    assert ["", "area", "coverage", "risk"] in [table[0] for table in tables(page)]
    assert ["old", ".200", ".750", ".250"] in [row for table in tables(page) for row in table]
    for picture in page.css("svg[role=img]"):
        assert picture.css_first("title").text()
        assert picture.css_first("desc").text()
        assert picture.attributes["aria-label"]
    for plot in page.css(".plot[tabindex]"):
        assert plot.css(".mark"), "what can be stepped through has something to step to"
        assert plot.parent is not None
        assert plot.parent.css_first("[role=status]") is not None
    assert all(table.css("th[scope=col]") and table.css("th[scope=row]") for table in page.css("table"))


def test_every_question_is_in_the_scatter_and_those_that_changed_in_the_histogram(tmp_path: Path) -> None:
    page = written(tmp_path, result(system("old", BEFORE), system("new", AFTER)))
    dots = "\n".join(titles(page, "circle.mark"))
    for number in range(len(BEFORE)):
        assert f"Question {number}?" in dots
    assert "old .000, new .500: 1 question\nQuestion 0?" in titles(page, "circle.mark.s1")
    assert titles(page, ".plot[tabindex] g.mark") == [
        "−.400 to −.300: 1 question\nQuestion 6?", "−.100 to .000: 1 question\nQuestion 3?",
        ".000 to +.100: 1 question\nQuestion 2?", "+.300 to +.400: 1 question\nQuestion 5?",
        "+.400 to +.500: 1 question\nQuestion 0?",
    ]  # fmt: skip


def test_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    page = written(tmp_path, result(system("old", BEFORE), system("new", AFTER), questions=HOSTILE))
    for node in page.css("*"):
        for name, value in node.attributes.items():
            assert name not in {"src", "href", "srcset", "action", "data", "poster", "style", "xlink:href"}, node.tag
            assert not name.startswith("on"), name
            assert "//" not in (value or ""), (name, value)
    assert not page.css("link, iframe, object, embed, base, img, form")
    style, script = page.css_first("style").text(), page.css_first("script").text()
    assert not re.search(r"url\(|@import|https?:", style + script)
    policy = page.css_first("meta[http-equiv=Content-Security-Policy]").attributes["content"] or ""
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind, text in (("style", style), ("script", script)):
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy
    assert "innerHTML" not in script


def test_text_of_strangers_stays_text(tmp_path: Path) -> None:
    names = ("<b>old</b>", 'new" onload="x')
    page = written(
        tmp_path,
        result(
            system(names[0], BEFORE), system(names[1], AFTER), questions=HOSTILE, dataset="</title><script>x</script>",
            provenance={"<i>": {"<u>": "</dd><script>"}, "command": "a && <b>"},
        ),
    )  # fmt: skip
    assert len(page.css("script")) == 1
    assert not page.css("b, i, u, img")
    shown = [row[0] for table in tables(page) for row in table]
    assert HOSTILE[0] in shown
    assert HOSTILE[3] in shown
    assert all(node.attributes.get("dir") == "auto" for node in page.css("bdi"))
    assert names[0] in shown or names[0] in (page.css_first(".legend").text() or "")
    markdown = (tmp_path / "report.md").read_text()
    assert "<script" not in re.sub(r"\\<", "", markdown)
    assert not re.search(r"(?<!\\)\]\(", markdown)
    for line in markdown.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in {4, 5}, line


def test_a_system_alone_shows_its_worst_questions(tmp_path: Path) -> None:
    page = written(tmp_path, result(system("only", BEFORE)))
    worst = tables(page)[1]
    assert worst[1:3] == [["Question 0?", ".000"], ["Question 1?", ".250"]]
    assert page.css_first(".verdict").text().startswith("nDCG@10 is .500 on 7 questions")
    assert "How far they moved" not in page.body.text()


def test_each_dataset_has_a_section(tmp_path: Path) -> None:
    page = written(
        tmp_path,
        result(system("default", BEFORE)),
        result(system("default", AFTER)),
        result(system("default", BEFORE), dataset="other", dataset_sha256="1" * 64),
    )
    assert [node.text() for node in page.css("h2")] == ["made", "other"]
    assert "default (file1) against default (file0)" in [node.text() for node in page.css("h3")]


def test_what_cannot_be_reported_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no result to report"):
        write_report([], tmp_path / "report.html")
    with pytest.raises(InvalidInputError, match=r"must end in \.html"):
        write_report([("a", result(system("a", BEFORE)))], tmp_path / "report.json")
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_report([("a", result(system("a", BEFORE)))], tmp_path / "nowhere" / "report.html")
    with pytest.raises(InvalidInputError, match="has no map"):
        write_report([("a", result(system("a", BEFORE)))], tmp_path / "report.html", "map")


def svg(text: str) -> LexborNode:
    found = LexborHTMLParser(text).css_first("svg")
    assert found is not None
    return found


def test_bins_meet_at_zero_and_rounding_does_not_move_a_question() -> None:
    changes = [Change(f"q{n}", f"{n}", 0.0, value) for n, value in enumerate((0.3 - 0.2, 0.1, -0.1, 1.0, -1.0, 0.0))]
    heads = [title.text().partition("\n")[0] for title in svg(histogram("t", changes)).css(".mark title")]
    assert heads == [
        "−1.000 to −.900: 1 question", "−.100 to .000: 1 question", ".000 to +.100: 2 questions",
        "+.900 to +1.000: 1 question",
    ]  # fmt: skip
    assert "1 of 6 questions did not change" in svg(histogram("t", changes)).text()


def test_the_outer_bins_hold_nothing_and_all() -> None:
    changes = [Change("a", "a", 0.0, 0.0), Change("b", "b", 1.0, 1.0), Change("c", "c", 0.3, 0.3)]
    heads = [title.text().partition("\n")[0] for title in svg(spread("t", changes)).css(".mark title")]
    assert heads == [".000 to .100: 1 question", ".300 to .400: 1 question", ".900 to 1.000: 1 question"]


def test_pictures_of_nothing_and_of_much() -> None:
    assert "0 of 0 questions did not change" in histogram("t", [])
    points = tuple((n / 1000, n / 2000) for n in range(1, 1001))
    found = svg(curves("t", [Curve("one", points, (0.5, 0.25))], "coverage", "risk"))
    assert 10 < len(found.css("circle.mark")) <= 22
    assert len(found.css_first("path").attributes["d"] or "") > 5000, "the line itself has every point"


def test_markdown_cannot_be_escaped_from() -> None:
    assert safe("a|b\n# c <x> [y](z) `w`") == r"a\|b \# c \<x\> \[y\](z) \`w\`"
