"""The random module: one set of bits for NumPy and torch, bound to names, uniform, independent."""

from __future__ import annotations

import hashlib
import random as python_random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchkit.base import draw, random
from benchkit.base.draw import Draw, signed
from benchkit.base.random import hash_text, hash_texts

SEEDS = st.integers(-(2**70), 2**70)
WORDS = st.integers(-(2**63), 2**63 - 1)


def as_unsigned(words: torch.Tensor) -> np.ndarray:
    return words.numpy().view(np.uint64)


# splitmix64 from state 0: output k is mix(k * gamma); the figures of the public reference code.
REFERENCE = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)


@pytest.mark.parametrize(("place", "expected"), list(enumerate(REFERENCE)))
def test_mixing_is_splitmix64(place: int, expected: int) -> None:
    state = np.array([place * random.GAMMA % 2**64], np.uint64)
    assert int(random._mix(state)[0]) == expected
    assert int(as_unsigned(draw._mix_torch(torch.tensor([signed(int(state[0]))])))[0]) == expected


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


@given(SEEDS, st.text(max_size=12), st.lists(WORDS, min_size=1, max_size=5), WORDS)
def test_numpy_and_torch_return_the_same_bits(
    seed: int, stream: str, first: list[int], second: int
) -> None:
    one = np.array(first, np.int64)
    expected = random.bits(seed, stream, one, second)
    got = Draw(seed).bits(stream, torch.from_numpy(one), second)
    np.testing.assert_array_equal(as_unsigned(got), expected)
    assert int(random.bits(seed + 2**64, stream, second)) == int(random.bits(seed, stream, second))


@given(SEEDS)
def test_signed_holds_the_same_bits(seed: int) -> None:
    assert -(2**63) <= signed(seed) < 2**63
    assert (signed(seed) - seed) % 2**64 == 0


