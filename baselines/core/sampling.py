"""The row order of an epoch under class-aware sampling.

Class-aware sampling (Shen, Lin and Huang, ECCV 2016, as in the DB-loss code) visits the classes in
cycles. Each cycle is a new permutation of the classes that have images. Each visit takes the next
`per_class` images from the list of the class, which is cycled through new permutations as well.
Every cycle visits each class once, so the k-th visit of a class is in cycle k. Any part of the
sequence can therefore be computed directly, without state that is carried from epoch to epoch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.core.draw import Draw
from baselines.core.labels import LabelTable

LENGTHS = ("images", "classes")


def epoch_length(length: str, counts: Tensor, num_images: int, reduce: int = 4) -> int:
    """Rows of a class-aware epoch.

    Args:
        length: "images" visits N rows, so that every method in a table has the same budget;
            "classes" visits max_c n_c * C / reduce rows as the DB-loss code does, which grows with
            the number of classes (3.4 N on VOC-LT, 12 N on COCO-LT, 21 N on 374 Corel classes).
        counts: [C], n_c.
        num_images: N.
        reduce: see above; 4 in the authors' configurations.
    """
    if length == "images":
        return num_images
    return max(1, int(counts.max().item() * counts.numel() / reduce))


def _ranked(draw: Draw, stream: str, groups: Tensor, cycles: Tensor, members: Tensor) -> Tensor:
    """The order that sorts entries by group, and at random within each group."""
    by_key = torch.argsort(draw.bits(stream, groups, cycles, members), stable=True)
    order = torch.argsort(groups[by_key] * (cycles.max() + 1) + cycles[by_key], stable=True)
    return by_key[order]


def class_aware(
    lists: LabelTable | Tensor,
    per_class: int,
    start: int,
    count: int,
    draw: Draw,
    codes: tuple[int, ...] = (1,),
) -> Tensor:
    """Rows `start` to `start + count` of a run's class-aware sequence.

    Args:
        lists: [N, C]; an image belongs to the list of each class for which its label is one of
            `codes`. At least one list must have images; a class without images is skipped.
        per_class: images per visited class.
        start: where the epoch begins in the sequence; a multiple of `per_class`.
        count: number of rows.
        draw: keyed by the run but not by the epoch, because the sequence continues across epochs.
        codes: see `lists`.

    Returns:
        int64 [count] rows.
    """
    labels = LabelTable.of(lists)
    rows, owners = (part.cpu() for part in labels.places(*codes))
    by_class = rows[torch.argsort(owners, stable=True)]  # class by class, rows ascending
    sizes = torch.bincount(owners, minlength=labels.shape[1])
    classes = torch.nonzero(sizes).flatten()
    visits = -(-count // per_class)
    first = start // per_class
    number = torch.arange(first, first + visits)  # of the visit
    cycles, places = number // len(classes), number % len(classes)
    used = torch.unique(cycles)
    pairs = torch.cartesian_prod(used, torch.arange(len(classes)))
    order = _ranked(draw, "class-aware/classes", pairs[:, 0], pairs[:, 0] * 0, pairs[:, 1])
    table = pairs[order, 1].reshape(len(used), len(classes))
    visited = classes[table[cycles - used[0], places]]  # [visits]

    owner = visited.repeat_interleave(per_class)[:count]
    place = cycles.repeat_interleave(per_class) * per_class
    place = (place + torch.arange(per_class).repeat(visits))[:count]  # in the class's endless list
    round_, offset = place // sizes[owner], place % sizes[owner]
    return _pick(by_class, sizes, owner, round_, offset, draw)


def _pick(
    by_class: Tensor, sizes: Tensor, owner: Tensor, round_: Tensor, offset: Tensor, draw: Draw
) -> Tensor:
    """The `offset`-th member of class `owner`'s permutation number `round_`, for each entry."""
    permutations, inverse = torch.unique(torch.stack([owner, round_]), dim=1, return_inverse=True)
    length = sizes[permutations[0]]
    begin = torch.cumsum(length, 0) - length
    pair = torch.repeat_interleave(torch.arange(permutations.shape[1]), length)
    within = torch.arange(len(pair)) - begin[pair]
    class_begin = torch.cumsum(sizes, 0) - sizes
    member = by_class[class_begin[permutations[0][pair]] + within]
    keys = draw.bits("class-aware/images", permutations[0][pair], permutations[1][pair], member)
    by_key = torch.argsort(keys, stable=True)
    order = by_key[torch.argsort(pair[by_key], stable=True)]
    return member[order][begin[inverse] + offset]
