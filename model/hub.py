"""Where a checkpoint lies: a folder, or the copy of a model of the hub.

Of the hub only what a checkpoint is made of is fetched: plain formats, never a pickle.
"""

from pathlib import Path

from model.errors import CheckpointError

__all__ = ["local_folder"]

_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "tokenizer/*", "README.md"]
_NOT_FETCHED = ["training/*", "onnx/*", "openvino/*"]


def local_folder(path_or_name: str | Path) -> Path:
    """Return the folder of a checkpoint; a hub name is fetched, or found where it was fetched.

    A folder that does not exist comes back as it is: whoever reads it says what is missing.

    Raises:
        CheckpointError: A hub name that can be neither found nor fetched.
    """
    folder = Path(path_or_name)
    # "owner/name" is a hub name only where no such folder exists.
    if folder.exists() or isinstance(path_or_name, Path) or str(path_or_name).count("/") != 1:
        return folder
    if str(path_or_name).startswith((".", "/", "~")):
        return folder
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                str(path_or_name), allow_patterns=_FETCHED, ignore_patterns=_NOT_FETCHED
            )
        )
    except Exception as error:
        raise CheckpointError(
            f"no checkpoint at '{path_or_name}': there is no such folder, and it could not be "
            "fetched from the model hub; train one with: python -m model.training train, or "
            "the demo's with: make demo"
        ) from error
