"""Home of `torch.compile`: a network that runs faster once a compiler has been at it, where there is a compiler."""

import torch
from torch import Tensor, nn

from rayae.terminal import warn


def compiled(learner: nn.Module, device: torch.device) -> nn.Module:
    """The learner, to be compiled at its first step; as it is, which is told, where nothing can be compiled.

    The module itself is left as it is, and so are the names of its weights: what else uses it does not compile, and
    checkpoints know no difference.
    """
    problem = _problem(device)
    if problem is None:
        return torch.compile(learner)  # type: ignore[return-value]  # typed as a function; it is a module
    warn(
        f"the network is trained without being compiled, since torch.compile cannot work here ({problem}); install a "
        "C++ compiler, or say `compile=false`."
    )
    return learner


def _problem(device: torch.device) -> str | None:
    """Why a function of one line, forward and backward, cannot be compiled; None when it can."""
    try:
        numbers = torch.ones(8, device=device, requires_grad=True)
        torch.compile(_doubled)(numbers).backward()  # type: ignore[no-untyped-call]  # torch has no types there
    except RuntimeError as error:  # all of the compiler's errors are
        return str(error).splitlines()[0].rstrip(".:")
    return None


def _doubled(numbers: Tensor) -> Tensor:
    return (numbers * 2).sum()
