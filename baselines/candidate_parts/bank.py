"""A bank of soft labels over each image's candidates, and the steps of NDLP that work on it.

The numbers of the steps are those of `baselines.ndlp`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.candidate_parts.labels import candidates_of


def _tolerance(dtype: torch.dtype) -> float:
    """Relative slack that keeps rounding from deciding what is mathematically a tie."""
    return 64.0 * torch.finfo(dtype).eps


def initial_bank(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Q_ik = s_ik / |S_i|; a row without candidates is zero: int8 [N, K] -> float [N, K]."""
    candidates = candidates_of(observed, dtype)
    return candidates / candidates.sum(1, keepdim=True).clamp(min=1.0)


def class_threshold(bank: Tensor) -> Tensor:
    """Step (1): phi_k = sum_i Q_ik / #{i : Q_ik != 0}; 0 for a class without candidates.

    Args:
        bank: Q [N, K], all training rows.

    Returns:
        [K].
    """
    return bank.sum(0) / (bank != 0).sum(0).clamp(min=1)


def sharpen(rows: Tensor, gamma: float | Tensor) -> Tensor:
    """Step (2): qt_ik = Q_ik^gamma / sum_j Q_ij^gamma, [B, K]; a zero row stays zero.

    Rows are divided by their maximum first, which cancels and keeps the powers from vanishing.
    """
    tiny = torch.finfo(rows.dtype).tiny
    powers = (rows / rows.amax(1, keepdim=True).clamp(min=tiny)) ** gamma
    return powers / powers.sum(1, keepdim=True).clamp(min=tiny)


def pseudo_labels(sharp: Tensor, threshold: Tensor) -> Tensor:
    """Step (3): t_ik = 1[qt_ik > phi_k], bool [B, K]; a row may have none."""
    return sharp > threshold * (1.0 + _tolerance(sharp.dtype))


def select(scores: Tensor, pseudo: Tensor, quota: Tensor, ratio: float | Tensor) -> Tensor:
    """Step (5): the images of smallest loss of each class, up to the class's quota.

        m_k = max(1, min(ceil(u_k b alpha_e), c_k)),   c_k = #{i : t_ik = 1}
        C = union over k of the m_k images of smallest l_i among {i : t_ik = 1}

    Args:
        scores: l [B], one loss per image.
        pseudo: t, bool [B, K].
        quota: u [K], sums to 1.
        ratio: alpha_e.

    Returns:
        Membership of C, bool [B].
    """
    expected = quota * (scores.shape[0] * ratio)
    wanted = torch.ceil(expected * (1.0 - _tolerance(expected.dtype))).clamp(min=1.0)
    order = torch.argsort(scores, stable=True)
    by_loss = pseudo[order]
    # The running count stops at c_k by itself, so the minimum with c_k needs no line.
    taken = by_loss & (torch.cumsum(by_loss.to(wanted.dtype), 0) <= wanted)
    return taken.any(1)[torch.argsort(order)]


def pairs(chosen: Tensor, shuffle: Tensor) -> tuple[Tensor, Tensor]:
    """Step (6): a random permutation of C, in arrays whose shape does not depend on C.

    Args:
        chosen: membership of C, bool [B].
        shuffle: a random permutation of 0..B-1.

    Returns:
        Two permutations of 0..B-1, int64 [B]: the first |C| entries of the one list C in order,
        those of the other list C at random; what follows is not in C.
    """
    first = torch.argsort((~chosen).to(torch.int8), stable=True)
    second = shuffle[torch.argsort((~chosen[shuffle]).to(torch.int8), stable=True)]
    return first, second


def mixing_share(uniforms: Tensor) -> Tensor:
    """Lambda, max(b, 1 - b) with b ~ Beta(4, 4): the fourth smallest of seven uniforms."""
    share = torch.sort(uniforms).values[3]
    return torch.maximum(share, 1.0 - share)


def batch_shares(rows: Tensor) -> Tensor:
    """eps_k = sum_{i in B} Q_ik / sum_{i in B, j} Q_ij: [B, K] -> [K]."""
    return rows.sum(0) / rows.sum().clamp(min=torch.finfo(rows.dtype).tiny)


def update_quota(quota: Tensor, rows: Tensor) -> Tensor:
    """Step (7): u_k <- (u_k / (eps_k + 1e-8)) / sum_j (u_j / (eps_j + 1e-8)).

    Args:
        quota: u [K].
        rows: Q of the batch before step (8), [B, K]. Where eps_k = 0, u_k takes its place.

    Returns:
        The next u [K]. It is a running product, and collapses onto few classes within an epoch.
    """
    shares = batch_shares(rows)
    ratio = quota / (torch.where(shares > 0, shares, quota) + 1e-8)
    return ratio / ratio.sum().clamp(min=torch.finfo(rows.dtype).tiny)


def update_share(share: Tensor, rows: Tensor, rate: float | Tensor) -> Tensor:
    """The moving mean (1 - mu) share + mu eps of the alternative to step (7), [K]; ours."""
    return torch.where(rows.sum() > 0, (1.0 - rate) * share + rate * batch_shares(rows), share)


def inverse_quota(share: Tensor) -> Tensor:
    """The alternative to step (7): u_k = (1 / share_k) / sum_j (1 / share_j), [K]; ours.

    A class with share 0 has no candidate anywhere and gets no quota.
    """
    inverse = torch.where(share > 0, 1.0 / (share + 1e-8), 0.0)
    return inverse / inverse.sum().clamp(min=torch.finfo(share.dtype).tiny)


def update_bank(rows: Tensor, logits: Tensor, candidates: Tensor, rate: float | Tensor) -> Tensor:
    """Step (8): Q <- (1 - mu) Q + mu p,  p = softmax(z) * s / sum_j(softmax(z) * s), row by row.

    Args:
        rows: Q of the batch, [B, K].
        logits: z [B, K], with the class bias that the DB loss adds in place in the released code.
        candidates: s [B, K], 0 or 1; a row without candidates stays zero.
        rate: mu.

    Returns:
        The next Q of the batch, [B, K].
    """
    # The quotient is a softmax over the candidates alone, and as such does not underflow.
    lowest = torch.finfo(logits.dtype).min
    prediction = torch.softmax(logits.masked_fill(candidates == 0, lowest), 1) * candidates
    return (1.0 - rate) * rows + rate * prediction


def ramps(epoch: int, epochs: int, weight: float, start: float, end: float) -> tuple[float, float]:
    """eta_e = eta ramp, alpha_e = a0 + (a1 - a0) ramp, ramp = min(1, e / E), e = `epoch` from 0."""
    ramp = min(1.0, epoch / epochs)
    return weight * ramp, start + (end - start) * ramp
