"""Tables: rows, labels, marks, footers, and refusals to mix incomparable records."""

from pathlib import Path

import pytest
from sealing import as_format_2, resealed

from leaderboard.errors import ReportError
from leaderboard.marks import Mark
from leaderboard.record import Failure, Record
from leaderboard.records import Records
from leaderboard.render.text import cell_text
from leaderboard.statistics import chance_ap, chance_deviation
from leaderboard.table import build, build_all

COCO = "c0c0" * 16
VOC = "70c0" * 16


def refusal(records, **filters):
    """The message of the error that building one table raises."""
    with pytest.raises(ReportError) as caught:
        build(records, **filters)
    return str(caught.value)


def test_rows_by_total_with_mean_and_spread(load, five_methods):
    table = build(load(five_methods))
    assert [(row.label, cell_text(row.cells["total"])) for row in table.rows] == [
        ("db", "70.00"),
        ("hill", "65.00"),
        ("asl", "62.00 ± 2.00"),
        ("focal", "55.00 ± 0.00"),
        ("bce", "51.00 ± 1.00"),
    ]
    asl = table.rows[2]
    assert asl.seeds == (0, 1, 2)
    assert [cell_text(asl.cells[shot]) for shot in ("many", "medium", "few", "average")] == [
        "72.00 ± 2.00",
        "62.00 ± 2.00",
        "52.00 ± 2.00",
        "62.00 ± 2.00",
    ]


def test_oracle_rows_and_rows_of_few_seeds_are_shown_and_not_ranked(load, five_methods):
    table = build(load(five_methods))
    for column in ("total", "many", "few"):
        assert [
            (row.label, row.is_oracle, row.is_ranked, row.cells[column].mark) for row in table.rows
        ] == [
            ("db", True, False, Mark.NONE),
            ("hill", False, False, Mark.NONE),
            ("asl", False, True, Mark.BEST),
            ("focal", False, True, Mark.SECOND),
            ("bce", False, True, Mark.LOWEST),
        ]
    footer = dict(table.footer)
    assert footer["† oracle"] == "db uses true counts; these rows are not ranked"
    assert footer["seeds"] == "1 to 3 per row; rows with fewer than 3 are not ranked (hill)"


def test_rows_of_one_seed_each_are_ranked(load, record):
    table = build(load([record("asl", 0, 0.6), record("bce", 0, 0.5), record("focal", 0, 0.4)]))
    marks = [row.cells["total"].mark for row in table.rows]
    assert marks == [Mark.BEST, Mark.SECOND, Mark.LOWEST]
    assert dict(table.footer)["seeds"] == "1 per row"


def test_the_seeds_of_an_oracle_unrank_nobody(load, record):
    runs = [record("db", 0, 0.7), record("db", 1, 0.7), record("asl", 0), record("bce", 0, 0.5)]
    table = build(load(runs))
    assert [(row.label, row.cells["total"].mark) for row in table.rows] == [
        ("db", Mark.NONE),
        ("asl", Mark.BEST),
        ("bce", Mark.SECOND),
    ]
    assert dict(table.footer)["seeds"] == "1 to 2 per row"


def test_the_footer_describes_split_and_protocol(load, five_methods):
    assert build(load(five_methods)).footer[:10] == (
        ("split", "coco-lt, fingerprint c0c0c0c0c0c0"),
        ("regime", "pal:0.5"),
        ("images", "1,909 train, 200 val, 5,000 test"),
        (
            "classes",
            "4 (1 many, 1 medium, 2 few); few < 20 ≤ medium < 100 ≤ many, by true training "
            "positives",
        ),
        ("left out", "1 class without positives in the test set, AP undefined (unseen)"),
        (
            "chance",
            "random scores give 0.76 ± 0.23 (0.96 ± 0.35 many, 0.76 ± 0.38 medium, "
            "0.56 ± 0.44 few), mean ± standard deviation over all "
            "rankings",
        ),
        ("selection", "last"),
        ("metric version", "1"),
        ("recipe", "defaults 1: epochs=20, lr=0.001"),
        ("seeds", "1 to 3 per row; rows with fewer than 3 are not ranked (hill)"),
    )


def footer_of(runs):
    """The footer of a table of some runs, without files."""
    parsed = (Record.from_json(resealed(run), Path("run.json")) for run in runs)
    return dict(build(Records(tuple(parsed))).footer)


