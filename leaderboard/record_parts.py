"""The parts of a run record: its split, its method, its metrics and its environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from leaderboard.reader import Reader
from leaderboard.statistics import chance_ap, mean

SHOTS = ("many", "medium", "few")
PARTS = ("train", "val", "test")
KINDS = ("builtin", "plugin", "external")


@dataclass(frozen=True)
class RecordedSplit:
    """The split of a run, as far as a leaderboard needs it.

    Attributes:
        name: the name of the split.
        fingerprint: of labels and features together: the identity of the split.
        labels_fingerprint: of the labels alone.
        thresholds: `many`, `few` (counts) and `reference` ("true" or "observed").
        class_names: C names.
        shot: [C], each one of `SHOTS`.
        train_count: [C], true positives of the training part.
        observed_count: [C], observed positives of the training part.
        test_positives: [C], positives of the test part.
        test_known: [C], test images whose label is known.
        regime: the label regime, such as `pal:0.5`.
        sizes: part -> number of images, 0 for a part that does not exist.
    """

    name: str
    fingerprint: str
    labels_fingerprint: str
    thresholds: Mapping[str, Any]
    class_names: tuple[str, ...]
    shot: tuple[str, ...]
    train_count: tuple[int, ...]
    observed_count: tuple[int, ...]
    test_positives: tuple[int, ...]
    test_known: tuple[int, ...]
    regime: str
    sizes: Mapping[str, int]

    def group_size(self, shot: str) -> int:
        """Number of classes in a shot group."""
        return self.shot.count(shot)

    @property
    def chance(self) -> float | None:
        """The expected mAP of random scores on the test part; None if every AP is undefined."""
        pairs = zip(self.test_positives, self.test_known, strict=True)
        return mean([ap for ap in (chance_ap(*pair) for pair in pairs) if ap is not None])

    @property
    def without_test_positives(self) -> tuple[str, ...]:
        """Names of the classes whose AP is undefined."""
        pairs = zip(self.class_names, self.test_positives, strict=True)
        return tuple(name for name, count in pairs if count == 0)

    @property
    def without_test_negatives(self) -> tuple[str, ...]:
        """Names of the classes whose known test labels are all positive: their AP is always 1."""
        counts = zip(self.class_names, self.test_positives, self.test_known, strict=True)
        return tuple(name for name, positives, known in counts if 0 < positives == known)

    def to_json(self) -> dict[str, Any]:
        """The split as a JSON object."""
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            "labels_fingerprint": self.labels_fingerprint,
            "thresholds": dict(self.thresholds),
            "class_names": list(self.class_names),
            "shot": list(self.shot),
            "train_count": list(self.train_count),
            "observed_count": list(self.observed_count),
            "test_positives": list(self.test_positives),
            "test_known": list(self.test_known),
            "regime": self.regime,
            "sizes": dict(self.sizes),
        }

    @classmethod
    def from_json(cls, reader: Reader) -> RecordedSplit:
        """Read and check the object `split` of a record."""
        class_names = reader.texts("class_names")
        classes = len(class_names)
        shot = reader.texts("shot")
        if len(shot) != classes or not set(shot) <= set(SHOTS):
            raise reader.error("shot", f"a list of {classes} of 'many', 'medium' and 'few'")
        thresholds, sizes = reader.object("thresholds"), reader.object("sizes")
        # Early records lack this key; nearly all labels of their test parts are known.
        test_known = (sizes.integer("test"),) * classes
        if "test_known" in reader.values:
            test_known = reader.counts("test_known", classes)
        thresholds.number("many")
        thresholds.number("few")
        thresholds.text("reference")
        return cls(
            name=reader.text("name"),
            fingerprint=reader.text("fingerprint"),
            labels_fingerprint=reader.text("labels_fingerprint"),
            thresholds=dict(thresholds.values),
            class_names=class_names,
            shot=shot,
            train_count=reader.counts("train_count", classes),
            observed_count=reader.counts("observed_count", classes),
            test_positives=reader.counts("test_positives", classes),
            test_known=test_known,
            regime=reader.text("regime"),
            sizes={part: sizes.integer(part) for part in PARTS},
        )


@dataclass(frozen=True)
class RecordedMethod:
    """The method of a run, as tables show it.

    Attributes:
        key: the key of the method.
        title: its name.
        paper: authors, title, venue.
        year: of the paper; None or 0 if there is none.
        oracle: the hidden truths that the run used.
        kind: one of `KINDS`.
        own_head: whether the method has a head of its own and ignores the recipe's; None if it is
            unknown.
        scale: `probability` or `logit` where scores from elsewhere declare it, else empty.
        note: a remark that the author of scores from elsewhere made.
    """

    key: str
    title: str
    paper: str
    year: int | None
    oracle: tuple[str, ...]
    kind: str
    own_head: bool | None = None
    scale: str = ""
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The method as a JSON object; unknown and empty declarations are left out."""
        declared = {"own_head": self.own_head, "scale": self.scale, "note": self.note}
        return {
            "key": self.key,
            "title": self.title,
            "paper": self.paper,
            "year": self.year,
            "oracle": list(self.oracle),
            "kind": self.kind,
            **{name: value for name, value in declared.items() if value not in (None, "")},
        }

    @classmethod
    def from_json(cls, reader: Reader) -> RecordedMethod:
        """Read and check the object `method` of a record."""
        if reader.text("kind") not in KINDS:
            raise reader.error("kind", "'builtin', 'plugin' or 'external'")
        return cls(
            key=reader.text("key"),
            title=reader.text("title"),
            paper=reader.text("paper"),
            year=reader.integer("year") if reader.has("year") else None,
            oracle=reader.texts("oracle"),
            kind=reader.text("kind"),
            own_head=reader.boolean("own_head") if reader.has("own_head") else None,
            scale=reader.text("scale") if reader.has("scale") else "",
            note=reader.text("note") if reader.has("note") else "",
        )


