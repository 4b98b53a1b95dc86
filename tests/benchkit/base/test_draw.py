"""The torch random numbers: the bits of NumPy, under vmap and on CUDA, and their distributions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchkit.base import draw, random
from benchkit.base.draw import Draw, signed

SEEDS = st.integers(-(2**70), 2**70)
COORDINATES = st.integers(-(2**63), 2**63 - 1)

# The first outputs of the public reference code of splitmix64 from state 0: mix(k * gamma).
REFERENCE = (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F)


def as_unsigned(bits: torch.Tensor) -> np.ndarray:
    return bits.numpy().view(np.uint64)


@pytest.mark.parametrize(("position", "expected"), list(enumerate(REFERENCE)))
def test_mixing_is_splitmix64(position: int, expected: int) -> None:
    state = torch.tensor([signed(position * random.GAMMA)])
    assert int(as_unsigned(draw._mix_torch(state))[0]) == expected


@given(SEEDS, st.text(max_size=12), st.lists(COORDINATES, min_size=1, max_size=5), COORDINATES)
def test_numpy_and_torch_return_the_same_bits(
    seed: int, stream: str, first: list[int], second: int
) -> None:
    coordinates = np.array(first, np.int64)
    expected = random.bits(seed, stream, coordinates, second)
    bits = Draw(seed).bits(stream, torch.from_numpy(coordinates), second)
    np.testing.assert_array_equal(as_unsigned(bits), expected)


@given(SEEDS)
def test_signed_keeps_the_bits(seed: int) -> None:
    assert -(2**63) <= signed(seed) < 2**63
    assert (signed(seed) - seed) % 2**64 == 0


def test_vmap_over_seeds_equals_each_seed_alone() -> None:
    seeds = [0, 5, -1, 2**63 + 11, -(2**64) - 3]
    rows = torch.tensor([4, 0, 4])

    def numbers(seed: torch.Tensor) -> tuple[torch.Tensor, ...]:
        draws = Draw(seed).at(1, 2, 3)
        order = draws.permutation("p", 6)
        return (
            draws.uniform("u", 2, 3),
            draws.normal("n", 4),
            draws.row_uniform("r", rows, 2),
            order,
        )

    together = torch.func.vmap(numbers)(torch.tensor([signed(seed) for seed in seeds]))
    for position, seed in enumerate(seeds):
        alone = numbers(torch.tensor(signed(seed)))
        direct = Draw(seed).at(1, 2, 3).uniform("u", 2, 3)
        for stacked, single in zip(together, alone, strict=True):
            assert torch.equal(stacked[position], single)
        assert torch.equal(alone[0], direct)


@pytest.mark.parametrize("seed", [0, 1, -7])
def test_uniform_numbers_fill_the_interval_evenly(seed: int) -> None:
    numbers = Draw(seed).uniform("even", 100_000).double().numpy()
    assert numbers.min() >= 0.0
    assert numbers.max() < 1.0
    assert abs(numbers.mean() - 0.5) < 5 / np.sqrt(12 * 100_000)
    counts = np.histogram(numbers, 100, (0, 1))[0]
    chi_square = ((counts - 1000) ** 2 / 1000).sum()  # 99 degrees of freedom
    assert chi_square < 99 + 5 * np.sqrt(2 * 99)
    # Each number is NumPy's float64 number, truncated to its upper 24 bits.
    exact = random.uniform(seed, "even", np.arange(100_000))
    np.testing.assert_array_equal(numbers, np.floor(exact * 2**24) / 2**24)


def test_moments_differ_and_repeat() -> None:
    draws = Draw(5)
    moments = [draws.at(s, e, p) for s in (0, 1) for e in (1, 2, 11) for p in (None, 0, 1, 11)]
    drawn = [tuple(moment.uniform("x", 4).tolist()) for moment in [draws, *moments]]
    assert len(set(drawn)) == len(drawn)
    assert tuple(draws.at(1, 2, 1).uniform("x", 4).tolist()) in drawn
    # `at` is absolute: it does not depend on the moment of the object it is called on.
    assert torch.equal(draws.at(0, 1).at(1, 2, 1).bits("x", 0), draws.at(1, 2, 1).bits("x", 0))


def test_row_numbers_do_not_depend_on_the_batch_or_the_step() -> None:
    draws = Draw(5).at(0, 3)
    all_rows = draws.row_uniform("view", torch.arange(20), 3)
    rows = torch.tensor([7, 19, 7, 0])
    assert torch.equal(draws.row_uniform("view", rows, 3), all_rows[rows])
    assert torch.equal(Draw(5).at(0, 3, 8).row_uniform("view", rows, 3), all_rows[rows])
    assert not torch.equal(Draw(5).at(0, 4).row_uniform("view", rows, 3), all_rows[rows])
    assert not torch.equal(Draw(6).at(0, 3).row_uniform("view", rows, 3), all_rows[rows])


@given(SEEDS, st.integers(0, 40))
def test_a_permutation_holds_every_number_once(seed: int, count: int) -> None:
    assert sorted(Draw(seed).permutation("shuffle", count).tolist()) == list(range(count))


def test_permutations_are_uniform() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = tuple(Draw(seed).permutation("shuffle", 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    chi_square = sum((n - 100) ** 2 / 100 for n in counts.values())  # 23 degrees of freedom
    assert chi_square < 23 + 5 * np.sqrt(2 * 23)


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


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here")
def test_cuda_returns_the_same_bits() -> None:
    cpu, gpu = Draw(-3).at(0, 1, 2), Draw(-3, "cuda").at(0, 1, 2)
    rows = torch.tensor([3, 1, 3])
    assert torch.equal(cpu.uniform("u", 1000), gpu.uniform("u", 1000).cpu())
    assert torch.equal(cpu.permutation("p", 1000), gpu.permutation("p", 1000).cpu())
    assert torch.equal(cpu.row_uniform("r", rows, 4), gpu.row_uniform("r", rows.cuda(), 4).cpu())
