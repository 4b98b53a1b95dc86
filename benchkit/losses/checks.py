"""Checks of a loss's arguments, and reductions of the losses that `baselines` averages.

Everything here reads shapes and dtypes only, so a check costs no synchronisation with a GPU and
works under `torch.func.vmap`. `check_labels` is the exception: it reads the values, and is meant to
be called once per data set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

CODES = (1, 0, -1)


def check_labels(labels: Tensor) -> None:
    """Check that a label matrix holds no other values than 1, 0 and -1.

    The losses do not check this, because reading values in every step would make the processor
    wait for the GPU. Call it once, on the labels of the training set.

    Args:
        labels: [N, C], of a signed dtype: 1 positive (or candidate), 0 negative, -1 unknown.

    Raises:
        ValueError: a label has another value; the message names its row and class.

    Example:
        >>> labels = torch.tensor([[1, 0, -1], [0, 1, 0]])
        >>> check_labels(labels)
    """
    if not labels.dtype.is_signed or labels.ndim != 2:
        raise ValueError(f"labels must be int8 [N, C], not {labels.dtype} {list(labels.shape)}")
    wrong = ~torch.isin(labels, torch.tensor(CODES, dtype=labels.dtype, device=labels.device))
    if wrong.any():
        row, column = torch.nonzero(wrong)[0].tolist()
        value = labels[row, column].item()
        raise ValueError(
            f"the label in row {row}, class {column} is {value}; "
            "it must be 1 (positive), 0 (negative) or -1 (unknown)"
        )


def check_batch(logits: Tensor, labels: Tensor, **entries: Tensor) -> None:
    """Check the arguments that have one value per image and class.

    Args:
        logits: floating [B, C].
        labels: [B, C], of a signed dtype.
        **entries: further arguments by name, each [B, C].

    Raises:
        ValueError: an argument is not a tensor of that shape, or labels cannot hold -1.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.ndim != 2:
        raise ValueError(f"logits must be a floating tensor [B, C], not {_described(logits)}")
    for name, value in {"labels": labels, **entries}.items():
        if not isinstance(value, Tensor) or value.shape != logits.shape:
            shape = list(logits.shape)
            raise ValueError(
                f"{name} must be a tensor {shape} like logits, not {_described(value)}"
            )
    if not labels.dtype.is_signed:
        raise ValueError(
            f"labels are {labels.dtype}, which cannot hold -1 for unknown; convert them to int8"
        )


def check_classes(logits: Tensor, **vectors: Tensor) -> None:
    """Check the arguments that have one value per class.

    Args:
        logits: [B, C].
        **vectors: arguments by name, each [C].

    Raises:
        ValueError: an argument is not a tensor of that shape.
    """
    for name, value in vectors.items():
        if not isinstance(value, Tensor) or value.shape != logits.shape[1:]:
            shape = list(logits.shape[1:])
            raise ValueError(
                f"{name} must be a tensor {shape}, one value per class, not {_described(value)}"
            )


def check_pairs(logits: Tensor, **matrices: Tensor) -> None:
    """Check the arguments that have one value per pair of classes.

    Args:
        logits: [B, C].
        **matrices: arguments by name, each [C, C].

    Raises:
        ValueError: an argument is not a tensor of that shape.
    """
    for name, value in matrices.items():
        shape = [logits.shape[1], logits.shape[1]]
        if not isinstance(value, Tensor) or list(value.shape) != shape:
            raise ValueError(
                f"{name} must be a tensor {shape}, one value per pair of classes, "
                f"not {_described(value)}"
            )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise a ValueError unless the argument `name` is one of its choices."""
    if value not in choices:
        raise ValueError(f"{name} is '{value}'; it must be one of {list(choices)}")


def averaged(loss: Callable[..., Tensor], reduction: str, *entries: Tensor) -> Tensor:
    """Apply `reduction` to a loss that is a mean over its entries.

    The loss of a single label is its own mean, so "none" evaluates `loss` label by label.

    Args:
        loss: entries [B, C] -> scalar, the mean over all B*C entries of a function of each entry.
        reduction: "mean", "sum" or "none".
        *entries: tensors [B, C]; any but the first may be a vector [C] instead.

    Returns:
        A scalar, or [B, C].

    Raises:
        ValueError: an unknown `reduction`.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    if reduction == "mean":
        return loss(*entries)
    if reduction == "sum":
        return loss(*entries) * entries[0].numel()

    def single(*values: Tensor) -> Tensor:
        return loss(*(value.reshape(1, 1) for value in values))

    return torch.func.vmap(torch.func.vmap(single))(*torch.broadcast_tensors(*entries))


def scalar(value: float | Tensor, like: Tensor) -> Tensor:
    """A number as a tensor [] with the dtype and device of `like`, without a transfer."""
    return (like.new_zeros(()) + value).to(like.dtype)


def _described(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{value.dtype} {list(value.shape)}"
    return f"an object of type {type(value).__name__}"
