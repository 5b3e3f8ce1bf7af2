"""The command `train`: settings -> data, network, stored pictures -> the loop -> a checkpoint."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import BaseModel, Field, ValidationError

from model import console
from model.command_line import Command
from model.config import first_problem
from model.device import choose_device
from model.durable import write_file
from model.errors import CheckpointError, ConfigError
from model.hrem import HREM
from model.precision import Precision
from model.training.augmentation import AugmentationConfig
from model.training.batches import BatchMaker, TokenizedCaptions
from model.training.config import DatasetConfig, NetworkConfig, SamplingConfig, ScheduleConfig
from model.training.distributed import Collective, joined_processes
from model.training.failures import BatchFailures
from model.training.neighbours import NeighbourSampler
from model.training.network import continued_network, make_network
from model.training.objective import LossConfig, Objective
from model.training.optimization import OptimizationConfig
from model.training.relation.instance_level import InstanceLevelConfig
from model.training.run_report import write_run_report
from model.training.samplers import RandomSampler, Sampler
from model.training.schedule import StepPlan, plan_steps
from model.training.state import saved_step
from model.training.stored_images import StoredEncoder, StoredImages, store_images
from model.training.trainer import DevImages, Trainer
from model.training.training_data import TrainingData, load_training_data, named_source

__all__ = ["RECIPES", "Train"]

RANDOM_OPENING_FRACTION = 0.45
RECIPES = Path(__file__).parent / "recipes"
_SETTINGS = "training/settings.json"
# What may differ when a run goes on: where things lie and what is kept, never what is computed.
_PLACES = frozenset(
    {"resume", "output", "data", "images", "captions", "cache_directory", "device", "debug"}
    | {"json_output", "config", "backbone", "workers"}
)
_SAVING = frozenset({"save_every_steps", "save_every_minutes"})


class Train(Command):
    """Train a checkpoint from a recipe or from your own pictures and captions."""

    recipes: ClassVar[Path] = RECIPES
    examples: ClassVar[tuple[str, ...]] = (
        "python -m model.training train --recipe scenes --data data/scenes --output runs/scenes",
        "python -m model.training train --images photos/ --captions captions.jsonl "
        "--backbone facebook/dinov2-small --output runs/photos",
        "python -m model.training train --begin-from runs/photos --network.train-backbone "
        "--images photos/ --captions captions.jsonl --output runs/photos-tuned",
    )

    recipe: str | None = Field(None, description="Name of a shipped recipe.")
    data: Path | None = Field(
        None,
        description="Folder with captions.jsonl and images/, region arrays in the SCAN layout, or "
        "Karpathy's dataset*.json.",
    )
    images: Path | None = Field(None, description="Folder of pictures, with --captions.")
    captions: Path | None = Field(
        None, description="JSON lines that name pictures and captions, or Karpathy's .json."
    )
    backbone: str | None = Field(
        None, description="Folder or name of a pretrained vision backbone (transformers)."
    )
    begin_from: Path | None = Field(
        None,
        description="Begin with the network of this checkpoint folder, its tokenizer and "
        "preprocessing included; of the network's settings only train_backbone may be given.",
    )
    output: Path = Field(Path("runs/hrem"), description="The checkpoint folder to write.")
    resume: bool = Field(False, description="Go on with the run that stopped in --output.")
    seed: int = Field(0, ge=0, lt=2**31, description="Of weights, order and everything random.")
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one.")
    workers: int = Field(
        1, ge=0, le=64, description="Threads that make batches ahead; they never change a run."
    )
    precision: Precision = Field(
        "float32", description="bfloat16: encoders and alignment by autocast; weights stay float32."
    )
    cache_directory: Path = Field(
        Path("~/.cache/hrem"), description="Where features and resized pictures are kept."
    )
    dataset: DatasetConfig = Field(default_factory=DatasetConfig, description="Which images.")
    network: NetworkConfig = Field(default_factory=NetworkConfig, description="The network.")
    schedule: ScheduleConfig = Field(default_factory=ScheduleConfig, description="How long.")
    sampling: SamplingConfig = Field(
        default_factory=SamplingConfig, description="Which pairs stand in a batch together."
    )
    loss: LossConfig = Field(default_factory=LossConfig, description="The matching loss.")
    instance_level: InstanceLevelConfig = Field(
        default_factory=InstanceLevelConfig, description="Relations between items of a batch."
    )
    augmentation: AugmentationConfig = Field(
        default_factory=AugmentationConfig, description="How training data are varied."
    )
    optimization: OptimizationConfig = Field(
        default_factory=OptimizationConfig, description="AdamW and its rates."
    )

    def what_is_computed(self) -> dict[str, Any]:
        """Return the settings that differ from the defaults, but for those that say where.

        The weights of a backbone decide the result too; a run that goes on compares them itself.
        """
        exclude = dict.fromkeys((*_PLACES, "recipe"), True) | {"schedule": set(_SAVING)}
        kept = self.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
        return {name: value for name, value in kept.items() if value != {}}

    def run(self) -> int:
        """Train, and return 0, or 130 where the run was asked to stop early."""
        settings = self._resumed() if self.resume else self
        device = torch.device(choose_device(settings.device))
        with joined_processes(device.type) as collective:
            if device.type == "cuda" and not collective.is_alone:
                device = torch.device("cuda", collective.local_rank)
                torch.cuda.set_device(device)
            return settings._train(device, collective, is_resumed=self.resume)

    def _train(self, device: torch.device, collective: Collective, *, is_resumed: bool) -> int:
        source = named_source(self.data, self.images, self.captions)
        data = load_training_data(source, self.dataset, seed=self.seed)
        hrem = self._network(data).to(device)
        sampler = self._sampler(data)
        collective.refuse_uneven(sampler.batch_size)
        plan = plan_steps(
            self.schedule,
            self.instance_level,
            opening_fraction=self._opening_fraction(reads_regions=data.train.regions is not None),
            batches_per_pass=sampler.steps_per_pass,
        )
        self._announce(data, hrem, plan, sampler, device, collective)
        if collective.is_main and not is_resumed:
            self._refuse_used_output()
        with collective.main_first():
            stored = store_images(
                hrem,
                data,
                has_mirrored=self.augmentation.mirror > 0,
                cache_folder=self.cache_directory.expanduser(),
            )
        objective = Objective(hrem.dim, loss=self.loss, instance_level=self.instance_level)
        trainer = Trainer(
            hrem,
            objective.to(device),
            images=stored,
            sampler=sampler,
            batches=self._batch_maker(hrem, data, stored),
            dev=DevImages(
                rows=np.arange(len(data.train), len(data.train) + len(data.dev)),
                captions=data.dev.caption_texts,
                caption_image=torch.from_numpy(data.dev.caption_image),
            ),
            plan=plan,
            optimization=self.optimization,
            precision=self.precision,
            seed=self.seed,
            output=self.output,
            failures=BatchFailures(data.train, self.output, rank=collective.rank),
            workers=self.workers,
            collective=collective,
        )
        if is_resumed and saved_step(self.output / "training") is not None:
            trainer.restore()
            console.say(f"going on after   step {trainer.position.step:,}")
        elif is_resumed:
            console.say("nothing was saved before the run ended; beginning with its first step")
        elif collective.is_main:
            text = self.model_dump_json(indent=2, exclude={"config", "debug", "json_output"})
            (self.output / "training").mkdir(parents=True, exist_ok=True)
            write_file(self.output / _SETTINGS, text + "\n")
        is_done = trainer.run()
        if collective.is_main:
            self._tell_of(trainer, data, plan)
        if not is_done:
            console.say(
                f"stopped after step {trainer.position.step:,} of {plan.step_count:,}; go on with: "
                f"python -m model.training train --resume --output {self.output}"
            )
            return 130
        return 0

    def _opening_fraction(self, *, reads_regions: bool) -> float:
        if self.loss.opening_fraction is not None:
            return self.loss.opening_fraction
        # From random weights the drawn negative alone collapses the space.
        is_random = self.backbone is None and self.begin_from is None and not reads_regions
        return RANDOM_OPENING_FRACTION if is_random else 0.0

    def _network(self, data: TrainingData) -> HREM:
        regions = data.train.regions
        if regions is not None:
            self._refuse_picture_settings()
        region_dim = None if regions is None else regions.region_dim
        if self.begin_from is not None:
            self._refuse_network_settings()
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

    def _refuse_network_settings(self) -> None:
        """Raise ConfigError with every setting that the checkpoint to begin from decides."""
        given = [
            f"network.{name}"
            for name in self.network.model_dump(exclude_defaults=True)
            if name != "train_backbone"
        ]
        if self.backbone is not None:
            given.insert(0, "backbone")
        if given:
            raise ConfigError(
                [
                    f"{name}: the checkpoint of --begin-from decides it; leave it out"
                    for name in given
                ]
            )

    def _refuse_picture_settings(self) -> None:
        """Raise ConfigError with every setting that only pictures have."""
        names = ("grid_size", "backbone_architecture", "train_backbone", "preprocessor")
        default = NetworkConfig.model_fields
        given = [
            f"network.{name}"
            for name in names
            if getattr(self.network, name) != default[name].get_default(call_default_factory=True)
        ]
        if self.backbone is not None:
            given.insert(0, "backbone")
        if self.augmentation.mirror:
            given.append("augmentation.mirror")
        if given:
            raise ConfigError(
                [f"{name}: is for pictures; these data are region features" for name in given]
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

    def _batch_maker(self, hrem: HREM, data: TrainingData, stored: StoredImages) -> BatchMaker:
        tokenizer = hrem.tokenizer
        is_special = np.zeros(tokenizer.vocabulary_size, dtype=np.bool_)
        is_special[sorted(tokenizer.special_ids)] = True
        return BatchMaker(
            stored,
            TokenizedCaptions(tokenizer.encode(data.train.caption_texts)),
            region_count=StoredEncoder(hrem, stored).region_count,
            augmentation=self.augmentation,
            seed=self.seed,
            mask_id=tokenizer.mask_id,
            pad_id=tokenizer.pad_id,
            is_special=is_special,
        )

    def _refuse_used_output(self) -> None:
        if (self.output / _SETTINGS).is_file():
            raise CheckpointError(
                f"'{self.output}' already holds a run; go on with --resume, give another --output, "
                "or remove the folder"
            )

    def _resumed(self) -> "Train":
        """Return the settings of the run in `output`, at the places given now."""
        path = self.output / _SETTINGS
        if not path.is_file():
            raise CheckpointError(f"'{self.output}' holds no run to go on with")
        try:
            saved = Train(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            told = first_problem(error) if isinstance(error, ValidationError) else error
            raise CheckpointError(
                f"'{path}' is damaged, or was written by another version ({told}); start a new run"
            ) from error
        free = _PLACES | {f"schedule.{name}" for name in _SAVING}
        differing = [
            f"{name}: a resumed run keeps its settings; leave it out, or start a new run"
            for name in _differing(self, saved)
            if name not in free
        ]
        if differing:
            raise ConfigError(differing)
        saving = _SAVING & self.schedule.model_fields_set
        schedule = saved.schedule.model_copy(
            update={name: getattr(self.schedule, name) for name in saving}
        )
        places = {name: getattr(self, name) for name in _PLACES & self.model_fields_set}
        return saved.model_copy(update=places | {"schedule": schedule})

    def _announce(
        self,
        data: TrainingData,
        hrem: HREM,
        plan: StepPlan,
        sampler: Sampler,
        device: torch.device,
        collective: Collective,
    ) -> None:
        weights = sum(parameter.numel() for parameter in hrem.parameters())
        instance = (
            "off"
            if plan.instance_level_from is None
            else f"{self.instance_level.mechanism}, from step {plan.instance_level_from:,} on"
        )
        batches = f"{plan.batches_per_step} x " if plan.batches_per_step > 1 else ""
        console.say(f"training  → {self.output}")
        console.say(
            f"  data            {len(data.train):,} images, {len(data.train.caption_texts):,} "
            f"captions; selecting on {len(data.dev):,} images ({data.origin})"
        )
        console.say(
            f"  network         {hrem.name}, {weights / 1e6:.1f} M weights, "
            f"{hrem.tokenizer.vocabulary_size:,} words     device {device}, {self.precision}"
            + (f", {collective.size} processes" if not collective.is_alone else "")
        )
        console.say(
            f"  schedule        {plan.step_count:,} steps of {batches}{sampler.batch_size} pairs, "
            f"seed {self.seed}; instance level {instance}"
        )

    def _tell_of(self, trainer: Trainer, data: TrainingData, plan: StepPlan) -> None:
        """Write metrics.json and the model card, and tell what was written."""
        position = trainer.position
        metrics = write_run_report(
            self.output,
            position,
            network=trainer.hrem.config,
            planned_steps=plan.step_count,
            dev_images=data.origin,
            seed=self.seed,
            recipe=self.recipe,
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
        console.say(
            "next: python -m index_builder build --checkpoint "
            f"{self.output} --images FOLDER --output INDEX"
        )


def _differing(given: BaseModel, saved: BaseModel, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of the settings that are given and differ from the saved ones."""
    for name in type(given).model_fields:
        if name not in given.model_fields_set:
            continue
        value, kept = getattr(given, name), getattr(saved, name)
        if isinstance(value, BaseModel) and isinstance(kept, BaseModel):
            yield from _differing(value, kept, f"{prefix}{name}.")
        elif value != kept:
            yield prefix + name
