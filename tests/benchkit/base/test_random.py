"""The NumPy random numbers: reference values, keyed by names, uniform, independent."""

from __future__ import annotations

import hashlib
import random as python_random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchkit.base import random
from benchkit.base.random import hash_text, hash_texts

# The first outputs of the public reference code of splitmix64 from state 0: mix(k * gamma).
REFERENCE = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)


@pytest.mark.parametrize(("position", "expected"), list(enumerate(REFERENCE)))
def test_mixing_is_splitmix64(position: int, expected: int) -> None:
    state = np.array([position * random.GAMMA % 2**64], np.uint64)
    assert int(random._mix(state)[0]) == expected


def test_a_key_is_the_nested_mix_of_seed_stream_and_coordinates() -> None:
    def mix(x: int) -> int:
        x = (x + 0x9E3779B97F4A7C15) % 2**64
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
        return x ^ x >> 31

    stream = int.from_bytes(hashlib.blake2b(b"regime", digest_size=8).digest(), "little")
    expected = mix(mix(mix(mix(7) ^ stream) ^ 3) ^ (2**64 - 5))
    assert int(random.bits(7, "regime", 3, -5)) == expected
    assert float(random.uniform(7, "regime", 3, -5)) == (expected >> 11) / 2**53


@given(st.integers(-(2**70), 2**70), st.text(max_size=12), st.integers(-(2**63), 2**63 - 1))
def test_seeds_are_taken_modulo_two_to_the_64(seed: int, stream: str, coordinate: int) -> None:
    expected = random.bits(seed, stream, coordinate)
    assert int(random.bits(seed + 2**64, stream, coordinate)) == int(expected)


def test_coordinates_broadcast_and_scalars_give_a_number() -> None:
    rows, columns = np.arange(3)[:, None], np.arange(4)[None, :]
    grid = random.bits(1, "grid", rows, columns)
    assert grid.shape == (3, 4)
    assert grid[2, 1] == random.bits(1, "grid", 2, 1)
    assert random.bits(1, "grid").shape == ()
    assert random.uniform(1, "grid", 2, 1).shape == ()
    assert random.bits(1, "grid", np.arange(0)).shape == (0,)


@pytest.mark.parametrize("seed", [0, 1, -7])
def test_uniform_numbers_fill_the_interval_evenly(seed: int) -> None:
    numbers = random.uniform(seed, "even", np.arange(100_000))
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert abs(numbers.mean() - 0.5) < 5 / np.sqrt(12 * 100_000)
    counts = np.histogram(numbers, 100, (0, 1))[0]
    chi_square = ((counts - 1000) ** 2 / 1000).sum()  # 99 degrees of freedom
    assert chi_square < 99 + 5 * np.sqrt(2 * 99)


def test_streams_seeds_and_neighbouring_coordinates_are_independent() -> None:
    position = np.arange(50_000)
    base = random.uniform(3, "one", position)
    others = {
        "stream": random.uniform(3, "two", position),
        "seed": random.uniform(4, "one", position),
        "lag": random.uniform(3, "one", position + 1),
        "second coordinate": random.uniform(3, "one", position, 0),
        "swapped": random.uniform(3, "one", 0, position),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(50_000), name


def test_image_class_numbers_are_keyed_by_names() -> None:
    images, classes = [f"im{i}" for i in range(6)], ["chat", "chien", "Käfer"]
    u = random.image_class_uniform(9, "regime", images, classes)
    v = random.image_class_uniform(9, "regime", [*images[::-1], "new"], ["else", *classes[::-1]])
    rows, columns = np.arange(6)[:, None], np.arange(3)[None, :]
    np.testing.assert_array_equal(u(rows, columns), v(5 - rows, 3 - columns))
    assert u(np.array(2), np.array(1)) == random.uniform(
        9, "regime", np.uint64(hash_text("im2")), np.uint64(hash_text("chien"))
    )
    assert len(np.unique(u(rows, columns))) == 18


def test_image_numbers_are_keyed_by_ids() -> None:
    ids = np.array(["a", "b", "ç"])
    np.testing.assert_array_equal(
        random.image_uniform(2, "val", ids), random.image_uniform(2, "val", ids[::-1])[::-1]
    )
    np.testing.assert_array_equal(
        random.image_uniform(2, "val", hash_texts(ids)), random.image_uniform(2, "val", ids)
    )
    assert hash_texts(ids).dtype == np.uint64
    assert hash_texts(ids)[2] == hash_text("ç")
    assert hash_texts([]).shape == (0,)


def test_generators_are_keyed_by_name() -> None:
    first = random.generator(1, "scene", 4).random(3)
    np.testing.assert_array_equal(first, random.generator(1, "scene", 4).random(3))
    others = [(2, "scene", 4), (1, "glyph", 4), (1, "scene", 5)]
    assert all((random.generator(*other).random(3) != first).all() for other in others)


@pytest.mark.parametrize("seed", [0, 1200])
def test_python_sampler_is_cpythons(seed: int) -> None:
    sample, reference = random.python_sampler(seed), python_random.Random(seed)
    for population, count in ((range(50), 7), (range(3), 3), ((9, 8, 7, 6), 2)):
        assert sample(population, count) == reference.sample(population, count)
