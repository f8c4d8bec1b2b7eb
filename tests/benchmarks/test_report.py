"""Tables from results: readable, complete, and put between the marks of the document."""

import copy

import pytest

from benchmarks import report
from benchmarks.scenarios import SCENARIOS

ROW = {
    "version": "peer 1.0",
    "problems": [],
    "ratio": None,
    "rate": 51234.5,
    "cpu": 19.14e-6,
    "p50": 0.00112,
    "p99": 1.5,
    "pss": 33.5 * 1024 * 1024,
    "growth": 700_000,
    "held": 4096.0,
}


def row(**changes):
    return {**copy.deepcopy(ROW), **changes}


def ratio(median):
    return {"median": median, "low": median - 0.01, "high": median + 0.01, "pairs": 5}


def result(rows):
    return {
        "title": "a title",
        "date": "2026-01-02",
        "command": "python -m benchmarks",
        "rounds": 5,
        "seconds": 3.0,
        "machine": "a machine",
        "rows": rows,
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (19.14e-6, "19.1 µs"), (0.00112, "1.12 ms"), (0.1, "100 ms"), (1.5, "1.5 s"), (0, "0 µs")],
)
def test_durations_have_three_figures_in_the_unit_that_fits(seconds, text):
    assert report.duration(seconds) == text


def test_a_table_has_one_line_a_server_in_aligned_columns():
    lines = report.table(SCENARIOS["get"], result({"daphne": row(), "uvicorn": row(ratio=ratio(0.5))}))
    assert lines[0] == lines[2] == lines[-1]
    assert lines[1].split()[:4] == ["server", "per", "second", "CPU"]
    assert " ".join(lines[3].split()) == "daphne 51,234 19.1 µs 1.12 ms 1.5 s 33.5 MiB 0.7 MiB -"
    assert lines[4].endswith("0.50 (0.49-0.51)")
    starts = [
        position for position in range(1, len(lines[0])) if lines[0][position - 1 : position + 1] == " ="
    ]
    assert all(line[start - 1 : start] in ("", " ") for line in lines for start in starts)


def test_a_server_that_failed_has_no_figures_and_its_problem_is_told():
    failed = row(
        problems=["3 timeout errors"], cpu=None, rate=None, p50=None, p99=None, pss=None, growth=None
    )
    found = result({"daphne": row(), "uvicorn": failed})
    text = report.terminal_text("get", found)
    assert "uvicorn  failed" in text
    assert "uvicorn: 3 timeout errors" in text
    assert "against uvicorn (reach 0.60, aim 0.50): not measured" in text


def test_the_best_peer_is_judged_without_the_lower_bound():
    rows = {"daphne": row(), "uvicorn": row(ratio=ratio(0.7)), "granian": row(ratio=ratio(0.9))}
    rows["bound"] = row(ratio=ratio(3.0))
    said = report.verdicts(SCENARIOS["churn-http"], result(rows))
    assert said == ["against the best peer (reach 0.80): 0.90, missed by 12%"]


def test_memory_is_judged_where_the_scenario_asks_for_it():
    said = report.verdicts(SCENARIOS["upload"], result({"daphne": row(growth=6_000_000)}))
    assert said[-1] == "memory growth (at most 5 MB): 6.0 MB, missed by 20%"
    said = report.verdicts(SCENARIOS["idle-http"], result({"daphne": row()}))
    assert said == ["KiB a connection (reach 5, aim 3): 4.0, reached"]


def test_the_document_keeps_what_stands_outside_the_marks(tmp_path):
    document = tmp_path / "performance.rst"
    document.write_text(f"Title\n\n{report.BEGIN}\nold\n{report.END}\n\nThe end.\n")
    results = {"get": result({"daphne": row(), "uvicorn": row(ratio=ratio(0.5))})}
    report.write_document(document, results)
    first = document.read_text()
    report.write_document(document, results)
    assert document.read_text() == first
    assert first.startswith("Title\n\n.. tables begin\n\n")
    assert first.endswith("\n.. tables end\n\nThe end.\n")
    assert "old" not in first
    for part in ("2026-01-02, 5 pairs of 3 s", "* machine: a machine", "* uvicorn: peer 1.0", "aim met"):
        assert part in first


def test_a_document_without_marks_is_refused(tmp_path):
    document = tmp_path / "performance.rst"
    document.write_text("nothing")
    with pytest.raises(ValueError, match="tables begin"):
        report.write_document(document, {})
    assert document.read_text() == "nothing"
