"""`make lock`: pin every distribution that the extras need in constraints.txt.

What is pinned already stays: to move to a newer version, delete its line first. pip resolves
without installing, for both accelerators at once.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

EXTRAS = "cpu,gpu,train,service,parquet,dev"
CONSTRAINTS = Path("constraints.txt")
# CUDA's libraries are pinned by the build of torch that wants them; another build wants others.
CUDA = re.compile(r"nvidia-|cuda-|triton")


def locked_lines(report: dict) -> list[str]:
    """Return `name==version` of every distribution of an index in pip's report, sorted."""
    lines = set()
    for item in report["install"]:
        if "dir_info" in item["download_info"]:  # this very project
            continue
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        if not CUDA.match(name):
            # Without the local part (+cpu): the pin serves every build of torch.
            lines.add(f"{name}=={item['metadata']['version'].partition('+')[0]}")
    return sorted(lines)


def main() -> None:
    """Resolve and write."""
    arguments = ["install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    arguments += ["--disable-pip-version-check", "-c", str(CONSTRAINTS), f".[{EXTRAS}]"]
    answer = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], stdout=subprocess.PIPE, check=True
    )
    CONSTRAINTS.write_text("\n".join(locked_lines(json.loads(answer.stdout))) + "\n")


if __name__ == "__main__":
    main()
