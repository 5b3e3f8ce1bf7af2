"""Several processes that train one network together, started by `torchrun`.

Every process encodes its part of the batch; what it encoded is gathered, and every process
computes the same objective over the whole batch. So graph, negatives and batch statistics are
those of one process with the whole batch:

- backward reaches only the own part of what was gathered: the gradients of the encoders are
  summed over the processes, those of the objective are whole in each;
- batch norms take their statistics over all processes;
- the main process alone evaluates, saves and speaks.

A process alone is a `Collective` of one, in which all of this is the identity.

Source: docs/adr/0007-several-processes.md, also on why this is not `DistributedDataParallel`.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from model.encoders.batch_norm import JointBatchNorm2d
from model.encoders.fragment_level import EncodedItems
from model.encoders.image import MaskedBatchNorm
from model.errors import ConfigError, TrainingError
from model.training.samplers import Pairs

__all__ = ["Collective", "joined_processes"]

# The others wait while the main process evaluates or encodes pictures. A process that dies is
# noticed by the closed connection and by torchrun, not by this.
_LONGEST_WAIT = timedelta(hours=12)


@dataclass(frozen=True)
class Collective:
    """The processes of a run, and the place of this one among them.

    Attributes:
        rank: Place of this process, from 0.
        size: Number of processes.
        local_rank: Place among the processes of this machine: which GPU to use.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether there is no other process."""
        return self.size == 1

    @property
    def is_main(self) -> bool:
        """Whether this process evaluates, saves and speaks."""
        return self.rank == 0

    def refuse_uneven(self, batch_size: int) -> None:
        """Refuse a batch that cannot be cut into equal parts.

        Raises:
            ConfigError: The number of pairs is no multiple of the number of processes.
        """
        if batch_size % self.size:
            raise ConfigError(
                [
                    f"schedule.batch_size: {batch_size} pairs cannot be shared by {self.size} "
                    f"processes; give a multiple of {self.size}"
                ]
            )

    def share(self, pairs: Pairs) -> Pairs:
        """Return the pairs of a batch that this process encodes: one of `size` equal parts."""
        length = len(pairs.images) // self.size
        part = slice(self.rank * length, (self.rank + 1) * length)
        return Pairs(pairs.epoch, pairs.images[part], pairs.captions[part])

    def gathered(self, part: Tensor) -> Tensor:
        """Return the rows of all processes in order of rank; gradients reach the own rows only.

        Args:
            part: Of one shape and type in every process.
        """
        if self.is_alone:
            return part
        # As bytes: gloo knows neither bool nor bfloat16.
        sent = part.detach().contiguous().view(torch.uint8)
        received = [torch.empty_like(sent) for _ in range(self.size)]
        dist.all_gather(received, sent)
        parts = [other.view(part.dtype) for other in received]
        parts[self.rank] = part
        return torch.cat(parts)

    def gathered_items(self, items: EncodedItems) -> EncodedItems:
        """Return the encoded items of all processes, padded to the longest of them."""
        if self.is_alone:
            return items
        length = torch.tensor(items.fragments.shape[1])
        dist.all_reduce(length, dist.ReduceOp.MAX)
        missing = int(length) - items.fragments.shape[1]
        return EncodedItems(
            embeddings=self.gathered(items.embeddings),
            unnormalized=self.gathered(items.unnormalized),
            fragments=self.gathered(functional.pad(items.fragments, (0, 0, 0, missing))),
            is_padding=self.gathered(functional.pad(items.is_padding, (0, missing), value=True)),
        )

    def unite_gradients(self, encoders: nn.Module, objective: nn.Module) -> None:
        """Leave the gradients of the whole batch at every parameter, equal in all processes."""
        if self.is_alone:
            return
        _exchange(_gradients(encoders), dist.all_reduce)
        # They are whole already; taking those of one process keeps rounding from parting them.
        _exchange(_gradients(objective), lambda flat: dist.broadcast(flat, 0))

    def copy_from_main(self, *tensors: Tensor) -> None:
        """Overwrite tensors by those of the main process."""
        if not self.is_alone:
            for tensor in tensors:
                _exchange([tensor], lambda flat: dist.broadcast(flat, 0))

    def any(self, asked: bool) -> bool:
        """Return whether any process says True."""
        if self.is_alone:
            return asked
        said = torch.tensor(int(asked))
        dist.all_reduce(said, dist.ReduceOp.MAX)
        return bool(said)

    def span_batch_norms(self, network: nn.Module) -> None:
        """Make every batch norm of a network take its statistics over all processes."""
        if self.is_alone:
            return
        everyone = dist.group.WORLD
        assert everyone is not None
        for module in list(network.modules()):
            if isinstance(module, MaskedBatchNorm):
                module.group = everyone
            for name, child in module.named_children():
                if type(child) is nn.BatchNorm2d:
                    setattr(module, name, JointBatchNorm2d.of(child, everyone))

    @contextlib.contextmanager
    def main_first(self) -> Iterator[None]:
        """Let the main process do something before the others do it, who find it done."""
        if not self.is_alone and not self.is_main:
            self.any(False)
        yield
        if not self.is_alone and self.is_main:
            self.any(False)


@contextlib.contextmanager
def joined_processes(device_type: str) -> Iterator[Collective]:
    """Yield the processes that `torchrun` started, joined; otherwise this one alone.

    Only the main process prints in the meantime; an error that ends another is still told.

    Args:
        device_type: cpu (gloo) or cuda (nccl; what is on the CPU by gloo).

    Raises:
        TrainingError: Another process ended.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 or "RANK" not in os.environ:
        yield Collective()
        return
    backend = "gloo" if device_type == "cpu" else f"cpu:gloo,{device_type}:nccl"
    dist.init_process_group(backend, timeout=_LONGEST_WAIT)
    collective = Collective(dist.get_rank(), size, int(os.environ.get("LOCAL_RANK", "0")))
    try:
        with contextlib.ExitStack() as quiet:
            if not collective.is_main:
                nowhere = quiet.enter_context(open(os.devnull, "w"))  # noqa: PTH123
                quiet.enter_context(contextlib.redirect_stderr(nowhere))
                quiet.enter_context(contextlib.redirect_stdout(nowhere))
            yield collective
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise TrainingError(
            f"process {collective.rank}: another process of the run ended; its message says why"
        ) from error
    finally:
        dist.destroy_process_group()


def _gradients(network: nn.Module) -> list[Tensor]:
    return [p.grad for p in network.parameters() if p.grad is not None]


def _exchange(tensors: list[Tensor], exchange: Callable[[Tensor], object]) -> None:
    """Send tensors, as one vector a type, through a collective operation and write them back."""
    for dtype in {tensor.dtype: None for tensor in tensors}:
        alike = [tensor.data for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in alike])
        exchange(flat)
        for tensor, part in zip(alike, torch.split(flat, [t.numel() for t in alike]), strict=True):
            tensor.copy_(part.view(tensor.shape))