def test_the_footer_states_a_recipe_that_all_rows_share(record):
    recipe = {"epochs": 3, "lr": 0.001, "milestones": "", "ratio": 1 / 3}
    names = {"recipe_defaults": "1", "recipe": ["epochs"], "hyperparameters": []}
    runs = [record(key, 0, recipe=recipe, departures=names) for key in ("asl", "bce")]
    runs.append(external(record, "ours", 0, 0.5, "a"))
    assert footer_of(runs)["recipe"] == (
        "epochs=3; otherwise defaults 1: lr=0.001, ratio=0.3333; unknown for ours (computed "
        "elsewhere)"
    )


def test_a_row_whose_recipe_departs_from_most_rows_says_so(load, record):
    longer = {"epochs": 40, "lr": 0.001}
    runs = [record("asl", 0, 0.6), record("bce", 0, 0.5, recipe=longer), record("focal", 0, 0.4)]
    assert [row.label for row in build(load(runs)).rows] == ["asl", "bce (epochs=40)", "focal"]


def test_of_two_equally_frequent_recipes_the_footer_states_the_default(load, record):
    longer = {"epochs": 40, "lr": 0.001}
    table = build(load([record("asl", 0, 0.6), record("bce", 0, 0.5, recipe=longer)]))
    assert [row.label for row in table.rows] == ["asl", "bce (epochs=40)"]
    assert dict(table.footer)["recipe"] == (
        "defaults 1: epochs=20, lr=0.001; rows with another recipe say so in their label"
    )


def test_the_recipe_of_scores_from_elsewhere_is_unknown(record):
    footer = footer_of([external(record, "ours", 0, 0.5, "a")])
    assert footer["recipe"] == "unknown, because all scores were computed elsewhere"
    assert "heads" not in footer


def test_the_footer_names_the_heads(record):
    recipe = {"epochs": 20, "lr": 0.001, "head": "linear-scaled"}
    names = {"recipe_defaults": "1", "recipe": [], "hyperparameters": []}
    runs = [record(key, 0, recipe=recipe, departures=names) for key in ("asl", "gcn", "old")]
    runs[0]["method"]["own_head"], runs[1]["method"]["own_head"] = False, True
    assert footer_of(runs)["heads"] == (
        "linear-scaled, from the recipe; the method's own for gcn; not recorded, maybe the "
        "method's own, for old"
    )
    assert footer_of(runs)["recipe"] == "defaults 1: epochs=20, lr=0.001, head=linear-scaled"


def test_the_footer_counts_classes_without_negatives_and_unknown_labels(record):
    run = record("asl", 0, 0.6)
    assert not {"test labels", "no negatives"} & footer_of([run]).keys()
    run["split"]["test_known"] = [40, 30, 4000, 0]
    footer = footer_of([run])
    assert footer["no negatives"] == (
        "2 classes have no known negative in the test part, so their AP is 100 by definition "
        "(cat & <dog>, cup)"
    )
    assert footer["test labels"] == (
        "20.35 % known; 15,930 of 20,000 are unknown and left out of their class"
    )
    run["split"]["test_known"] = [40, 5000, 5000, 5000]
    footer = footer_of([run])
    assert footer["no negatives"].startswith("1 class has no known negative in the test part, so")
    run["split"]["test_known"] = [5000, 5000, 5000, 4999]
    assert footer_of([run])["test labels"].startswith("99.99 % known; 1 of 20,000 are")


def test_declarations_of_any_seed_hold_for_the_row(load, record):
    runs = [external(record, "ours", seed, 0.5 + seed / 100, str(seed)) for seed in (0, 1, 2)]
    runs[1]["method"] |= {"oracle": ["true_counts"], "note": "ImageNet-21k", "scale": "logit"}
    runs[2]["method"] |= {"oracle": ["noise_rate", "true_counts"], "note": "448 pixels"}
    table = build(load(runs))
    (row,) = table.rows
    assert row.method.oracle == ("true_counts", "noise_rate")
    assert not row.is_ranked
    footer = dict(table.footer)
    assert footer["† oracle"] == "ours uses true counts, noise rate; these rows are not ranked"
    assert footer["declared"] == "ours: ImageNet-21k; 448 pixels"


