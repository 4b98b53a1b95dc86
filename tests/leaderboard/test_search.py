"""Rows whose setting was chosen by a search: identity, labels, budget, footer, columns."""

import csv as stdlib_csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from leaderboard import frames, render
from leaderboard.errors import ReportError
from leaderboard.labels import row_labels
from leaderboard.record import Record, RunArguments
from leaderboard.records import Records
from leaderboard.table import build

SEARCH = {"protocol": "random-1", "draws": 16, "seeds": 3, "select": "val", "draw": 5}
CHOSEN = {"hyperparameters": {"gamma": 1.25}, "recipe": {"epochs": 20, "lr": 0.01}}


@pytest.fixture
def tuned(record):
    """Make the record of one tuned run; keywords replace parts of its search."""

    def make(method="asl", seed=0, total=0.7, science=CHOSEN, **search):
        run = record(method, seed, total, search={**SEARCH, **search}, **science)
        return Record.from_json(run, Path("run.json"))

    return make


@pytest.fixture
def default(record):
    return lambda method="asl", seed=0, total=0.6, **science: Record.from_json(
        record(method, seed, total, **science), Path("run.json")
    )


def labels_of(*runs):
    return row_labels([run.arguments for run in runs])


def test_the_search_is_part_of_the_identity(default, tuned):
    plain, searched = default(**CHOSEN).arguments, tuned().arguments
    assert replace(searched, search={}).run_id == plain.run_id
    assert searched.run_id != plain.run_id
    assert tuned(draws=32).arguments.run_id != searched.run_id
    assert not searched.is_same_run(plain)
    assert (searched.draws, plain.draws) == (16, 0)
    assert "search" not in plain.to_json(3)
    assert searched.to_json(3)["search"] == SEARCH


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"draws": "16"}, "search.draws must be a whole number"),
        ({"seeds": None}, "search.seeds must be a whole number"),
        ({"draw": 1.5}, "search.draw must be a whole number"),
        ({"protocol": 1}, "search.protocol must be a string"),
        ({"select": None}, "search.select must be a string"),
    ],
)
def test_a_damaged_search_is_named(record, change, message):
    with pytest.raises(ReportError, match=message):
        Record.from_json(record(search={**SEARCH, **change}), Path("run.json"))


def test_labels_name_the_budget_in_place_of_the_chosen_values(default, tuned):
    assert labels_of(default(), tuned(), default("bce")) == [
        "asl (default)",
        "asl (tuned, 16 draws)",
        "bce",
    ]
    assert labels_of(tuned()) == ["asl (tuned, 16 draws)"]
    assert labels_of(tuned(draws=1), tuned(draws=2)) == [
        "asl (tuned, 1 draw)",
        "asl (tuned, 2 draws)",
    ]


def test_labels_of_several_searches_of_one_method(default, tuned):
    assert labels_of(tuned(), tuned(select="val-observed"), tuned(draws=32)) == [
        "asl (tuned, 16 draws, select=val)",
        "asl (tuned, 16 draws, select=val-observed)",
        "asl (tuned, 32 draws, select=val)",
    ]
    other = tuned(science={**CHOSEN, "hyperparameters": {"gamma": 3.0}}, draw=6)
    assert labels_of(tuned(), other) == [
        "asl (tuned, 16 draws, gamma=1.25)",
        "asl (tuned, 16 draws, gamma=3.0)",
    ]
    set_by_hand = default(hyperparameters={"gamma": 1.0})
    assert labels_of(default(), set_by_hand, tuned()) == [
        "asl (gamma=2.0)",
        "asl (gamma=1.0)",
        "asl (tuned, 16 draws)",
    ]


def test_other_recipe_fields_stay_in_the_label_of_a_tuned_row(default, tuned):
    longer = tuned(science={**CHOSEN, "recipe": {"epochs": 40, "lr": 0.01}})
    assert labels_of(default(), default("bce"), longer)[2] == "asl (tuned, 16 draws, epochs=40)"


def test_a_tuned_row_does_not_count_for_the_values_that_were_chosen(default, tuned):
    rates = default(recipe={"epochs": 20, "lr": 0.02})
    assert labels_of(rates, tuned()) == ["asl (default)", "asl (tuned, 16 draws)"]
    footer = dict(build(Records((rates, tuned()))).footer)
    assert footer["recipe"] == "lr=0.02; otherwise defaults 1: epochs=20"


def test_the_footer_names_protocol_and_rule_and_the_common_recipe(default, tuned):
    runs = (default(), tuned(), tuned("bce"), tuned("focal"))
    footer = dict(build(Records(runs)).footer)
    assert footer["tuning"].startswith(
        "protocol random-1, chosen by val (mAP on the true labels of the validation part), mean "
        "over 3 seeds; every tuned row"
    )
    assert footer["recipe"] == "defaults 1: epochs=20, lr=0.001"
    assert "tuning" not in dict(build(Records(runs[:1])).footer)


def test_every_format_shows_the_budget(default, tuned):
    table = build(Records((default(), tuned())))
    assert [(row.budget, row.draws) for row in table.rows] == [
        ("tuned, 16 draws", 16),
        ("default", 0),
    ]
    rows = list(stdlib_csv.DictReader(io.StringIO(render.csv([table]))))
    assert [row["draws"] for row in rows] == ["16", "0"]
    assert "asl (tuned, 16 draws)" in render.plain(table)
    assert "| asl (tuned, 16 draws) | 1 |" in render.markdown([table])
    page = render.html([table])
    assert "asl (tuned, 16 draws)" in page
    assert "random-1: draw 5, chosen by val (mean over seeds, 3 per draw)" in page
    frame = frames.runs([default(), tuned()])
    assert frame["draws"].tolist() == [0, 16]


def test_arguments_with_a_search_have_rows_of_their_own(default, tuned):
    runs = [default(seed=k) for k in range(2)] + [tuned(seed=k) for k in range(2)]
    table = build(Records(tuple(runs)))
    assert [(row.label, row.seeds) for row in table.rows] == [
        ("asl (tuned, 16 draws)", (0, 1)),
        ("asl (default)", (0, 1)),
    ]
    assert isinstance(table.rows[0].arguments, RunArguments)
