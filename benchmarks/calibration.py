"""Do `fits` and `relevance` hold for real photos? Queries that belong against others that do not.

    python -m benchmarks.calibration --checkpoint runs/flickr8k --data FOLDER_OF_FLICKR8K

- `fits`: an index of half of the split's images, asked with the captions and pictures of the other
  half, so that no query meets itself, its own picture or another caption of that; then the
  reverse.
- What does not belong: captions and pictures of generated scenes, and word salad: for every own
  caption as many words, drawn at random. From the network's vocabulary, each word as likely as
  any; the same, as likely as in the training captions; from all words of those, also those too
  rare for the vocabulary.
- `relevance`: an index of all images and two captions of each, asked with the other captions. Of
  hits with a relevance of about r, about r should be the caption's own picture.

The gallery files are written to a temporary folder; nothing of the data stays.
"""

import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from benchmarks.photo_galleries import (
    encode_captions,
    encode_drawn,
    encode_pictures,
    write_captions,
    write_images,
)
from index_builder.galleries.calibration import closeness
from index_builder.galleries.gallery import Gallery
from index_builder.galleries.manifest import GalleryKind
from index_builder.index_folder.retrieval_quality import measure_retrieval
from index_builder.vector_index import Rows
from model import console
from model.command_line import Command, run_command
from model.data.captioned_images import CaptionedImages
from model.data.scenes.dataset import generate_scene
from model.data.source import find_source
from model.errors import ConfigError
from model.hrem import HREM

# Of queries that belong, so many told that nothing fits: where the ROC curve is printed.
CURVE_AT = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
HIT_COUNT = 10
BIN_EDGES = np.array([0, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0])
# As the tokenizer of words cuts them.
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True)
class Separation:
    """How far queries that belong lie apart from others.

    Attributes:
        others: What does not belong.
        count: How many of them.
        auc: Chance that a query that belongs is closer than one that does not.
        refused: Share of them that are told that nothing fits.
        curve: The same share, if the threshold told it to the shares `CURVE_AT` of good queries.
    """

    others: str
    count: int
    auc: float
    refused: float
    curve: list[float]


@dataclass(frozen=True)
class Bin:
    """Hits of about the same relevance: how many, their mean relevance, the share that belongs."""

    hit_count: int
    relevance: float
    belongs: float


