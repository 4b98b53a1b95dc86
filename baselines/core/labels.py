"""The labels of all training images, dense or compressed.

The labels of millions of images and hundreds of classes do not fit in memory as an array, and few
methods need the array: class statistics are sums over images, a step needs the rows of its batch,
and a sampler needs the positions of the positives. `LabelTable` offers these. A method that stores
a value for every label calls `whole()`, which raises an error if there are too many.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor

from baselines.core.errors import MethodError

# The largest number of labels for which a run may store a value each: 1 GiB as float32, four times
# that for a parameter with its gradient and Adam's moments.
MOST_WHOLE = 1 << 28
_BLOCK = 1 << 22  # labels per block of rows


class LabelTable(ABC):
    """Labels int8 [N, C]: 1 positive (or candidate), 0 negative, -1 unknown.

    Attributes:
        shape: N and C.
        device: where its tensors are.
    """

    shape: tuple[int, int]
    device: torch.device

    @staticmethod
    def of(labels: LabelTable | Tensor) -> LabelTable:
        """Wrap a tensor [N, C]; return a table unchanged."""
        return labels if isinstance(labels, LabelTable) else DenseTable(labels)

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def rows(self, rows: Tensor) -> Tensor:
        """The labels of some images: int64 [B] -> int8 [B, C]."""

    @abstractmethod
    def count(self, *codes: int) -> Tensor:
        """The number of images that have one of the codes, for each class: int64 [C]."""

    @abstractmethod
    def _all(self) -> Tensor:
        """All labels, int8 [N, C]."""

    def whole(self) -> Tensor:
        """All labels, int8 [N, C], for a method that stores a value for each.

        Raises:
            MethodError: there are more than `MOST_WHOLE` labels.
        """
        images, classes = self.shape
        if images * classes > MOST_WHOLE:
            raise MethodError(
                f"the method stores a value for each of {images} x {classes} labels, and at most "
                f"{MOST_WHOLE} fit; take a method without memory per image, or fewer images or "
                "classes"
            )
        return self._all()

    @abstractmethod
    def places(self, *codes: int) -> tuple[Tensor, Tensor]:
        """The positions of labels with one of the codes: rows and classes, int64 [E] each, by row.

        Raises:
            MethodError: there are more than `MOST_WHOLE` positions.
        """

    def blocks(self) -> Iterator[Tensor]:
        """All rows in order, as blocks int8 [n, C]."""
        step = max(1, _BLOCK // self.shape[1])
        for begin in range(0, self.shape[0], step):
            end = min(begin + step, self.shape[0])
            yield self.rows(torch.arange(begin, end, device=self.device))


class DenseTable(LabelTable):
    """A table that holds one tensor."""

    def __init__(self, labels: Tensor) -> None:
        self._labels = labels
        self.shape = (labels.shape[0], labels.shape[1])
        self.device = labels.device

    def rows(self, rows: Tensor) -> Tensor:
        """See `LabelTable.rows`."""
        return self._labels.index_select(0, rows)

    def count(self, *codes: int) -> Tensor:
        """See `LabelTable.count`; in blocks, because summing booleans copies them to int64."""
        total = torch.zeros(self.shape[1], dtype=torch.int64, device=self.device)
        for block in self.blocks():
            total += _among(block, codes).sum(0)
        return total

    def _all(self) -> Tensor:
        return self._labels

    def places(self, *codes: int) -> tuple[Tensor, Tensor]:
        """See `LabelTable.places`."""
        rows, classes = torch.nonzero(_among(self._labels, codes), as_tuple=True)
        return rows, classes

    def blocks(self) -> Iterator[Tensor]:
        """See `LabelTable.blocks`."""
        yield from self._labels.split(max(1, _BLOCK // self.shape[1]))


class CompressedTable(LabelTable):
    """A table that stores only the labels that differ from one code, `fill`, row by row.

    Row i has the codes `values[indptr[i] : indptr[i + 1]]` at the classes `indices[...]` of the
    same range, and `fill` elsewhere.

    Args:
        shape: N and C.
        indptr: int64 [N + 1].
        indices: int32 [entries], increasing within a row.
        values: int8 [entries], none equal to `fill`.
        fill: the code of all labels that are not stored.
    """

    def __init__(
        self, shape: tuple[int, int], indptr: Tensor, indices: Tensor, values: Tensor, fill: int
    ) -> None:
        self.shape, self.device, self.fill = shape, indptr.device, fill
        self._indptr, self._indices, self._values = indptr, indices, values
        sizes = indptr.diff()
        self._widest = int(sizes.max()) if len(sizes) else 0
        self._whole: Tensor | None = None

    def rows(self, rows: Tensor) -> Tensor:
        """See `LabelTable.rows`.

        Every row is read with the width of the widest row, so that shapes do not depend on the data
        and the GPU does not have to be waited for.
        """
        number, classes = rows.shape[0], self.shape[1]
        begin, end = self._indptr[rows], self._indptr[rows + 1]
        place = begin[:, None] + torch.arange(self._widest, device=self.device)
        inside = place < end[:, None]
        place = torch.where(inside, place, 0)
        # Entries beyond the end of a row go to an extra column, which is cut off.
        column = torch.where(inside, self._indices[place], classes).long()
        out = torch.full((number, classes + 1), self.fill, dtype=torch.int8, device=self.device)
        return out.scatter_(1, column, self._values[place])[:, :classes].contiguous()

    def count(self, *codes: int) -> Tensor:
        """See `LabelTable.count`."""
        total = torch.zeros(self.shape[1], dtype=torch.int64, device=self.device)
        for code in set(codes):
            if code == self.fill:
                total += self.shape[0] - self._stored(self._indices)
            else:
                total += self._stored(self._indices[self._values == code])
        return total

    def _all(self) -> Tensor:
        if self._whole is None:
            self._whole = torch.cat(list(self.blocks()))
        return self._whole

    def places(self, *codes: int) -> tuple[Tensor, Tensor]:
        """See `LabelTable.places`; block by block if `fill` is among the codes."""
        total = int(self.count(*codes).sum())
        if total > MOST_WHOLE:
            raise MethodError(
                f"the method lists {total} labels class by class, and at most {MOST_WHOLE} fit; "
                "take one that samples images evenly, or fewer images or classes"
            )
        if self.fill in codes:
            pairs, begin = [], 0
            for block in self.blocks():
                rows, classes = DenseTable(block).places(*codes)
                pairs.append((rows + begin, classes))
                begin += len(block)
            return torch.cat([r for r, _ in pairs]), torch.cat([c for _, c in pairs])
        kept = _among(self._values, codes)
        numbers = torch.arange(self.shape[0], device=self.device)
        rows = torch.repeat_interleave(numbers, self._indptr.diff())
        return rows[kept], self._indices[kept].long()

    def _stored(self, indices: Tensor) -> Tensor:
        return torch.bincount(indices, minlength=self.shape[1])


def _among(labels: Tensor, codes: tuple[int, ...]) -> Tensor:
    mask = labels == codes[0]
    for code in codes[1:]:
        mask = mask | (labels == code)
    return mask
