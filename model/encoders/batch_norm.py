"""Batch norm over the rows of several processes, each of which holds a part of them.

Where the statistics of one batch are meant, no process may take those of its own part: mean and
variance come from sums over all processes, and gradients flow back through these sums.

Source: as `torch.nn.SyncBatchNorm`, which needs a GPU and counts padded rows.
"""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["JointBatchNorm2d", "joint_batch_norm"]


def joint_batch_norm(
    rows: Float[Tensor, "row dim"], norm: nn.BatchNorm1d | nn.BatchNorm2d, group: dist.ProcessGroup
) -> Float[Tensor, "row dim"]:
    """Return the rows of this process, normalised over the rows of all, in training mode.

    The running statistics of `norm` are updated, equally in every process.

    Args:
        rows: Any scale; at least one in some process. Reduced types are computed in float32.
        norm: Affine, with running statistics and a momentum.
        group: Every process of it calls this at the same place.
    """
    wide = rows.to(torch.promote_types(rows.dtype, torch.float32))
    count = wide.new_tensor([float(len(rows))])
    dist.all_reduce(count, group=group)
    mean = _sum(wide.sum(dim=0), group) / count
    centred = wide - mean
    variance = _sum(centred.square().sum(dim=0), group) / count
    with torch.no_grad():
        assert norm.running_mean is not None and norm.running_var is not None
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1).clamp(min=1), norm.momentum)
    normalised = centred * (variance + norm.eps).rsqrt() * norm.weight + norm.bias
    return normalised.to(rows.dtype)


class JointBatchNorm2d(nn.BatchNorm2d):
    """`nn.BatchNorm2d` whose training statistics span a group of processes."""

    group: dist.ProcessGroup

    @classmethod
    def of(cls, norm: nn.BatchNorm2d, group: dist.ProcessGroup) -> "JointBatchNorm2d":
        """Return a layer that shares the weights and statistics of `norm`."""
        joint = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        joint.weight, joint.bias = norm.weight, norm.bias
        joint.running_mean, joint.running_var = norm.running_mean, norm.running_var
        joint.num_batches_tracked = norm.num_batches_tracked
        joint.group = group
        return joint.train(norm.training)

    def forward(
        self, input: Float[Tensor, "image channel row column"]
    ) -> Float[Tensor, "image channel row column"]:
        """Return the normalised grid; in eval mode by the running statistics."""
        if not self.training:
            return super().forward(input)
        last = input.movedim(1, -1)
        rows = joint_batch_norm(last.reshape(-1, last.shape[-1]), self, self.group)
        return rows.view(last.shape).movedim(-1, 1)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over processes, and of its gradient on the way back."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = part.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


def _sum(part: Tensor, group: dist.ProcessGroup) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(part, group)  # type: ignore[no-untyped-call]
    return total