class CalibrationBenchmark(Command):
    """Measure `fits` and `relevance` on photos with captions."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m benchmarks.calibration --checkpoint runs/flickr8k --data FOLDER_OF_FLICKR8K",
    )

    checkpoint: str = Field(description="folder or hub name of an HREM checkpoint of words")
    data: Path = Field(description="folder with captions.jsonl and images/")
    split: str = Field("val", description="split whose captions and pictures are the queries")
    train_split: str = Field("train", description="split that words are counted in")
    images: int = Field(1_000, ge=400, description="images of the split, the first ones")
    scenes: int = Field(400, ge=1, description="generated scenes, with about five captions each")
    seed: int = Field(1, description="of the halves and of the salads")

    def run(self) -> int:
        """Print areas under curves, shares and curves."""
        hrem = HREM.from_pretrained(self.checkpoint)
        loaded = find_source(self.data).load({self.split, self.train_split})
        chosen = loaded.positions_of_splits([self.split])[: self.images]
        if not chosen:
            raise ConfigError([f"split: no image of {self.data} is of split {self.split!r}"])
        own = loaded.subset(chosen)
        train = loaded.subset(loaded.positions_of_splits([self.train_split]))
        captions = encode_captions(hrem, own.caption_texts, "own captions")
        pictures = encode_pictures(hrem, own.image_paths)
        figures: dict[str, Any] = {"images": len(own), "captions": len(captions)}
        halves = self._halves(hrem, own, captions, pictures)
        with halves as galleries:
            told = _Told.of_own(galleries, "captions", captions, own.caption_image)
            others = [
                told.against(name, encode_captions(hrem, texts, name))
                for name, texts in self._others(hrem, own, train)
            ]
            shown = _Told.of_own(galleries, "images", pictures, np.arange(len(own)))
            drawn = encode_drawn(hrem, self.scenes)
            others.append(shown.against("scenes' pictures", drawn))
        figures["own captions refused"] = told.refused_share
        figures["own pictures refused"] = shown.refused_share
        figures["fits"] = [asdict(one) for one in others]
        figures["relevance"] = [
            asdict(one) for one in relevance_bins(hrem, own, captions, pictures)
        ]
        if self.json_output:
            console.result_json(figures | {"curve_at": CURVE_AT})
        else:
            self._show(figures, others)
        return 0

    def _others(
        self, hrem: HREM, own: CaptionedImages, train: CaptionedImages
    ) -> Iterator[tuple[str, list[str]]]:
        scenes = (generate_scene(0, "test", index) for index in range(self.scenes))
        texts = dict.fromkeys(caption.text for scene in scenes for caption in scene.captions)
        yield "scenes' captions", list(texts)
        counts: dict[str, int] = {}
        known = hrem.tokenizer.vocabulary()
        for text in train.caption_texts:
            for word in words_of(text):
                counts[word] = counts.get(word, 0) + 1
        every = np.array(sorted(counts))
        learned = np.array([word for word in every if word in known])
        often = np.array([counts[word] for word in learned], dtype=np.float64)
        for number, (name, words, share) in enumerate(
            (
                ("salad of the vocabulary", learned, None),
                ("salad by frequency", learned, often / often.sum()),
                ("salad of all training words", every, None),
            )
        ):
            draws = np.random.default_rng([self.seed, number])
            lengths = [max(1, len(words_of(text))) for text in own.caption_texts]
            yield name, [" ".join(draws.choice(words, size, p=share)) for size in lengths]

    @contextmanager
    def _halves(
        self, hrem: HREM, own: CaptionedImages, captions: Rows, pictures: Rows
    ) -> Iterator[list["_Half"]]:
        is_first = np.zeros(len(own), dtype=np.bool_)
        is_first[np.random.default_rng(self.seed).permutation(len(own))[: len(own) // 2]] = True
        with ExitStack() as opened:
            folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
            halves = []
            for number, is_held in enumerate((is_first, ~is_first)):
                place = folder / str(number)
                place.mkdir()
                asked = np.flatnonzero(is_held[own.caption_image])
                galleries = {
                    gallery.kind: gallery
                    for gallery in (
                        write_images(place, hrem, own, pictures, np.flatnonzero(is_held)),
                        write_captions(place, hrem, own, captions, asked),
                    )
                }
                for gallery in galleries.values():
                    opened.callback(gallery.close)
                halves.append(_Half(galleries, is_held))
            yield halves

    def _show(self, figures: dict[str, Any], others: Sequence[Separation]) -> None:
        console.table(
            f"fits · {figures['captions']:,} captions of {figures['images']:,} images · "
            f"told that nothing fits: {figures['own captions refused']:.1%} of own captions, "
            f"{figures['own pictures refused']:.1%} of own pictures",
            ("against", "queries", "AUC", "refused", *(f"at {share:.0%}" for share in CURVE_AT)),
            [
                (
                    one.others,
                    f"{one.count:,}",
                    f"{one.auc:.3f}",
                    f"{one.refused:.1%}",
                    *(f"{share:.0%}" for share in one.curve),
                )
                for one in others
            ],
        )
        console.table(
            f"relevance · first {HIT_COUNT} hits, text → image",
            ("hits", "mean relevance", "own picture"),
            [
                (f"{one['hit_count']:,}", f"{one['relevance']:.3f}", f"{one['belongs']:.3f}")
                for one in figures["relevance"]
            ],
        )


@dataclass(frozen=True, eq=False)
class _Half:
    """An index of half of the images.

    Attributes:
        galleries: Both kinds.
        holds: (image,), True where it holds the image.
    """

    galleries: dict[GalleryKind, Gallery]
    holds: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Told:
    """What both halves tell of queries of one kind.

    Attributes:
        galleries: Of that kind, one of each half.
        own: For each gallery the closeness (query,) of the queries of the other half.
    """

    galleries: list[Gallery]
    own: list[npt.NDArray[np.float32]]

    @classmethod
    def of_own(
        cls, halves: Sequence[_Half], kind: GalleryKind, queries: Rows, image: npt.NDArray[Any]
    ) -> "_Told":
        galleries = [half.galleries[kind] for half in halves]
        own = [
            closeness(queries[~half.holds[image]], gallery.background.vectors)
            for half, gallery in zip(halves, galleries, strict=True)
        ]
        return cls(galleries, own)

    @property
    def refused_share(self) -> float:
        """Share of the queries that belong that are told that nothing fits."""
        refused = [
            own < lowest(gallery) for own, gallery in zip(self.own, self.galleries, strict=True)
        ]
        return float(np.concatenate(refused).mean())

    def against(self, name: str, queries: Rows) -> Separation:
        """Return how well others are told apart; the mean of both halves."""
        found = [closeness(queries, gallery.background.vectors) for gallery in self.galleries]
        pairs = list(zip(self.own, found, self.galleries, strict=True))
        return Separation(
            name,
            len(queries),
            float(np.mean([area_under_curve(own, other) for own, other, _ in pairs])),
            float(np.mean([(other < lowest(gallery)).mean() for _, other, gallery in pairs])),
            [
                float(
                    np.mean([(other < np.quantile(own, share)).mean() for own, other, _ in pairs])
                )
                for share in CURVE_AT
            ],
        )


def lowest(gallery: Gallery) -> float:
    """Return the least closeness that fits."""
    assert gallery.calibration is not None  # at least 200 images a half
    return gallery.calibration.lowest


def area_under_curve(own: npt.NDArray[Any], others: npt.NDArray[Any]) -> float:
    """Return the chance that one of `own` is larger than one of `others`; a tie is half of one."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, own, side="left")
    not_above = np.searchsorted(ordered, own, side="right")
    return float((below + not_above).mean() / (2 * len(others)))


