"""The grammar of regimes: `KIND[:LEVEL][,NAME=VALUE]...`."""

import pytest

from splits import regimes
from splits.errors import InputError
from splits.regimes import Regime


@pytest.mark.parametrize(
    ("text", "kind", "level", "canonical"),
    [
        ("full", "full", None, "full"),
        (" spl ", "spl", None, "spl"),
        ("pal:0.30", "pal", 0.3, "pal:0.3"),
        ("pal:1", "pal", 1.0, "pal:1"),
        ("ppl:1e-3", "ppl", 0.001, "ppl:0.001"),
        ("missing:0", "missing", 0.0, "missing:0"),
        ("missing:-0.0", "missing", 0.0, "missing:0"),
        ("candidates:.05", "candidates", 0.05, "candidates:0.05"),
    ],
)
def test_parse_and_back(text, kind, level, canonical):
    regime = regimes.parse(text)
    assert regime == Regime(kind, level)
    assert str(regime) == canonical
    assert Regime.parse(canonical) == regime


@pytest.mark.parametrize(
    ("text", "regime"),
    [
        ("pal:0.4,counts=exact", Regime("pal", 0.4, counts="exact")),
        ("pal:0.4, counts = bernoulli ", Regime("pal", 0.4, counts="bernoulli")),
        ("missing:0.3,by-class=w.csv", Regime("missing", 0.3, by_class="w.csv")),
        ("missing:0.3,by_class=w.csv", Regime("missing", 0.3, by_class="w.csv")),
        ("candidates:0.3,by-class=frequency", Regime("candidates", 0.3, by_class="frequency")),
        ("candidates:0.3,by-class=a,b.csv", Regime("candidates", 0.3, by_class="a,b.csv")),
        ("candidates:0.30,by-image=.50", Regime("candidates", 0.3, by_image=0.5)),
        ("candidates:0.3,by-image=0", Regime("candidates", 0.3)),
        (
            "candidates:0.3,by-image=1,by-class=w.csv",
            Regime("candidates", 0.3, by_class="w.csv", by_image=1.0),
        ),
    ],
)
def test_parse_variants_and_back(text, regime):
    assert Regime.parse(text) == regime
    assert Regime.parse(regime.text) == regime
    assert "," not in str(regime)
    assert Regime.parse(str(regime)) == Regime(regime.kind, regime.level)


def test_the_text_names_every_variant():
    regime = Regime("candidates", 0.3, by_class="w.csv", by_image=0.5)
    assert regime.text == "candidates:0.3,by-class=w.csv,by-image=0.5"
    assert Regime("pal", 0.4, counts="exact").text == "pal:0.4,counts=exact"
    assert Regime("spl").text == "spl"


@pytest.mark.parametrize(
    ("text", "departures"),
    [
        ("pal:0.4", {}),
        ("pal:0.4,counts=bernoulli", {}),
        ("ppl:0.4,counts=exact", {}),
        ("pal:0.4,counts=exact", {"counts": "exact"}),
        ("ppl:0.4,counts=bernoulli", {"counts": "bernoulli"}),
        ("missing:0.3,by-class=w.csv", {"missing_by_class": "w.csv"}),
        (
            "candidates:0.3,by-image=0.5,by-class=frequency",
            {"noise_by_class": "frequency", "instance_noise": 0.5},
        ),
    ],
)
def test_departures_are_named_as_split_files_record_them(text, departures):
    regime = Regime.parse(text)
    assert regime.departures() == departures
    assert list(regime.departures()) == list(departures)
    assert regime.departs is bool(departures)


def test_the_noise_rate():
    assert Regime("candidates", 0.3).noise_rate == 0.3
    assert Regime("pal", 0.9).noise_rate == 1.0 - 0.9
    for text in ("full", "ppl:0.5", "spl", "missing:0.4"):
        assert Regime.parse(text).noise_rate is None


def test_kinds_and_forms():
    assert regimes.KINDS == ("full", "pal", "ppl", "spl", "missing", "candidates")
    assert regimes.FORMS == "full, pal:R, ppl:R, spl, missing:Q, candidates:RHO"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no regime ''; the regimes are full, pal:R"),
        ("PAL:0.5", "no regime 'PAL'"),
        ("pal", r"regime pal needs a level R in \(0, 1\].*; it has none"),
        ("pal:", "level of the regime 'pal:' is not a number"),
        ("pal:half", "level of the regime 'pal:half' is not a number"),
        ("pal:0", r"pal needs a level R in \(0, 1\].*not 0.0"),
        ("pal:1.1", "pal needs a level .*not 1.1"),
        ("pal:nan", "pal needs a level .*not nan"),
        ("ppl:0", "ppl needs a level R .*not 0.0"),
        ("missing:1", r"missing needs a level Q in \[0, 1\).*not 1.0"),
        ("missing:-0.1", "missing needs a level .*not -0.1"),
        ("candidates:1", r"candidates needs a level RHO in \[0, 1\).*not 1.0"),
        ("spl:0.5", "regime spl has no level, not 0.5"),
        ("full:1", "regime full has no level"),
        ("pal:0.5,exact", "'exact' in the regime 'pal:0.5,exact' is not NAME=VALUE"),
        ("spl,exact", "'exact' in the regime 'spl,exact' is not NAME=VALUE"),
        ("pal:0.5,count=exact", "no variant 'count'; did you mean 'counts'?"),
        ("candidates:0.5,by-clas=a", "no variant 'by-clas'; did you mean 'by-class'?"),
        ("pal:0.5,zzz=1", "no variant 'zzz'; known: counts, by-class, by-image"),
        ("pal:0.5,counts=some", "counts must be exact or bernoulli, not 'some'"),
        ("pal:0.5,counts=", r"counts needs a value: counts=exact\|bernoulli"),
        ("pal:0.5,counts=exact,counts=exact", "counts occurs twice"),
        ("PAL:0.5,counts=exact", "no regime 'PAL'"),
        ("spl,counts=exact", "counts .* pal, ppl, missing and candidates, not with spl"),
        ("full,counts=bernoulli", "counts .* pal, ppl, missing and candidates, not with full"),
        ("pal:0.5,by-class=w.csv", "by-class .* missing and candidates, not with pal"),
        ("ppl:0.5,by-image=0.5", "by-image .* the regime candidates, not with ppl"),
        ("ppl:0.5,by-image=0", "by-image .* the regime candidates, not with ppl"),
        ("missing:0.5,by-class=frequency", "by-class=frequency .* candidates; in missing, name a"),
        ("candidates:0.5,by-image=1.5", r"by-image must be a number in \[0, 1\], not 1.5"),
        ("candidates:0.5,by-image=nan", r"by-image must be a number in \[0, 1\], not nan"),
        ("candidates:0.5,by-image=high", r"by-image must be a number in \[0, 1\], not 'high'"),
        ("candidates:0.5,counts=exact,by-class=w", "counts=exact cannot be combined with by-cl"),
        ("candidates:0.5,counts=exact,by-image=1", "counts=exact cannot be combined with by-cl"),
    ],
)
def test_parse_says_what_is_wrong(text, message):
    with pytest.raises(InputError, match=message):
        regimes.parse(text)
