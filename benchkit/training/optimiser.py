"""The optimiser of a stage: parameter groups, learning rates, gradient clipping."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from baselines.core import Clock, Rate
from benchkit.training.recipe import Recipe


def make_optimiser(
    params: Mapping[str, Tensor],
    train: tuple[str, ...],
    rates: Mapping[str, Rate],
    recipe: Recipe,
) -> torch.optim.Optimizer:
    """The optimiser of one stage; sets `requires_grad` of every parameter.

    Args:
        params: the parameters of the stack, by name.
        train: prefixes of the parameters that the stage trains; empty for all.
        rates: prefix -> how the parameters with this prefix depart from the recipe. The first
            matching prefix counts.
        recipe: optimiser, learning rate, momentum and weight decay.

    Returns:
        A fused torch optimiser with one group per distinct rate, stored in the group as `"rate"`.
    """
    groups: dict[Rate, list[Tensor]] = {}
    for name, tensor in params.items():
        trained = not train or name.startswith(train)
        tensor.requires_grad_(trained)
        tensor.grad = None  # a frozen parameter must not enter the norm of the next stage
        if trained:
            rate = next((r for prefix, r in rates.items() if name.startswith(prefix)), Rate())
            groups.setdefault(rate, []).append(tensor)
    param_groups = [
        {
            "params": tensors,
            "weight_decay": recipe.weight_decay if rate.decay else 0.0,
            "rate": rate,
        }
        for rate, tensors in groups.items()
    ]
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(param_groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)
    adam = torch.optim.Adam if recipe.optimiser == "adam" else torch.optim.AdamW
    return adam(param_groups, lr=recipe.lr, fused=True)


def set_rates(optimiser: torch.optim.Optimizer, recipe: Recipe, clock: Clock) -> None:
    """Set the learning rate of every group for one step.

    lr = recipe.lr * multiplier * f, where f is the recipe's schedule, or
    step_factor ^ floor(epoch / step_every) for a group with a step schedule of its own.
    """
    schedule = recipe.rate_factor(clock.epoch, clock.step, clock.steps, clock.epochs)
    for group in optimiser.param_groups:
        rate: Rate = group["rate"]
        factor = schedule
        if rate.step_every is not None:
            factor = rate.step_factor ** (clock.epoch // rate.step_every)
        group["lr"] = recipe.lr * rate.multiplier * factor


def clip_gradients(params: Iterable[Tensor], limit: float, runs: int) -> None:
    """Scale the gradient of each run, in place, to a global L2 norm of at most `limit`.

        g' = g * min(1, limit / (||g|| + 1e-6))

    Args:
        params: the parameters of the stack, with a leading axis of runs if there are several;
            those without a gradient do not count.
        limit: the maximum norm.
        runs: R; the norm is taken over all parameters of a run, not over runs.
    """
    gradients = [p.grad for p in params if p.grad is not None]
    norm = torch.stack([g.reshape(runs, -1).pow(2).sum(1) for g in gradients]).sum(0).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        # Multiply the gradient itself: `reshape` of a non-contiguous gradient is a copy.
        axes = [1] * (gradient.dim() - 1)
        gradient.mul_(scale.reshape(runs, *axes) if runs > 1 else scale[0])