def test_chance_counts_known_labels_only(load, record):
    run = record("asl", 0, 0.6)
    run["split"]["test_known"] = [40, 60, 20, 0]
    (line,) = (text for name, text in build(load([run])).footer if name == "chance")
    half, spread = 100 * chance_ap(30, 60), 100 * chance_deviation(30, 60)
    assert line == (
        f"random scores give {(200 + half) / 3:.2f} ± {spread / 3:.2f} (100.00 ± 0.00 many, "
        f"{half:.2f} ± {spread:.2f} medium, 100.00 ± 0.00 few), mean ± standard deviation over all "
        "rankings"
    )


def test_an_empty_group_is_a_dash(load, record):
    runs = [record("asl", 0, 0.6), record("bce", 0, 0.5)]
    for run in runs:
        run["metrics"]["map_few"] = None
        run["split"]["shot"] = ["many", "medium", "medium", "medium"]
    table = build(load(runs))
    assert [cell_text(row.cells["few"]) for row in table.rows] == ["–", "–"]
    assert [row.cells["few"].mark for row in table.rows] == [Mark.NONE, Mark.NONE]
    assert table.notes == ()


def test_a_value_that_only_some_seeds_have_is_a_dash_with_a_note(load, record):
    runs = [record("asl", 0), record("asl", 1)]
    runs[1]["metrics"]["map_few"] = None
    table = build(load(runs))
    assert cell_text(table.rows[0].cells["few"]) == "–"
    assert table.notes == ("asl: few is undefined for 1 of 2 seeds, so its cell is a dash.",)


def test_a_row_without_a_total_comes_last(load, record):
    runs = [record("asl", 0, 0.6), record("aaa", 0, 0.5)]
    runs[1]["metrics"]["map"] = None
    assert [row.label for row in build(load(runs)).rows] == ["asl", "aaa"]


def test_labels_show_the_values_in_which_the_rows_of_a_method_differ(load, record):
    runs = [
        record("asl", 0, 0.63, hyperparameters={"gamma": 2.0, "clip": 0.1}),
        record("asl", 1, 0.63, hyperparameters={"gamma": 2.0, "clip": 0.1}),
        record("asl", 0, 0.62, hyperparameters={"gamma": 2.0, "clip": 0.05}),
        record("asl", 0, 0.61, hyperparameters={"gamma": 2.0}),
        record("bce", 0, 0.52, recipe={"epochs": 20, "schedule": {"name": "cosine"}}),
        record("bce", 0, 0.51, recipe={"epochs": 40, "schedule": {"name": "cosine"}}),
        record("focal", 0, 0.50),
    ]
    assert [(row.label, len(row.seeds)) for row in build(load(runs)).rows] == [
        ("asl (clip=0.1)", 2),
        ("asl (clip=0.05)", 1),
        ("asl (clip=–)", 1),
        ("bce (epochs=20, schedule.name=cosine)", 1),
        ("bce (epochs=40, schedule.name=cosine)", 1),
        ("focal", 1),
    ]


def external(record, name, seed, total, digest):
    unknown = {"hyperparameters": {}, "recipe": {}, "method_version": "external"}
    return record(name, seed, total, inputs={"scores": digest * 64}, **unknown)


def test_seeds_of_external_scores_share_a_row(load, record):
    runs = [external(record, "ours", seed, 0.5 + seed / 100, str(seed)) for seed in (0, 2)]
    (row,) = build(load(runs)).rows
    assert (row.label, row.seeds, cell_text(row.cells["total"])) == ("ours", (0, 2), "51.00 ± 1.41")


def test_two_external_scores_for_one_seed_are_two_rows(load, record):
    runs = [
        external(record, "ours", 0, total, digest) for total, digest in ((0.6, "a"), (0.5, "b"))
    ]
    runs.append(external(record, "ours", 1, 0.5, "b"))
    assert [(row.label, row.seeds) for row in build(load(runs)).rows] == [
        ("ours (inputs.scores=aaaaaaaaaaaa)", (0,)),
        ("ours (inputs.scores=bbbbbbbbbbbb)", (0, 1)),
    ]


def test_external_scores_under_the_key_of_a_method(load, record):
    runs = [
        record("asl", 0, 0.63, recipe={"epochs": 20, "lr": 0.1}),
        record("asl", 0, 0.62, recipe={"epochs": 40, "lr": 0.1}),
        external(record, "asl", 0, 0.61, "a"),
    ]
    labels = [row.label for row in build(load(runs)).rows]
    assert labels == ["asl (epochs=20)", "asl (epochs=40)", "asl (external)"]