def test_vmap_over_seeds_equals_each_seed_alone() -> None:
    seeds = [0, 5, -1, 2**63 + 11, -(2**64) - 3]
    rows = torch.tensor([4, 0, 4])

    def numbers(seed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        draw = Draw(seed).at(1, 2, 3)
        order = draw.permutation("p", 6)
        return (draw.uniform("u", 2, 3), draw.normal("n", 4), draw.row_uniform("r", rows, 2), order)

    together = torch.func.vmap(numbers)(torch.tensor([signed(seed) for seed in seeds]))
    for place, seed in enumerate(seeds):
        alone = numbers(torch.tensor(signed(seed)))
        direct = Draw(seed).at(1, 2, 3).uniform("u", 2, 3)
        for stacked, single in zip(together, alone, strict=True):
            assert torch.equal(stacked[place], single)
        assert torch.equal(alone[0], direct)


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
    u = random.uniform(seed, "even", np.arange(100_000))
    f = Draw(seed).uniform("even", 100_000).double().numpy()
    for numbers in (u, f):
        assert numbers.min() >= 0.0
        assert numbers.max() < 1.0
        assert abs(numbers.mean() - 0.5) < 5 / np.sqrt(12 * 100_000)
        counts = np.histogram(numbers, 100, (0, 1))[0]
        assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 5 * np.sqrt(2 * 99)  # chi-square, 99 d.f.
    # The float32 number is the float64 one, cut to its upper 24 bits.
    np.testing.assert_array_equal(f, np.floor(u * 2**24) / 2**24)


def test_streams_seeds_and_neighbouring_coordinates_are_independent() -> None:
    place = np.arange(50_000)
    base = random.uniform(3, "one", place)
    others = {
        "stream": random.uniform(3, "two", place),
        "seed": random.uniform(4, "one", place),
        "lag": random.uniform(3, "one", place + 1),
        "second coordinate": random.uniform(3, "one", place, 0),
        "swapped": random.uniform(3, "one", 0, place),
    }
    for name, other in others.items():
        assert abs(np.corrcoef(base, other)[0, 1]) < 5 / np.sqrt(50_000), name


def test_image_class_numbers_are_bound_to_names() -> None:
    images, classes = [f"im{i}" for i in range(6)], ["chat", "chien", "Käfer"]
    u = random.image_class_uniform(9, "regime", images, classes)
    v = random.image_class_uniform(9, "regime", [*images[::-1], "new"], ["else", *classes[::-1]])
    rows, columns = np.arange(6)[:, None], np.arange(3)[None, :]
    np.testing.assert_array_equal(u(rows, columns), v(5 - rows, 3 - columns))
    assert u(np.array(2), np.array(1)) == random.uniform(
        9, "regime", np.uint64(hash_text("im2")), np.uint64(hash_text("chien"))
    )
    assert len(np.unique(u(rows, columns))) == 18


def test_image_numbers_are_bound_to_ids() -> None:
    ids = np.array(["a", "b", "ç"])
    np.testing.assert_array_equal(
        random.image_uniform(2, "val", ids), random.image_uniform(2, "val", ids[::-1])[::-1]
    )
    assert hash_texts(ids).dtype == np.uint64
    assert hash_texts(ids)[2] == hash_text("ç")
    assert hash_texts([]).shape == (0,)


def test_moments_differ_and_repeat() -> None:
    draw = Draw(5)
    moments = [draw.at(s, e, p) for s in (0, 1) for e in (1, 2, 11) for p in (None, 0, 1, 11)]
    drawn = [tuple(m.uniform("x", 4).tolist()) for m in [draw, *moments]]
    assert len(set(drawn)) == len(drawn)
    assert tuple(draw.at(1, 2, 1).uniform("x", 4).tolist()) in drawn
    # A moment is absolute: it does not add to the one it is taken from.
    assert torch.equal(draw.at(0, 1).at(1, 2, 1).bits("x", 0), draw.at(1, 2, 1).bits("x", 0))


def test_row_numbers_do_not_depend_on_the_batch_or_the_step() -> None:
    draw = Draw(5).at(0, 3)
    everything = draw.row_uniform("view", torch.arange(20), 3)
    rows = torch.tensor([7, 19, 7, 0])
    assert torch.equal(draw.row_uniform("view", rows, 3), everything[rows])
    assert torch.equal(Draw(5).at(0, 3, 8).row_uniform("view", rows, 3), everything[rows])
    assert not torch.equal(Draw(5).at(0, 4).row_uniform("view", rows, 3), everything[rows])
    assert not torch.equal(Draw(6).at(0, 3).row_uniform("view", rows, 3), everything[rows])


@given(SEEDS, st.integers(0, 40))
def test_a_permutation_holds_every_number_once(seed: int, count: int) -> None:
    assert sorted(Draw(seed).permutation("shuffle", count).tolist()) == list(range(count))


def test_permutations_are_uniform() -> None:
    counts = {}
    for seed in range(2400):
        order = tuple(Draw(seed).permutation("shuffle", 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((n - 100) ** 2 / 100 for n in counts.values()) < 23 + 5 * np.sqrt(2 * 23)


def test_normal_numbers_have_normal_moments() -> None:
    n = 200_000
    z = Draw(8).at(0, 1).normal("z", n).double()
    assert torch.isfinite(z).all()
    assert abs(z.mean()) < 5 / np.sqrt(n)
    assert abs(z.var() - 1) < 5 * np.sqrt(2 / n)
    assert abs((z**3).mean()) < 5 * np.sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / n)
    assert abs((z.abs() < 1).double().mean() - 0.6826895) < 5 * np.sqrt(0.25 / n)
    assert Draw(8).normal("z", 2, 3).shape == (2, 3)


def test_generators_are_keyed_by_name() -> None:
    first = random.generator(1, "scene", 4).random(3)
    np.testing.assert_array_equal(first, random.generator(1, "scene", 4).random(3))
    others = [(2, "scene", 4), (1, "glyph", 4), (1, "scene", 5)]
    assert all((random.generator(*other).random(3) != first).all() for other in others)


@pytest.mark.parametrize("seed", [0, 1200])
def test_python_sampler_is_cpythons(seed: int) -> None:
    ours, theirs = random.python_sampler(seed), python_random.Random(seed)
    for population, count in ((range(50), 7), (range(3), 3), ((9, 8, 7, 6), 2)):
        assert ours(population, count) == theirs.sample(population, count)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_cuda_returns_the_same_bits() -> None:
    cpu, gpu = Draw(-3).at(0, 1, 2), Draw(-3, "cuda").at(0, 1, 2)
    rows = torch.tensor([3, 1, 3])
    assert torch.equal(cpu.uniform("u", 1000), gpu.uniform("u", 1000).cpu())
    assert torch.equal(cpu.permutation("p", 1000), gpu.permutation("p", 1000).cpu())
    assert torch.equal(cpu.row_uniform("r", rows, 4), gpu.row_uniform("r", rows.cuda(), 4).cpu())
