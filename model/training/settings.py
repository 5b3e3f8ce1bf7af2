"""The settings of a training run: what they decide, and which of them a resumed run may change."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError

from model.command_line import recipe_settings
from model.config import first_problem
from model.errors import CheckpointError, ConfigError
from model.precision import Precision
from model.training.augmentation import AugmentationConfig
from model.training.config import DatasetConfig, NetworkConfig, SamplingConfig, ScheduleConfig
from model.training.data_command import DataCommand
from model.training.objective import LossConfig
from model.training.optimization import OptimizationConfig
from model.training.relation.instance_level import InstanceLevelConfig

__all__ = ["RECIPES", "SETTINGS_FILE", "TrainSettings"]

RECIPES = Path(__file__).parent / "recipes"
RANDOM_OPENING_FRACTION = 0.45
SETTINGS_FILE = "training/settings.json"
# What may differ when a run goes on: where things lie and what is kept, never what is computed.
_PLACES = frozenset(
    {"resume", "output", "data", "images", "captions", "cache_directory", "device", "debug"}
    | {"json_output", "config", "backbone", "workers"}
)
_SAVING = frozenset({"save_every_steps", "save_every_minutes"})


class TrainSettings(DataCommand):
    """All that decides a training run; `train` adds what is done with it."""

    recipe: str | None = Field(
        None,
        description="Name of a shipped recipe: "
        + ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
        + ".",
    )
    backbone: str | None = Field(
        None, description="Folder or name of a pretrained vision backbone (transformers)."
    )
    needs_backbone: str | None = Field(
        None,
        description="Which pretrained backbone a recipe is made for, and where it is found; "
        "pictures are then refused without --backbone.",
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
        exclude = dict.fromkeys((*_PLACES, "recipe", "needs_backbone"), True) | {
            "schedule": set(_SAVING)
        }
        kept = self.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
        return {name: value for name, value in kept.items() if value != {}}

    def opening_fraction(self, *, reads_regions: bool) -> float:
        """Return the share of the steps that use the opening loss.

        Args:
            reads_regions: The data are region features, which have been trained already.
        """
        if self.loss.opening_fraction is not None:
            return self.loss.opening_fraction
        # From random weights the drawn negative alone collapses the space.
        is_random = self.backbone is None and self.begin_from is None and not reads_regions
        return RANDOM_OPENING_FRACTION if is_random else 0.0

    def refuse_missing_backbone(self) -> None:
        """Raise ConfigError where a network would begin at random that is not made for it."""
        is_given = self.backbone is not None or self.network.backbone_architecture is not None
        if self.needs_backbone is not None and not is_given:
            who = "these settings need" if self.recipe is None else f"recipe {self.recipe} needs"
            raise ConfigError(
                [
                    f"backbone: over pictures {who} a pretrained one; give --backbone FOLDER, "
                    f"or its name on the Hugging Face hub: {self.needs_backbone}"
                ]
            )

    def refuse_network_settings(self) -> None:
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

    def refuse_picture_settings(self) -> None:
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

    def resumed(self) -> Self:
        """Return the settings of the run in `output`, at the places given now.

        Raises:
            CheckpointError: There is no such run, or its settings cannot be read.
            ConfigError: A setting is given that a resumed run cannot change.
        """
        path = self.output / SETTINGS_FILE
        if not path.is_file():
            raise CheckpointError(
                f"'{self.output}' holds no run to go on with; leave --resume out to begin one"
            )
        try:
            saved = type(self)(**json.loads(path.read_text()))
        except (ValueError, TypeError) as error:
            told = first_problem(error) if isinstance(error, ValidationError) else error
            raise CheckpointError(
                f"'{path}' is damaged, or was written by another version ({told}); start a new run"
            ) from error
        free = _PLACES | {f"schedule.{name}" for name in _SAVING}
        differing = [name for name in _differing(self, saved) if name not in free]
        if self.recipe is not None and differing:
            # Of what a recipe brought nobody gave more than the recipe's name.
            recipe = type(self)(**recipe_settings(RECIPES, self.recipe), recipe=self.recipe)
            brought = set(_differing(recipe, saved)) - set(_differing(self, recipe))
            if brought & set(differing):
                differing = ["recipe", *(name for name in differing if name not in brought)]
        if differing:
            raise ConfigError(
                [
                    f"{name}: a resumed run keeps its settings; leave it out, or start a new run"
                    for name in differing
                ]
            )
        saving = _SAVING & self.schedule.model_fields_set
        schedule = saved.schedule.model_copy(
            update={name: getattr(self.schedule, name) for name in saving}
        )
        places = {name: getattr(self, name) for name in _PLACES & self.model_fields_set}
        return saved.model_copy(update=places | {"schedule": schedule})


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