def test_labels_round_long_fractions(load, record):
    runs = [
        record("asl", 0, 0.6, hyperparameters={"clip": 1 / 7}),
        record("asl", 0, 0.5, hyperparameters={"clip": 0.5}),
    ]
    assert [row.label for row in build(load(runs)).rows] == ["asl (clip=0.1429)", "asl (clip=0.5)"]


def test_labels_stay_exact_where_rounding_would_hide_a_difference(load, record):
    runs = [
        record("asl", 0, 0.6, hyperparameters={"clip": 0.142857}),
        record("asl", 0, 0.5, hyperparameters={"clip": 0.142858}),
    ]
    assert [row.label for row in build(load(runs)).rows] == [
        "asl (clip=0.142857)",
        "asl (clip=0.142858)",
    ]


def test_labels_of_a_name_that_occurs_twice(load, record):
    runs = [
        record("asl", 0, 0.6, hyperparameters={"lr": 1}, recipe={"lr": 0.1}),
        record("asl", 0, 0.5, hyperparameters={"lr": 2}, recipe={"lr": 0.2}),
    ]
    assert [row.label for row in build(load(runs)).rows] == [
        "asl (hyperparameters.lr=1, recipe.lr=0.1)",
        "asl (hyperparameters.lr=2, recipe.lr=0.2)",
    ]


def test_method_versions_never_share_a_row(load, record):
    runs = [record("asl", 0, 0.6), record("asl", 1, 0.5, method_version="2")]
    assert [row.label for row in build(load(runs)).rows] == [
        "asl (method_version=1)",
        "asl (method_version=2)",
    ]


def as_format_1(run, command):
    """A run of the same arguments in format 1, whose departures are those of its command."""
    science = {key: value for key, value in run["science"].items() if key != "departures"}
    old = {**as_format_2(run), "format": 1, "run_id": f"old{science['seed']}", "science": science}
    return {**old, "command": ["benchkit", "run", *command]}


def test_records_of_both_formats_share_a_row(load, record):
    old = [
        as_format_1(record(seed=0, total=0.6), ["--seed", "0"]),
        as_format_1(
            record(seed=1, total=0.7, recipe={"epochs": 40, "lr": 0.001}), ["--recipe", "epochs=40"]
        ),
    ]
    new = [
        record(seed=1, total=0.62),
        record(seed=2, total=0.7, recipe={"epochs": 40, "lr": 0.001}),
    ]
    rows = build(load([*old, *new])).rows
    assert [(row.label, row.seeds) for row in rows] == [
        ("asl (epochs=40)", (1, 2)),
        ("asl (epochs=20)", (0, 1)),
    ]


def test_a_value_that_was_added_later_splits_no_row(load, record):
    added = {"epochs": 20, "lr": 0.001, "added_later": "off"}
    names = {"recipe_defaults": "1", "recipe": [], "hyperparameters": []}
    runs = [
        record(seed=0, total=0.6),
        record(seed=1, total=0.62, recipe=added, departures=names),
        record(seed=0, total=0.5, recipe={**added, "added_later": "on"}),
    ]
    rows = build(load(runs)).rows
    assert [(row.label, row.seeds) for row in rows] == [
        ("asl (added_later=off)", (0, 1)),
        ("asl (added_later=on)", (0,)),
    ]
    assert rows[0].arguments.recipe == added


def test_refuses_a_default_that_changed_without_a_new_version(load, record):
    names = {"recipe_defaults": "1", "recipe": [], "hyperparameters": []}
    runs = [record(seed=0), record(seed=1, hyperparameters={"gamma": 4.0}, departures=names)]
    advice = "a changed default needs a new version of the method or of the recipe defaults."
    parsed = Records(tuple(Record.from_json(run, Path("run.json")) for run in runs))
    message = refusal(parsed)
    assert "science.hyperparameters.gamma is 4.0, but 2.0 in " in message
    assert message.endswith(advice)
    loaded = load([*runs, record("bce")])
    (row,) = build(loaded).rows
    assert row.label == "bce"
    assert len(loaded.unreadable) == 2
    for sentence in loaded.unreadable:
        assert sentence.endswith(f"and no other record confirms either: {advice}")


