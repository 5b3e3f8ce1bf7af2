"""One way to configure: flag > environment > --config > --recipe > default, all problems told."""

from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import Field

from model.command_line import Command, load_settings, run_commands
from model.config import Section
from model.errors import ConfigError, HremError


class Relation(Section):
    """How items are related."""

    top_k: int = Field(default=10, ge=1, description="how many")
    weight: float = Field(default=1.0, description="how much")
    layers: tuple[int, ...] = Field(default=(), description="which")


class Train(Command):
    """Train a checkpoint."""

    examples: ClassVar[tuple[str, ...]] = ("python -m thing train --epochs 3",)
    recipes: ClassVar[Path | None] = None

    recipe: str | None = Field(default=None, description="which recipe")
    epochs: int = Field(default=3, ge=1, description="passes")
    relation: Relation = Field(default_factory=Relation, description="relations")

    def run(self) -> int | None:
        """Fail on purpose for one value."""
        if self.epochs == 13:
            raise HremError("13 epochs are unlucky; use 12")
        if self.epochs == 99:
            raise KeyboardInterrupt
        if self.epochs == 98:
            Path("/dev/null/run").mkdir()
        return None


class Serve(Command):
    """Serve an index."""

    index: Path = Field(description="which index")

    def run(self) -> None:
        """Do nothing."""


def train_with_recipes(folder: Path) -> type[Train]:
    class WithRecipes(Train):
        """Train from recipes."""

        recipes: ClassVar[Path | None] = folder

    return WithRecipes


def test_each_layer_wins_over_the_one_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = train_with_recipes(tmp_path)
    (tmp_path / "slow.toml").write_text("epochs = 20\n[relation]\ntop_k = 2\nweight = 0.5\n")
    config = tmp_path / "config.toml"
    config.write_text("epochs = 30\n")
    arguments = ["--recipe", "slow"]
    assert load_settings("x", command, []).epochs == 3
    assert load_settings("x", command, arguments).epochs == 20
    arguments += ["--config", str(config)]
    assert load_settings("x", command, arguments).epochs == 30
    monkeypatch.setenv("HREM_EPOCHS", "40")
    monkeypatch.setenv("HREM_RELATION__TOP_K", "7")
    assert load_settings("x", command, arguments).epochs == 40
    settings = load_settings("x", command, [*arguments, "--epochs", "50"])
    assert settings.epochs == 50
    # Layers meet key by key: one key of a section leaves the others alone.
    assert settings.relation == Relation(top_k=7, weight=0.5)


def test_a_config_file_may_name_the_recipe(tmp_path: Path) -> None:
    command = train_with_recipes(tmp_path)
    (tmp_path / "slow.toml").write_text("epochs = 20\n[relation]\ntop_k = 2\nweight = 0.5\n")
    config = tmp_path / "config.toml"
    config.write_text('recipe = "slow"\n[relation]\ntop_k = 4\n')
    settings = load_settings("x", command, ["--config", str(config)])
    assert settings.epochs == 20
    assert settings.relation == Relation(top_k=4, weight=0.5)


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("[relation]\ntopk = 3\n")
    with pytest.raises(ConfigError) as caught:
        load_settings("x", Train, ["--epochs", "0", "--no-such-flag", "1", "--config", str(config)])
    told = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 3
    assert "--no-such-flag" in told
    assert "epochs = '0': input should be greater than or equal to 1" in told
    assert "relation.topk: unknown setting; did you mean 'relation.top_k'?" in told


def test_a_variable_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HREM_RELATION__TOP_K", "7")
    monkeypatch.setenv("HREM_RELATION__LAYERS", "[1, 2]")
    assert load_settings("x", Train, []).relation == Relation(top_k=7, layers=(1, 2))
    monkeypatch.setenv("HREM_RELATION__LAYERS", "[1, 2")
    with pytest.raises(ConfigError) as caught:
        load_settings("x", Train, ["--epochs", "0"])
    assert len(caught.value.problems) == 2
    assert any(
        "HREM_RELATION__LAYERS: '[1, 2' is no JSON" in told for told in caught.value.problems
    )


def test_an_unknown_option_in_a_recipe_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "typo.toml").write_text("epoch = 20\n")
    commands = {"train": train_with_recipes(tmp_path)}
    assert run_commands("x", commands, ["train", "--recipe", "typo"]) == 2
    assert "config error: epoch: unknown setting; did you mean 'epochs'?" in capsys.readouterr().err
    assert run_commands("x", commands, ["train", "--recipe", "none"]) == 2
    assert "there are: typo" in capsys.readouterr().err


