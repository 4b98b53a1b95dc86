"""Counter-based random numbers, keyed by names: the only module that draws any.

A number is a pure function of `(seed, stream, coordinates)`. There is no generator object and no
order of drawing: an image's mask depends on the image id and the class name, and a run's shuffle on
the run's seed, but neither depends on the other images or on concurrent runs. NumPy, torch on the
CPU and torch on CUDA return the same bits, because everything is 64-bit integer arithmetic up to
one exact multiplication by a power of two.

The mixing function is the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014):

    x += 0x9E3779B97F4A7C15
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9
    x = (x ^ x >> 27) * 0x94D049BB133111EB
    mix(x) = x ^ x >> 31                                           (all modulo 2^64)

and a key is `mix(... mix(mix(mix(seed) ^ hash(stream)) ^ c_1) ... ^ c_k)`, where names are hashed
by BLAKE2b. `benchkit.base.draw` has the torch implementation.

The last section wraps the generators of published code (CPython's `random.Random`, NumPy's
`RandomState`). They exist only to rebuild published lists.
"""

from __future__ import annotations

import hashlib
import random as _python_random
from collections.abc import Callable, Sequence

import numpy as np

GAMMA, M1, M2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
MASK = (1 << 64) - 1


def hash_text(text: str) -> int:
    """The 64-bit coordinate of a name: the first 8 bytes of its BLAKE2b digest, little-endian."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_texts(texts: Sequence[str] | np.ndarray) -> np.ndarray:
    """`hash_text` of each name, uint64 [n]."""
    # Iterating over Python strings and joining once is 1.5 times as fast as over NumPy strings.
    names = texts.tolist() if isinstance(texts, np.ndarray) else map(str, texts)
    digests = [hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64, copy=False)


# ----------------------------------------------------------------------------- numpy


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(GAMMA)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(M1)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(M2)
    return x ^ (x >> np.uint64(31))


def bits(seed: int, stream: str, *coordinates: int | np.ndarray) -> np.ndarray:
    """64 random bits per coordinate tuple.

    Args:
        seed: any integer, taken modulo 2^64.
        stream: the name of the quantity that is drawn. Different streams are independent.
        *coordinates: integers or integer arrays, broadcast against one another.

    Returns:
        uint64 array of the broadcast shape (0-d if every coordinate is a number).
    """
    # Arrays have at least one dimension, because NumPy warns about overflow only for scalars.
    state = _mix(np.array([seed & MASK], np.uint64))
    state = _mix(state ^ np.uint64(hash_text(stream)))
    shape = np.broadcast_shapes(*(np.shape(c) for c in coordinates))
    for coordinate in coordinates:
        if isinstance(coordinate, int):
            values = np.array([coordinate & MASK], np.uint64)
        else:
            values = np.atleast_1d(np.asarray(coordinate).astype(np.uint64, copy=False))
        state = _mix(state ^ values)
    return np.broadcast_to(state, shape or (1,)).reshape(shape)


def uniform(seed: int, stream: str, *coordinates: int | np.ndarray) -> np.ndarray:
    """Uniform numbers in [0, 1): the upper 53 bits of `bits` times 2^-53, float64."""
    return (bits(seed, stream, *coordinates) >> np.uint64(11)).astype(np.float64) * 2.0**-53


Uniform = Callable[[np.ndarray, np.ndarray], np.ndarray]


def image_class_uniform(
    seed: int, stream: str, image_ids: Sequence[str] | np.ndarray, class_names: Sequence[str]
) -> Uniform:
    """One uniform number per (image, class), keyed by names instead of positions.

    Args:
        seed: the seed of the split.
        stream: the name of the quantity that is drawn, such as `"regime"`.
        image_ids: N names, or their `hash_texts`, uint64 [N]; row i of a label matrix is image
            `image_ids[i]`.
        class_names: C names.

    Returns:
        A function `(rows, columns) -> float64` that broadcasts its two integer index arrays.
    """
    images, classes = _hashes(image_ids), hash_texts(class_names)
    return lambda rows, columns: uniform(seed, stream, images[rows], classes[columns])


def image_uniform(seed: int, stream: str, image_ids: Sequence[str] | np.ndarray) -> np.ndarray:
    """One uniform number per image, float64 [N], keyed by image id (a name or its hash)."""
    return uniform(seed, stream, _hashes(image_ids))


def _hashes(ids: Sequence[str] | np.ndarray) -> np.ndarray:
    hashed = isinstance(ids, np.ndarray) and ids.dtype == np.uint64
    return np.asarray(ids) if hashed else hash_texts(ids)


def generator(seed: int, stream: str, *coordinates: int) -> np.random.Generator:
    """A NumPy generator for one unit of work that needs many random numbers.

    The unit itself (one drawn scene, one training batch of glyphs) is keyed by name, so that units
    remain independent of one another.
    """
    return np.random.Generator(np.random.Philox(key=int(bits(seed, stream, *coordinates))))


# ----------------------------------------------------------------------------- compatibility


def python_sampler(seed: int) -> Callable[[Sequence[int], int], list[int]]:
    """CPython's `random.sample` after `random.seed(seed)`, as published scripts call it.

    Its results depend on the order of calls, so it is used only to rebuild published lists.
    """
    return _python_random.Random(seed).sample


def numpy_state(seed: int) -> np.random.RandomState:
    """NumPy's legacy generator, as SPML's scripts use it; only to rebuild their draws."""
    return np.random.RandomState(seed)