def relevance_bins(
    hrem: HREM, own: CaptionedImages, captions: Rows, pictures: Rows
) -> Iterable[Bin]:
    """Yield how relevance holds for captions that are not in the index."""
    place_in_image = np.concatenate([np.arange(len(some)) for some in own.captions])
    is_held = place_in_image < 2
    with tempfile.TemporaryDirectory() as folder, ExitStack() as opened:
        place = Path(folder)
        images = write_images(place, hrem, own, pictures, np.arange(len(own)))
        opened.callback(images.close)
        held = write_captions(place, hrem, own, captions, np.flatnonzero(is_held))
        opened.callback(held.close)
        quality = measure_retrieval(images, held)
        assert quality is not None and quality.text_to_image.relevance is not None
        relevance = quality.text_to_image.relevance
        hits = images.search(captions[~is_held], HIT_COUNT)
        asked = own.caption_image[~is_held]
    found = np.array([[relevance.of(hit.score) for hit in some] for some in hits])
    belongs = np.array([[hit.row for hit in some] for some in hits]) == asked[:, None]
    bins = np.digitize(found, BIN_EDGES[1:-1])
    for number in range(len(BIN_EDGES) - 1):
        there = bins == number
        if there.any():
            yield Bin(int(there.sum()), float(found[there].mean()), float(belongs[there].mean()))


def words_of(text: str) -> list[str]:
    """Return the words of a caption in lower case, also those that a network does not know."""
    return _WORD.findall(text.lower())


if __name__ == "__main__":
    sys.exit(run_command("python -m benchmarks.calibration", CalibrationBenchmark))