def test_a_foreseen_failure_is_one_sentence_and_a_traceback_only_on_demand(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_commands("x", {"train": Train}, ["train", "--epochs", "13"]) == 1
    assert capsys.readouterr().err == "error: 13 epochs are unlucky; use 12\n"
    assert run_commands("x", {"train": Train}, ["train", "--epochs", "13", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_commands("x", {"train": Train}, ["train", "--epochs", "98"]) == 1
    assert capsys.readouterr().err == "error: Not a directory: '/dev/null/run'\n"


def test_help_tells_the_bounds_of_numbers_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert run_commands("x", {"train": Train}, ["train", "--help"]) == 0
        assert capsys.readouterr().out.count("passes [>= 1] (default: 3)") == 1


def test_an_interrupt_ends_with_130_and_says_how_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Resumable(Train):
        """Train, and go on."""

        when_interrupted: ClassVar[str] = "; the same command goes on"

    for command, told in (
        (Train, "interrupted\n"),
        (Resumable, "interrupted; the same command goes on\n"),
    ):
        assert run_commands("x", {"train": command}, ["train", "--epochs", "99"]) == 130
        assert capsys.readouterr().err == told


def test_bare_and_help_show_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--help"], ["train", "--help"]):
        assert run_commands("x", {"train": Train}, arguments) == 0
        assert Train.examples[0] in capsys.readouterr().out


def test_a_misspelt_command_is_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_commands("x", {"train": Train}, ["trian"]) == 2
    assert "did you mean 'train'?" in capsys.readouterr().err


def test_a_misspelt_flag_is_guessed() -> None:
    with pytest.raises(ConfigError, match=r"--relation\.topk=3; did you mean --relation\.top-k\?"):
        load_settings("x", Train, ["--no-debug", "--json", "--epochs", "5", "--relation.topk=3"])
    with pytest.raises(ConfigError, match=r"unrecognized arguments: --zzz$"):
        load_settings("x", Train, ["--zzz"])
    with pytest.raises(ConfigError, match=r"did you mean --relation\.top-k\?"):
        load_settings("x", Train, ["--top-k", "3"])


def test_a_stray_word_is_guessed_to_be_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"photos; did you mean --index photos\?"):
        load_settings("x", Serve, ["photos"])
    with pytest.raises(ConfigError, match="a path with spaces, goes in quotes"):
        load_settings("x", Serve, ["--index", "my", "photos", "too"])


def test_an_empty_variable_is_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HREM_INDEX", "")
    with pytest.raises(ConfigError, match="HREM_INDEX is empty; unset it or give a path"):
        load_settings("x", Serve, [])


def test_a_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_settings("x", Train, ["--config", str(tmp_path / "none.toml")])
    broken = tmp_path / "broken.toml"
    broken.write_text("epochs = = 3")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_settings("x", Train, ["--config", str(broken)])


@pytest.mark.parametrize("given", [["--debug", "false"], ["--debug=false"]])
def test_a_switch_with_a_value_is_told_how_it_is_given(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="a switch takes no value: --debug or --no-debug"):
        load_settings("x", Train, given)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("HREM_EPOCH", "HREM_EPOCHS"),
        ("HREM_EOPCHS", "HREM_EPOCHS"),
        ("hrem_epoch", "HREM_EPOCHS"),
        ("HREM_RELATION_TOP_K", "HREM_RELATION__TOP_K"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: str, meant: str
) -> None:
    monkeypatch.setenv(given, "40")
    with pytest.raises(ConfigError) as caught:
        load_settings("x", Train, [])
    assert f"{given}: no such setting; did you mean {meant}? (if not, unset it)" in str(
        caught.value
    )


def test_variables_of_other_programs_and_of_other_commands_are_let_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Compare(Command):
        """Compare."""

        epoch: int = Field(default=1, description="which pass")

        def run(self) -> int | None:
            """Do nothing."""
            return None

    monkeypatch.setenv("HREM_HOST", "0.0.0.0")
    assert run_commands("thing", {"train": Train, "compare": Compare}, ["train"]) == 0
    monkeypatch.setenv("HREM_EPOCH", "3")
    assert run_commands("thing", {"train": Train, "compare": Compare}, ["train"]) == 0
    assert run_commands("thing", {"train": Train}, ["train"]) == 2


def test_a_word_too_many_is_told_to_go_in_quotes() -> None:
    with pytest.raises(ConfigError, match=r"arguments: dog; a sentence, .* in quotes"):
        load_settings("x", Train, ["--epochs", "2", "dog"])