def test_labels_show_the_version_of_the_recipe_defaults(load, record):
    new = {"recipe_defaults": "2", "recipe": [], "hyperparameters": []}
    recipe = {"epochs": 60, "lr": 0.001}
    runs = [record(seed=0, total=0.6, recipe=recipe, departures=new), record(seed=0, total=0.5)]
    assert [row.label for row in build(load(runs)).rows] == [
        "asl (recipe_defaults=2)",
        "asl (recipe_defaults=1)",
    ]


def test_labels_keep_characters_outside_ascii(load, record):
    runs = [record(total=0.6, hyperparameters={"f": ["é"]}), record(total=0.5)]
    assert [row.label for row in build(load(runs)).rows] == ['asl (f=["é"])', "asl (f=–)"]


def test_refuses_to_mix_splits(load, record):
    records = load([record(), record(split=VOC)])
    assert refusal(records) == (
        "These records cannot share one table, there are 2 splits (c0c0c0c0c0c0 'coco-lt', "
        "70c070c070c0 'voc-lt'), 1 selection rule (last), 1 metric version (1): "
        "choose with --split FINGERPRINT_PREFIX."
    )
    assert build(records, split="70c0").split.name == "voc-lt"


def test_refuses_to_mix_selection_rules_and_metric_versions(load, record):
    records = load([record(), record(selection="best-val"), record(metric_version="2")])
    message = refusal(records)
    assert "2 selection rules (best-val, last), 2 metric versions (1, 2)" in message
    assert message.endswith("choose with --selection RULE and --metric-version VERSION.")
    assert refusal(records, selection="last").endswith("choose with --metric-version VERSION.")
    assert build(records, selection="best-val").group.selection == "best-val"
    assert build(records, selection="last", metric_version="2").group.metric_version == "2"


def test_a_filter_that_matches_nothing_lists_the_groups(load, record):
    assert refusal(load([record()]), split="ffff", selection="oracle") == (
        "No record has split ffff, selection oracle; there are 1 split (c0c0c0c0c0c0 'coco-lt'), "
        "1 selection rule (last), 1 metric version (1)."
    )


def test_records_of_one_fingerprint_must_describe_one_split(load, record):
    runs = [record(seed=0), record(seed=1)]
    runs[1]["split"]["train_count"][0] = 1201
    parsed = (Record.from_json(resealed(run), Path("run.json")) for run in runs)
    message = refusal(Records(tuple(parsed)))
    assert "split differs from that in" in message
    assert "c0c0c0c0c0c0" in message


def test_the_name_of_a_split_may_differ_and_the_most_frequent_one_is_shown(load, record):
    runs = [record(seed=seed) for seed in range(3)]
    for run, name in zip(runs, ("a", "b", "b"), strict=True):
        run["split"]["name"] = name
    table = build(load(runs))
    assert table.rows[0].seeds == (0, 1, 2)
    assert table.footer[0] == ("split", "b, fingerprint c0c0c0c0c0c0")


def test_no_record_at_all(load, tmp_path):
    runs = load([])
    assert refusal(runs) == (
        f"{tmp_path} holds no records; train methods with `benchkit run --split SPLIT.h5 --method "
        f"all --out {tmp_path}` first."
    )
    assert refusal(Records(())) == (
        "There is no finished run to report: name a folder that holds <run id>/run.json."
    )


def test_build_all_makes_one_table_per_group(load, record):
    records = load([record(), record(split=VOC), record(selection="best-val"), record("bce")])
    tables = build_all(records)
    assert [(t.split.name, t.group.selection, len(t.rows)) for t in tables] == [
        ("coco-lt", "best-val", 1),
        ("coco-lt", "last", 2),
        ("voc-lt", "last", 1),
    ]
    assert [t.split.name for t in build_all(records, split=VOC)] == ["voc-lt"]


def test_failures_are_noted_under_their_own_table(load, record):
    loaded = load([record(), record(split=VOC)])
    coco, voc = (table.rows[0].arguments for table in build_all(loaded))
    failures = tuple(
        Failure(name, name, 0, "broke", arguments)
        for name, arguments in (("in-coco", coco), ("in-voc", voc), ("nowhere", None))
    )
    records = Records(loaded.records, failures, ("half",))
    tables = build_all(records)
    assert [[note.split(" (")[0] for note in table.notes[1:]] for table in tables] == [
        ["failed: in-coco, seed 0"],
        ["failed: in-voc, seed 0", "failed: nowhere, seed 0"],
    ]
    assert all(table.notes[0].startswith("1 folder holds an interrupted") for table in tables)
    assert len(build(records, split=coco.split).notes) == 2
