"""The command `train`: settings -> data, network, stored pictures -> the loop -> a checkpoint."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from model import console
from model.device import choose_device
from model.durable import write_file
from model.errors import CheckpointError, ConfigError, TrainingError
from model.file_lock import exclusive_lock
from model.hrem import HREM
from model.training.announcement import announce, say_what_is_next
from model.training.batch_supply import BatchSupply
from model.training.batches import BatchMaker
from model.training.child_commands import termination_interrupts
from model.training.distributed import Collective, joined_processes
from model.training.failures import BatchFailures
from model.training.learner import Learner
from model.training.neighbours import NeighbourSampler
from model.training.network import continued_network, make_network
from model.training.objective import Objective
from model.training.run_images import refuse_other_images, run_hashes, write_run_images
from model.training.run_report import write_run_report
from model.training.samplers import RandomSampler, Sampler
from model.training.schedule import StepPlan, plan_steps
from model.training.settings import RECIPES, SETTINGS_FILE, TrainSettings
from model.training.state import Position, saved_step
from model.training.stored_images import StoredEncoder, StoredImages, store_images
from model.training.trainer import DevImages, Trainer
from model.training.training_data import TrainingData, load_training_data

__all__ = ["RECIPES", "Train"]


class Train(TrainSettings):
    """Train a checkpoint from a recipe or from your own pictures and captions."""

    recipes: ClassVar[Path] = RECIPES
    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training train --recipe scenes --data data/scenes --output runs/scenes",
        "python -m model.training train --images photos/ --captions captions.jsonl "
        "--backbone facebook/dinov2-small --output runs/photos",
        "python -m model.training train --begin-from runs/photos --network.train-backbone "
        "--images photos/ --captions captions.jsonl --output runs/photos-tuned",
    )

    def run(self) -> int:
        """Train, and return 0, or 130 where the run was asked to stop early."""
        settings = self.resumed() if self.resume else self
        device = torch.device(choose_device(settings.device))
        with joined_processes(device.type) as collective:
            if device.type == "cuda" and not collective.is_alone:
                device = torch.device("cuda", collective.local_rank)
                torch.cuda.set_device(device)
            return settings._train(device, collective, is_resumed=self.resume)

    def training_data(self) -> TrainingData:
        """Return the images that train and those that select, of data that fit the settings.

        Raises:
            ConfigError: The data are pictures, and the network would begin at random that is not
                made for it.
            DataError: The data set cannot be used, or one of the two sets would be empty.
        """
        source = self.source()
        if source.layout != "scan" and self.begin_from is None:
            self.refuse_missing_backbone()
        return load_training_data(source, self.dataset, seed=self.seed)

    def _train(self, device: torch.device, collective: Collective, *, is_resumed: bool) -> int:
        if collective.is_main and not is_resumed and (self.output / SETTINGS_FILE).is_file():
            # At once, and again when no other process can begin one.
            with self._output_to_itself():
                self._refuse_used_output()
        data = self.training_data()
        if is_resumed:  # in every process, lest the others wait for one that refused
            refuse_other_images(self.output, data, begun_from=self.begin_from)
        hrem = self._network(data).to(device)
        sampler = self._sampler(data)
        collective.refuse_uneven(sampler.batch_size)
        plan = plan_steps(
            self.schedule,
            self.instance_level,
            opening_fraction=self.opening_fraction(reads_regions=data.train.regions is not None),
            batches_per_pass=sampler.steps_per_pass,
        )
        announce(self, data, hrem, plan, sampler, device, collective, is_resumed=is_resumed)
        with ExitStack() as held:
            if collective.is_main:
                held.enter_context(self._output_to_itself())
                if not is_resumed:
                    self._refuse_used_output()
                    if not self.dataset.shuffle_captions:  # whose images have other captions
                        write_run_images(
                            self.output, data.train, data.dev, begun_from=self.begin_from
                        )
                    self._write_settings()
            return self._take_steps(data, hrem, plan, sampler, collective, is_resumed=is_resumed)

    def _take_steps(
        self,
        data: TrainingData,
        hrem: HREM,
        plan: StepPlan,
        sampler: Sampler,
        collective: Collective,
        *,
        is_resumed: bool,
    ) -> int:
        """Store the pictures, take the steps that are left and report; as `run` returns."""
        try:
            with termination_interrupts(), collective.main_first():
                stored = store_images(
                    hrem,
                    data,
                    has_mirrored=self.augmentation.mirror > 0,
                    cache_folder=self.cache_directory.expanduser(),
                )
        except KeyboardInterrupt:
            self._say_how_to_go_on(
                "while the pictures were read; what was read is kept, but for the last 128 at most"
            )
            return 130
        trainer = self._trainer(hrem, data, plan, sampler, stored, collective)
        if is_resumed and saved_step(self.output / "training") is not None:
            trainer.restore()
            if trainer.position.step >= plan.step_count:
                console.say(f"nothing is left: all {plan.step_count:,} steps were taken before")
            else:
                console.say(f"going on after   step {trainer.position.step:,}")
        elif is_resumed:
            console.say("nothing was saved before the run ended; beginning with its first step")
        is_done = trainer.run()
        if collective.is_main:
            self._tell_of(trainer.position, hrem, data, plan)
            if is_done:
                say_what_is_next(self, data)
        if not is_done:
            self._say_how_to_go_on(f"after step {trainer.position.step:,} of {plan.step_count:,}")
            return 130
        return 0

    def _say_how_to_go_on(self, when: str) -> None:
        console.say(
            f"stopped {when}; go on with: "
            f"python -m model.training train --resume --output {self.output}"
        )

    def _network(self, data: TrainingData) -> HREM:
        regions = data.train.regions
        if regions is not None:
            self.refuse_picture_settings()
        region_dim = None if regions is None else regions.region_dim
        if self.begin_from is not None:
            self.refuse_network_settings()
            return continued_network(
                self.begin_from,
                train_backbone=self.network.train_backbone,
                region_dim=region_dim,
            )
        return make_network(
            self.network,
            backbone=self.backbone,
            captions=data.train.caption_texts,
            minimum_word_count=self.dataset.minimum_word_count,
            seed=self.seed,
            region_dim=region_dim,
        )

    def _sampler(self, data: TrainingData) -> Sampler:
        one_each = self.dataset.captions_per_pass == "one"
        sample_count = len(data.train) if one_each else len(data.train.caption_texts)
        batch_size = min(self.schedule.batch_size, sample_count)
        if batch_size < self.schedule.batch_size:
            console.warn(
                f"only {sample_count} training pairs; the batch is {batch_size}, not "
                f"{self.schedule.batch_size}"
            )
        if self.sampling.kind == "neighbour":
            if batch_size % self.sampling.group_size:
                raise ConfigError(
                    [
                        f"sampling.group_size = {self.sampling.group_size}: a batch of "
                        f"{batch_size} is made of whole groups; choose a divisor of it"
                    ]
                )
            return NeighbourSampler(
                data.train.caption_image,
                batch_size=batch_size,
                captions_per_pass=self.dataset.captions_per_pass,
                group_size=self.sampling.group_size,
                mean_cluster_size=self.sampling.mean_cluster_size,
                seed=self.seed,
            )
        return RandomSampler(
            data.train.caption_image,
            batch_size=batch_size,
            captions_per_pass=self.dataset.captions_per_pass,
            seed=self.seed,
        )

    def _trainer(
        self,
        hrem: HREM,
        data: TrainingData,
        plan: StepPlan,
        sampler: Sampler,
        stored: StoredImages,
        collective: Collective,
    ) -> Trainer:
        """Put the parts of the run together."""
        images = StoredEncoder(hrem, stored)
        maker = BatchMaker.of_texts(
            stored,
            data.train.caption_texts,
            hrem.tokenizer,
            region_count=images.region_count,
            augmentation=self.augmentation,
            seed=self.seed,
        )
        supply = BatchSupply(
            sampler,
            maker,
            images=images,
            train_count=len(data.train),
            plan=plan,
            workers=self.workers,
            collective=collective,
        )
        objective = Objective(hrem.dim, loss=self.loss, instance_level=self.instance_level)
        learner = Learner(
            hrem,
            objective.to(hrem.device),
            images=images,
            supply=supply,
            plan=plan,
            optimization=self.optimization,
            precision=self.precision,
            seed=self.seed,
            failures=BatchFailures(data.train, self.output, rank=collective.rank),
            collective=collective,
        )
        dev = DevImages(
            rows=np.arange(len(data.train), len(data.train) + len(data.dev)),
            captions=data.dev.caption_texts,
            caption_image=torch.from_numpy(data.dev.caption_image),
        )
        return Trainer(
            learner,
            supply,
            images=images,
            dev=dev,
            plan=plan,
            output=self.output,
            collective=collective,
        )

    @contextmanager
    def _output_to_itself(self) -> Iterator[None]:
        """Let no other process train into the output folder.

        Raises:
            TrainingError: Another process does.
        """

        def refusal(holder: str) -> TrainingError:
            return TrainingError(
                f"'{self.output}' is being trained by {holder}; wait for it or stop it"
            )

        folder = self.output / "training"
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive_lock(folder / "lock", refusal=refusal):
            yield

    def _write_settings(self) -> None:
        text = self.model_dump_json(indent=2, exclude={"config", "debug", "json_output"})
        write_file(self.output / SETTINGS_FILE, text + "\n")

    def _refuse_used_output(self) -> None:
        if (self.output / SETTINGS_FILE).is_file():
            raise CheckpointError(
                f"'{self.output}' already holds a run; go on with --resume, give another --output, "
                "or remove the folder"
            )

    def _tell_of(self, position: Position, hrem: HREM, data: TrainingData, plan: StepPlan) -> None:
        """Write metrics.json and the model card, and tell what was written."""
        metrics = write_run_report(
            self.output,
            position,
            network=hrem.config,
            planned_steps=plan.step_count,
            dev_images=data.origin,
            hashes=run_hashes(data),
            settings=self.model_dump(mode="json"),
        )
        if metrics is None:
            return
        if self.json_output:
            console.result_json(metrics)
        console.say(
            f"wrote  {self.output}  (best dev rSum {position.best_rsum:.1f} after step "
            f"{position.best_step:,}; {position.seconds / 60:.1f} minutes, at most "
            f"{metrics['peak_memory_bytes'] / 1e9:.1f} GB of memory)"
        )
