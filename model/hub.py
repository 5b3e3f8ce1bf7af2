"""Where a checkpoint lies: a folder, or the copy of a model of the hub.

Of the hub only what a checkpoint is made of is fetched: plain formats, never a pickle.
"""

import difflib
from pathlib import Path

from model.errors import CheckpointError

__all__ = ["folders_beside", "is_hub_name", "local_folder", "why_not_fetched"]

_ANSWER_SECONDS = 10
_MAKE_ONE = "train one with: python -m model.training train, or the demo's with: make demo"
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "tokenizer/*", "README.md"]
_NOT_FETCHED = ["training/*", "onnx/*", "openvino/*"]


def is_hub_name(path_or_name: str | Path) -> bool:
    """Return whether this is `owner/name`, and no folder has that name here."""
    name = str(path_or_name)
    return (
        not isinstance(path_or_name, Path)
        and name.count("/") == 1
        and not name.startswith((".", "/", "~"))
        and not Path(name).exists()
    )


def why_not_fetched(name: str) -> Exception | None:
    """Ask the hub one quick question: without network, fetching would try again for minutes.

    Args:
        name: A folder, or the name of a model: `owner/name`, or one word, as older models have it.

    Returns:
        Why only what lies on this machine can be had, or None where it is a folder or the hub has
        the model.
    """
    from huggingface_hub import HfApi

    if Path(name).exists():
        return None
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        return FileNotFoundError("there is no such folder")
    try:
        HfApi().model_info(name, timeout=_ANSWER_SECONDS)
    except Exception as error:
        return error
    return None


def local_folder(path_or_name: str | Path) -> Path:
    """Return the folder of a checkpoint; a hub name is fetched, or found where it was fetched.

    Raises:
        CheckpointError: There is no such folder, or a hub name can be neither found nor fetched.
    """
    folder = Path(path_or_name)
    if is_hub_name(path_or_name):
        return _fetched(str(path_or_name))
    if not folder.exists():
        raise CheckpointError(f"no checkpoint at '{folder}'{folders_beside(folder)}; {_MAKE_ONE}")
    return folder


def _fetched(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    near = folders_beside(Path(name))
    absent = f"no checkpoint at '{name}': there is no such folder{near}, and it"
    asked = why_not_fetched(name)
    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=_FETCHED,
                ignore_patterns=_NOT_FETCHED,
                local_files_only=asked is not None,
            )
        )
    except Exception as error:
        cause = asked or error
        if isinstance(cause, RepositoryNotFoundError):
            raise CheckpointError(
                f"{absent} could not be fetched from the model hub, which has no such model, or "
                f"not for everybody (then: hf auth login); {_MAKE_ONE}"
            ) from error
        why = "" if isinstance(cause, HfHubHTTPError) else ", which cannot be reached"
        raise CheckpointError(
            f"{absent} could not be fetched from the model hub{why} "
            f"({type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else ''}); on a "
            f"machine with network: hf download {name} --local-dir clip/; then copy the folder "
            "here and give --checkpoint clip/"
        ) from error


def folders_beside(folder: Path) -> str:
    """Return in brackets which folders with names like this one lie beside where it should be."""
    try:
        beside = [each.name for each in folder.parent.iterdir() if each.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(folder.name, beside)
    return f" (beside it: {', '.join(str(folder.parent / name) for name in near)})" if near else ""
