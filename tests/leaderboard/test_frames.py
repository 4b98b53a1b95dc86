"""Run records as pandas frames."""

from leaderboard import frames


def test_one_row_per_run(load, five_methods):
    frame = frames.runs(load(five_methods).records)
    assert len(frame) == 11
    means = frame.groupby("method").total.mean().round(4).to_dict()
    assert means == {"asl": 0.62, "focal": 0.55, "bce": 0.51, "db": 0.7, "hill": 0.65}
    asl = frame[(frame.method == "asl") & (frame.seed == 2)].iloc[0]
    assert (asl.split, asl.regime, asl.selection) == ("coco-lt", "pal:0.5", "last")
    assert (asl.many, asl.medium, asl.few, asl.average) == (0.74, 0.64, 0.54, 0.64)
    assert (asl.micro_f1, asl.macro_f1, asl.wall_seconds) == (0.5, 0.5, 1.25)
    assert asl.hyperparameters == {"gamma": 2.0}
    assert asl.recipe == {"epochs": 20, "lr": 0.001}
    assert frame[frame.oracle != ""].method.tolist() == ["db"]


def test_undefined_metrics_are_nan_and_no_runs_are_an_empty_frame(load, record):
    run = record()
    run["metrics"]["map_few"] = None
    frame = frames.runs(load([run]).records)
    assert frame.few.isna().tolist() == [True]
    empty = frames.runs([])
    assert empty.columns.tolist() == frame.columns.tolist()
    assert len(empty) == 0
