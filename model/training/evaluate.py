"""The command `evaluate`: a checkpoint, or the mean of several, on captioned images."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field

from model import console
from model.command_line import Names
from model.data.captioned_images import CaptionedImages
from model.data.source import DataSource
from model.device import choose_device
from model.durable import write_file
from model.errors import ConfigError, DataError, NoSplitsError
from model.metrics import RetrievalReport
from model.training.bootstrap import Difference
from model.training.comparison import differences_from, ranks_on, show_differences
from model.training.data_command import DataCommand
from model.training.endpoint import Endpoint, evaluate_endpoint
from model.training.ensemble import encode_data_set, is_full
from model.training.evaluation import show_report
from model.training.folds import check_folds, rank_in_folds, report_of_folds
from model.training.report.page import HIT_COUNT, Subject, render_report
from model.training.report.published import published_table
from model.training.run_images import RunImages, images_of_runs
from model.training.stored_ranks import StoredRanks, query_facts, write_ranks

__all__ = ["Evaluate"]


class Evaluate(DataCommand):
    """Measure R@1/5/10 both ways, rSum and median rank of a checkpoint or a live service."""

    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training evaluate --checkpoint runs/scenes --data data/scenes",
        "python -m model.training evaluate --checkpoint runs/fusion --checkpoint runs/standalone "
        "--data data/scenes --report report.html",
        "python -m model.training evaluate --checkpoint runs/new --data data/scenes "
        "--compare old.npz",
        "python -m model.training evaluate --endpoint http://127.0.0.1:8000 --data data/scenes",
    )

    checkpoint: Names = Field(
        (),
        description="Folder or name of a checkpoint; given several times, the mean of their "
        "similarities is evaluated (of a Fusion and a Standalone: Full*).",
    )
    endpoint: str | None = Field(
        None, description="Address of a live service that serves these pictures and captions."
    )
    endpoint_key: str | None = Field(None, description="Key of that service, if it asks for one.")
    split: str = Field(
        "test",
        description="Which images; 'all' takes every one; 'dev' where captions name no splits: "
        "those that selected the checkpoint.",
    )
    folds: int = Field(
        1, ge=1, description="Mean over so many consecutive equal parts; COCO 1K: 5 of testall."
    )
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one.")

    ranks: Path | None = Field(
        None, description="Write every query's rank and what an analysis needs to this .npz."
    )
    compare: Path | None = Field(
        None,
        description="Ranks of another model on the same data (its --ranks); tells how much better "
        "this one is, with an interval over the images, in --report too.",
    )
    report: Path | None = Field(
        None, description="Write curves, quartiles, hubs and misses to this .html, one file."
    )

    def run(self) -> None:
        """Evaluate and print a table, or one JSON object."""
        self._refuse_what_does_not_fit()
        data = self.source()
        seen = images_of_runs(self.checkpoint) if self.checkpoint else None
        images = self._images(data, seen)
        check_folds(len(images), self.folds)
        other = None if self.compare is None else ranks_on(self.compare, images)
        title = f"{data.name} {self.split}"
        if self.folds > 1:
            title += f", mean of {self.folds} folds"
        differences: dict[str, Difference] = {}
        if self.endpoint is not None:
            source: dict[str, Any] = {"endpoint": self.endpoint}
            report = evaluate_endpoint(Endpoint(self.endpoint, self.endpoint_key), images)
        else:
            source, report, differences = self._evaluate_checkpoints(
                images, title, data, other, seen
            )
        if self.json_output:
            about = {**source, "split": self.split, "folds": self.folds}
            if differences:
                about["difference"] = {name: asdict(one) for name, one in differences.items()}
            if seen is not None:
                trained, selected = seen.counts(images)
                about |= {"images_trained_on": trained, "images_selected_on": selected}
            console.result_json({**about, **report.as_dict()})
            return
        show_report(title, report)
        if seen is not None:
            console.result(seen.told_of(images))
        if differences:
            show_differences(f"minus {self.compare}", differences)
        if len(self.checkpoint) > 1:
            named = ", ".join(self.checkpoint)
            kind = "Full*, " if is_full(self.checkpoint) else ""
            console.result(f"{kind}mean of {len(self.checkpoint)} checkpoints: {named}")

    def _images(self, data: DataSource, seen: RunImages | None) -> CaptionedImages:
        """Return the images of the split; `dev` of captions without splits are the run's own."""
        if self.split == "all":
            return data.load()
        try:
            return data.load([self.split])
        except NoSplitsError:
            if self.split != "dev" or seen is None:
                raise
            found = seen.dev_images(data.load())
            if not len(found):
                raise DataError(
                    f"{data.captions}: none of these images, with these captions, selected the "
                    "checkpoint; give --split all"
                ) from None
            return found
        except DataError as error:
            selected = [] if self.split != "dev" else _splits_selected_on(data, seen)
            if not selected:
                raise
            named = " and ".join(f"--split {split}" for split in selected)
            raise DataError(f"{error}; the checkpoint was selected on images of {named}") from None

    def _refuse_what_does_not_fit(self) -> None:
        """Raise ConfigError with every problem, before anything is loaded."""
        problems = []
        if bool(self.checkpoint) == (self.endpoint is not None):
            problems.append("checkpoint: give either --checkpoint FOLDER or --endpoint URL")
        if self.folds > 1 and self.endpoint is not None:
            problems.append("folds: a live service ranks all that it serves; leave it out")
        if self.folds > 1 and self.ranks is not None:
            problems.append("ranks: those within folds compare with no others; leave out --folds")
        if self.compare is not None and (self.folds > 1 or self.endpoint is not None):
            problems.append("compare: needs all ranks of --checkpoint, and no --folds")
        for name, path, suffix in (("ranks", self.ranks, "npz"), ("report", self.report, "html")):
            if path is None:
                continue
            if self.endpoint is not None:
                problems.append(
                    f"{name}: a live service tells no embeddings and no rank beyond its hits; "
                    "give --checkpoint"
                )
            if path.suffix != f".{suffix}":
                problems.append(f"{name} = '{path}': give a file name that ends in .{suffix}")
            if not path.parent.is_dir():
                problems.append(f"{name} = '{path}': there is no folder {path.parent}; make it")
        if problems:
            raise ConfigError(problems)

    def _evaluate_checkpoints(
        self,
        images: CaptionedImages,
        title: str,
        data: DataSource,
        other: StoredRanks | None,
        seen: RunImages | None,
    ) -> tuple[dict[str, Any], RetrievalReport, dict[str, Difference]]:
        """Return what was evaluated, for JSON, its report, and its differences from `other`.

        The files asked for are written.
        """
        encoded = encode_data_set(self.checkpoint, images, device=choose_device(self.device))
        embeddings = encoded.embeddings
        caption_image = torch.from_numpy(images.caption_image)
        ranking = rank_in_folds(
            embeddings.images,
            embeddings.captions,
            caption_image,
            fold_count=self.folds,
            hit_count=HIT_COUNT if self.report is not None else 0,
        )
        report = report_of_folds(ranking, caption_image, fold_count=self.folds)
        differences = {} if other is None else differences_from(other, ranking)
        if self.ranks is not None or self.report is not None:
            facts = query_facts(images, embeddings.images, _training_captions(data))
            if self.ranks is not None:
                write_ranks(self.ranks, ranking, facts, encoded.fingerprints)
                console.say(f"wrote  {self.ranks}")
            if self.report is not None:
                named = list(zip(self.checkpoint, encoded.fingerprints, strict=True))
                published = published_table(
                    self.data or data.captions,
                    split=self.split,
                    image_count=len(images),
                    fold_count=self.folds,
                )
                compared_with = None if self.compare is None else self.compare.name
                note = "" if seen is None else seen.told_of(images)
                subject = Subject(
                    title,
                    named,
                    images,
                    published,
                    compared_with,
                    differences,
                    note,
                    is_full(self.checkpoint),
                )
                write_file(self.report, render_report(subject, report, ranking, facts))
                console.say(f"wrote  {self.report}")
        short = [fingerprint[:16] for fingerprint in encoded.fingerprints]
        if len(short) == 1:
            return {"checkpoint": short[0]}, report, differences
        similarity = "mean (Full*)" if is_full(self.checkpoint) else "mean"
        return {"checkpoints": short, "similarity": similarity}, report, differences


def _splits_selected_on(data: DataSource, seen: RunImages | None) -> list[str]:
    """Return the splits of the images that selected the checkpoint; none where that is unknown."""
    try:
        return [] if seen is None else sorted(set(seen.dev_images(data.load()).splits))
    except DataError:
        return []


def _training_captions(data: DataSource) -> tuple[str, ...] | None:
    """Return the captions of the split named train; None where it is not there to be read."""
    try:
        return data.load(["train"]).caption_texts
    except DataError:
        return None
