"""Names, types and shapes of the tensors in checkpoints of this field, full size, without their values.

Writes crates/model/tests/it/golden/state_dicts/NAME.txt: a line `DTYPE SHAPE NAME` for each tensor, and what else a test
has to know on lines that begin with `#`. The models are those of `scripts/check_import.py`.
"""

import sys
import tempfile
from pathlib import Path

from common import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "scripts"))

from check_import import CASES, zoo_case

FOLDER = REPOSITORY / "crates/model/tests/it/golden/state_dicts"
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64"}


def main():
    FOLDER.mkdir(exist_ok=True)
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            case = zoo_case(name, Path(folder))
            lines = [f"# library {case.library or 'original'}"]
            for key, value in sorted(case.tensors.items()):
                dtype = DTYPES[str(value.dtype).removeprefix("torch.")]
                lines.append(f"{dtype} {'x'.join(map(str, value.shape)) or '-'} {key}")
        path = FOLDER / f"{name}.txt"
        path.write_text("\n".join(lines) + "\n")
        print(f"{path.relative_to(REPOSITORY)}: {len(lines) - 1} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
