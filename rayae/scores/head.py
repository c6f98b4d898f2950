"""Home of what the logits of a discriminative head say of a whole image."""

import torch
from torch import Tensor
from torch.nn import functional

from rayae.scores.region import Region, highest, worst_share


def head_scores(logits: Tensor, region: Region | None) -> dict[str, Tensor]:
    """The scores of float32 `[B, 1, h, w]` logits: a `[B]` each, logits too, so that none saturates in float32.

    `head_max` is the highest, and `head_worst1` the mean of the highest 1 %, of the logits averaged over 3 x 3 places
    (at the border and in a region over those of the nine that are inside, as they weigh). `head_mean` is the logit of
    the mean over all places of the probabilities, ln(p / (1 - p)). In a region, which is resized to the logits, the
    odds of a place are multiplied by its weight.
    """
    if region is None:
        averaged = functional.avg_pool2d(logits, 3, 1, 1, count_include_pad=False)
        return {"head_max": averaged.amax((1, 2, 3)), "head_worst1": worst_share(averaged), "head_mean": _mean(logits)}
    region = region.resized(*logits.shape[-2:])
    averaged = _averaged(logits, region) + region.log_weights
    return {
        "head_max": averaged.amax((1, 2, 3)),
        "head_worst1": highest(averaged, region.worst),
        "head_mean": _mean(logits, region),
    }


def _averaged(logits: Tensor, region: Region) -> Tensor:
    """Weighted means over 3 x 3 places; outside, where they are not looked at, they are any finite number."""
    weighted = logits.masked_fill(region.outside, 0) * region.weights
    weights = functional.avg_pool2d(region.weights[None], 3, 1, 1, count_include_pad=False)
    return functional.avg_pool2d(weighted, 3, 1, 1, count_include_pad=False) / weights.masked_fill(region.outside, 1)


def _mean(logits: Tensor, region: Region | None = None) -> Tensor:
    """The logit of the mean probability: the ratio of the sums of p and of 1 - p, in logarithms."""
    yes = functional.logsigmoid(logits)
    no = yes - logits
    if region is not None:
        yes, no = ((part.masked_fill(region.outside, 0) + region.log_weights) for part in (yes, no))
    return torch.logsumexp(yes.flatten(1), 1) - torch.logsumexp(no.flatten(1), 1)
