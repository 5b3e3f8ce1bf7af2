"""The batches of a run by number, made ahead of their use, and the neighbours they are made of.

What a batch holds is a function of (seed, number), and with neighbour batches of the clusters that
were found at the start of its pass.
"""

import time
from collections.abc import Generator

import numpy as np
import torch

from model.training.batches import Batch, BatchMaker, prefetched
from model.training.distributed import Collective
from model.training.neighbours import NeighbourSampler
from model.training.samplers import Pairs, Sampler
from model.training.schedule import StepPlan
from model.training.state import Position
from model.training.stored_images import StoredEncoder

__all__ = ["BatchSupply"]


class BatchSupply:
    """Makes the batches of a run, each process the part of them that it encodes.

    Args:
        sampler: Which pairs form a batch.
        maker: Makes their tensors.
        images: The image side of the network, over the stored images; neighbours are found by it.
        train_count: How many of the stored images, the first ones, are training images.
        plan: How many batches there are, and when the embeddings may be trusted.
        workers: Threads that make batches ahead.
        collective: The processes that share each batch.
    """

    def __init__(
        self,
        sampler: Sampler,
        maker: BatchMaker,
        *,
        images: StoredEncoder,
        train_count: int,
        plan: StepPlan,
        workers: int = 1,
        collective: Collective,
    ) -> None:
        self.sampler = sampler
        self._maker = maker
        self._images = images
        self._train_count = train_count
        self._plan = plan
        self._workers = workers
        self._collective = collective

    def own_pairs(self, number: int) -> Pairs:
        """Return the pairs of batch `number` that this process encodes."""
        return self._collective.share(self.sampler.pairs(number))

    def batch(self, number: int) -> Batch:
        """Return this process's part of batch `number`."""
        return self._maker.batch(self.own_pairs(number))

    def batches_from(self, first: int, position: Position) -> Generator[Batch]:
        """Yield the batches of the run from number `first` on, made ahead within a pass.

        The next pass of a neighbour sampler may be of other groups.

        Args:
            first: Counted over the run, from 0.
            position: Its times of waiting and of finding neighbours are counted up.
        """
        stop = self._plan.step_count * self._plan.batches_per_step
        length = stop
        if isinstance(self.sampler, NeighbourSampler):
            length = self.sampler.steps_per_pass
        while first < stop:
            if isinstance(self.sampler, NeighbourSampler) and first % length == 0:
                started = time.monotonic()
                self._find_neighbours(self.sampler, first)
                position.neighbour_seconds += time.monotonic() - started
            pass_end = min(stop, (first // length + 1) * length)
            numbers = range(first, pass_end)
            asked = time.monotonic()
            for _, batch in prefetched(self.batch, numbers, workers=self._workers):
                position.waiting_seconds += time.monotonic() - asked
                yield batch
                asked = time.monotonic()
            first = pass_end

    def _find_neighbours(self, sampler: NeighbourSampler, number: int) -> None:
        """Cluster the training images by what is known of them before batch `number`."""
        rows = np.arange(self._train_count)
        if self._plan.is_warm(number // self._plan.batches_per_step):
            features = self._images.embeddings(rows)
        elif self._images.has_pixels or sampler.clusters is not None:
            # Pixels say little; what fragments say does not change.
            return
        else:
            features = self._images.means(rows)
        sampler.find_neighbours(features, epoch=number // sampler.steps_per_pass)
        if sampler.clusters is not None and not self._collective.is_alone:
            # Rounding must not make another process see other groups.
            clusters = torch.from_numpy(sampler.clusters)
            self._collective.copy_from_main(clusters)
            sampler.clusters = clusters.numpy()
