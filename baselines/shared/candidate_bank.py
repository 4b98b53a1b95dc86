"""A bank of soft labels over each image's candidates, and the steps of NDLP that work on it.

`baselines.ndlp` explains the numbers of the steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from baselines.shared.candidate_labels import candidates_of


def _tolerance(dtype: torch.dtype) -> float:
    """Relative tolerance, so that rounding does not decide exact ties."""
    return 64.0 * torch.finfo(dtype).eps


def initial_bank(observed: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Q_ik = s_ik / |S_i|, zero for a row without candidates: int8 [N, K] -> float [N, K]."""
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

    Rows are divided by their maximum first. The divisor cancels and prevents underflow of the
    powers.
    """
    tiny = torch.finfo(rows.dtype).tiny
    powers = (rows / rows.amax(1, keepdim=True).clamp(min=tiny)) ** gamma
    return powers / powers.sum(1, keepdim=True).clamp(min=tiny)


def pseudo_labels(sharp: Tensor, threshold: Tensor) -> Tensor:
    """Step (3): t_ik = 1[qt_ik > phi_k], bool [B, K]; a row may have no label."""
    return sharp > threshold * (1.0 + _tolerance(sharp.dtype))


def select(scores: Tensor, pseudo: Tensor, quota: Tensor, ratio: float | Tensor) -> Tensor:
    """Step (5): the images of smallest loss in each class, up to the quota of the class.

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
    limit = torch.ceil(expected * (1.0 - _tolerance(expected.dtype))).clamp(min=1.0)
    order = torch.argsort(scores, stable=True)
    by_loss = pseudo[order]
    # The running count never exceeds c_k, so the minimum with c_k needs no code.
    taken = by_loss & (torch.cumsum(by_loss.to(limit.dtype), 0) <= limit)
    return taken.any(1)[torch.argsort(order)]


def pairs(selected: Tensor, shuffle: Tensor) -> tuple[Tensor, Tensor]:
    """Step (6): pairs of images of C, in arrays whose shape does not depend on C.

    Args:
        selected: membership of C, bool [B].
        shuffle: a random permutation of 0..B-1.

    Returns:
        Two permutations of 0..B-1, int64 [B]. The first |C| entries are the members of C, in order
        and in random order respectively; the remaining entries are not in C.
    """
    first = torch.argsort((~selected).to(torch.int8), stable=True)
    second = shuffle[torch.argsort((~selected[shuffle]).to(torch.int8), stable=True)]
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
        rows: Q of the batch before step (8), [B, K]. If eps_k = 0, u_k replaces it.

    Returns:
        The next u [K]. As a running product it collapses to few classes within an epoch.
    """
    shares = batch_shares(rows)
    ratio = quota / (torch.where(shares > 0, shares, quota) + 1e-8)
    return ratio / ratio.sum().clamp(min=torch.finfo(rows.dtype).tiny)


def update_share(share: Tensor, rows: Tensor, rate: float | Tensor) -> Tensor:
    """The moving mean (1 - mu) share + mu eps, [K], of an alternative to step (7); added here."""
    return torch.where(rows.sum() > 0, (1.0 - rate) * share + rate * batch_shares(rows), share)


def inverse_quota(share: Tensor) -> Tensor:
    """An alternative to step (7), added here: u_k = (1 / share_k) / sum_j (1 / share_j), [K].

    A class with share 0 has no candidates and gets no quota.
    """
    inverse = torch.where(share > 0, 1.0 / (share + 1e-8), 0.0)
    return inverse / inverse.sum().clamp(min=torch.finfo(share.dtype).tiny)


def update_bank(rows: Tensor, logits: Tensor, candidates: Tensor, rate: float | Tensor) -> Tensor:
    """Step (8): Q <- (1 - mu) Q + mu p,  p = softmax(z) * s / sum_j(softmax(z) * s), row by row.

    Args:
        rows: Q of the batch, [B, K].
        logits: z [B, K], with the class bias, which the DB loss of the released code adds in place.
        candidates: s [B, K], 0 or 1; a row without candidates remains zero.
        rate: mu.

    Returns:
        The next Q of the batch, [B, K].
    """
    # The quotient is a softmax over the candidates; computed this way it does not underflow.
    lowest = torch.finfo(logits.dtype).min
    prediction = torch.softmax(logits.masked_fill(candidates == 0, lowest), 1) * candidates
    return (1.0 - rate) * rows + rate * prediction


def ramps(epoch: int, epochs: int, weight: float, start: float, end: float) -> tuple[float, float]:
    """eta_e = eta ramp, alpha_e = a0 + (a1 - a0) ramp, ramp = min(1, e / E), e = `epoch` from 0."""
    ramp = min(1.0, epoch / epochs)
    return weight * ramp, start + (end - start) * ramp