@dataclass(frozen=True)
class ThresholdMetrics:
    """Precision, recall and F1 at a probability of 0.5, as fractions."""

    precision: float | None
    recall: float | None
    f1: float | None

    def to_json(self) -> dict[str, Any]:
        """The three values as a JSON object."""
        return {"precision": self.precision, "recall": self.recall, "f1": self.f1}

    @classmethod
    def from_json(cls, reader: Reader) -> ThresholdMetrics:
        """Read and check the object `metrics.micro` or `metrics.macro` of a record."""
        return cls(reader.fraction("precision"), reader.fraction("recall"), reader.fraction("f1"))


@dataclass(frozen=True)
class Metrics:
    """Test metrics of a run as fractions, as `leaderboard.metrics.summary` computes them.

    Attributes:
        map: mean AP over all classes with a test positive.
        map_many: mean AP over the many-shot classes; `map_medium` and `map_few` likewise.
        map_medium: see `map_many`.
        map_few: see `map_many`.
        map_groups_average: the mean of the three groups; None if one of them is undefined.
        ap: [C], the AP of every class; None without test positives.
        micro: threshold metrics over all labels.
        macro: the means of the threshold metrics of the classes.
    """

    map: float | None
    map_many: float | None
    map_medium: float | None
    map_few: float | None
    map_groups_average: float | None
    ap: tuple[float | None, ...]
    micro: ThresholdMetrics
    macro: ThresholdMetrics

    @property
    def undefined_classes(self) -> int:
        """Number of classes without an AP."""
        return self.ap.count(None)

    def to_json(self) -> dict[str, Any]:
        """The metrics as a JSON object."""
        return {
            "map": self.map,
            "map_many": self.map_many,
            "map_medium": self.map_medium,
            "map_few": self.map_few,
            "map_groups_average": self.map_groups_average,
            "undefined_classes": self.undefined_classes,
            "ap": list(self.ap),
            "micro": self.micro.to_json(),
            "macro": self.macro.to_json(),
        }

    @classmethod
    def from_summary(cls, summary: Mapping[str, Any]) -> Metrics:
        """The metrics that `leaderboard.metrics.summary` computed."""
        values = {name: value for name, value in summary.items() if name != "undefined_classes"}
        return cls(
            **{
                **values,
                "ap": tuple(summary["ap"]),
                "micro": ThresholdMetrics(**summary["micro"]),
                "macro": ThresholdMetrics(**summary["macro"]),
            }
        )

    @classmethod
    def from_json(cls, reader: Reader, classes: int) -> Metrics:
        """Read and check the object `metrics` of a record of C `classes`."""
        return cls(
            map=reader.fraction("map"),
            map_many=reader.fraction("map_many"),
            map_medium=reader.fraction("map_medium"),
            map_few=reader.fraction("map_few"),
            map_groups_average=reader.fraction("map_groups_average"),
            ap=reader.fractions("ap", classes),
            micro=ThresholdMetrics.from_json(reader.object("micro")),
            macro=ThresholdMetrics.from_json(reader.object("macro")),
        )


@dataclass(frozen=True)
class Environment:
    """The machine and the software of a run; not part of its identity.

    Attributes:
        device: the torch device, or `external`.
        versions: package -> version.
        machine: the processor architecture.
        stacked_runs: number of runs that trained as one program.
    """

    device: str
    versions: Mapping[str, str]
    machine: str | None = None
    stacked_runs: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The environment as a JSON object; unknown values are left out."""
        values = {
            "device": self.device,
            "machine": self.machine,
            "versions": dict(self.versions),
            "stacked_runs": self.stacked_runs,
        }
        return {key: value for key, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, reader: Reader) -> Environment:
        """Read and check the object `environment` of a record."""
        versions = reader.mapping("versions")
        return cls(
            device=reader.text("device"),
            versions={name: str(version) for name, version in versions.items()},
            machine=reader.text("machine") if reader.has("machine") else None,
            stacked_runs=reader.integer("stacked_runs") if reader.has("stacked_runs") else None,
        )
