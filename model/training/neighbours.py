"""Neighbour batches: a batch is made of P groups of K similar images.

Similar images in one batch are hard negatives for each other. Which images are similar is told by
k-means over image features: first the mean of each image's fragments, later, at the start of every
pass after the warm-up, the network's own embeddings.

- Every image stands once in a pass over the images ("one"), or once in each of its rounds ("all":
  round r takes the r-th of an image's captions, in an order of its own); the last, incomplete
  batch of a pass is left out, as with random batches.
- What a cluster has beyond a multiple of K is grouped at random with the rest of the others.
- Pairs of the same image are masked in the losses, whatever batch they meet in.

Source: HREM (CVPR 2023), neighbour batch sampling; P, K, features and refresh are unpublished.
"""

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from model.encoders.pooling import unit_length
from model.training.randomness import Purpose, stream_seed
from model.training.samplers import CaptionsPerPass, Sampler

__all__ = ["NeighbourSampler", "cluster", "grouped"]

_ITERATIONS = 20
_CHUNK = 8192


class NeighbourSampler(Sampler):
    """Batches of P groups of K neighbours, a pure function of (seed, step, clusters).

    Attributes:
        clusters: (image,), the cluster of each image; None before they are known: batches are
            random until then.
    """

    def __init__(
        self,
        caption_image: npt.NDArray[np.int64],
        *,
        batch_size: int,
        captions_per_pass: CaptionsPerPass,
        group_size: int,
        mean_cluster_size: int,
        seed: int,
    ) -> None:
        """Prepare as every sampler does.

        Args:
            caption_image: Position of each caption's image, ascending.
            batch_size: Pairs a batch; at most the samples of a pass.
            captions_per_pass: "all" or "one" caption of each image in a pass.
            group_size: K, images of a cluster that stand in a batch together.
            mean_cluster_size: Images a cluster, on average.
            seed: Of order and clusters.
        """
        super().__init__(
            caption_image, batch_size=batch_size, captions_per_pass=captions_per_pass, seed=seed
        )
        self._group_size = group_size
        self._mean_cluster_size = mean_cluster_size
        self._clusters: npt.NDArray[np.int64] | None = None

    @property
    def clusters(self) -> npt.NDArray[np.int64] | None:
        """The cluster of each image; None while batches are random."""
        return self._clusters

    @clusters.setter
    def clusters(self, clusters: npt.NDArray[np.int64] | None) -> None:
        self._clusters = clusters
        self._captions_of_pass.cache_clear()

    def find_neighbours(self, features: Float[Tensor, "image dim"], *, epoch: int) -> None:
        """Cluster the images anew by the cosine of their features."""
        count = max(1, round(len(features) / self._mean_cluster_size))
        seed = stream_seed(self._seed, epoch, purpose=Purpose.CLUSTERS)
        self.clusters = cluster(features, count, seed=seed).cpu().numpy()

    def _ordered_captions(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return the captions of a pass in their order."""
        random = self._random_of_pass(epoch)
        whole, rest = [], []
        for captions in self._schedule.rounds(epoch):
            images = self._caption_image[captions]
            of_cluster = np.zeros_like(images) if self._clusters is None else self._clusters[images]
            groups, left_over = grouped(of_cluster, group_size=self._group_size, random=random)
            whole.append(captions[groups.ravel()])
            rest.append(captions[left_over])
        # What fills no group comes last, so that no group lies across two batches.
        return np.concatenate([*whole, *rest])


def grouped(
    clusters: npt.NDArray[np.int64], *, group_size: int, random: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return items in groups (group, group_size) that share a cluster, and those of no group.

    The groups stand in random order, and each cluster is cut into groups at random. What is left
    over of the clusters forms mixed groups, and fewer than `group_size` items form none.

    Args:
        clusters: Cluster of each item.
        group_size: K.
        random: Source of the order.
    """
    shuffled = random.permutation(len(clusters))
    by_cluster = shuffled[np.argsort(clusters[shuffled], kind="stable")]
    _, starts, counts = np.unique(clusters[by_cluster], return_index=True, return_counts=True)
    place_in_cluster = np.arange(len(by_cluster)) - np.repeat(starts, counts)
    is_grouped = place_in_cluster < np.repeat(counts // group_size * group_size, counts)
    left_over = random.permutation(by_cluster[~is_grouped])
    in_groups = np.concatenate([by_cluster[is_grouped], left_over])
    whole = len(in_groups) // group_size * group_size
    groups = random.permutation(in_groups[:whole].reshape(-1, group_size))
    return groups, in_groups[whole:]


@torch.no_grad()
def cluster(features: Float[Tensor, "item dim"], count: int, *, seed: int) -> Int[Tensor, "item"]:
    """Return the cluster of each item by spherical k-means; empty clusters are begun anew.

    Args:
        features: Any scale; compared by cosine.
        count: Number of clusters, at most the number of items.
        seed: Of the first centres.
    """
    rows = unit_length(features.float())
    first = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:count]
    centres = rows[first.to(rows.device)]
    assigned = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    for _ in range(_ITERATIONS):
        parts = [(part @ centres.T).max(dim=1) for part in torch.split(rows, _CHUNK)]
        nearest = torch.cat([part.indices for part in parts])
        cosine = torch.cat([part.values for part in parts])
        if torch.equal(nearest, assigned):
            break
        assigned = nearest
        sums = torch.zeros_like(centres).index_add_(0, assigned, rows)
        sizes = assigned.bincount(minlength=count)
        empty = (sizes == 0).nonzero().flatten()
        # The items that fit their centres worst begin new clusters.
        sums[empty] = rows[cosine.argsort()[: len(empty)]]
        centres = unit_length(sums)
    return assigned
