"""Runs the code cells of a notebook in this Python, which needs nothing of ours, one behind the other.

    python run_cells.py notebook.ipynb between.py /kaggle/input=/tmp/input …

Each pair is a path of the notebook and what stands for it here. between.py is run before the second cell, with the
names that the cells have. A cell that raises ends it with a traceback, as a notebook would end.
"""

import json
import sys
from pathlib import Path


def main(path: str, between: str, *pairs: str) -> None:
    cells = [cell for cell in json.loads(Path(path).read_text())["cells"] if cell["cell_type"] == "code"]
    space: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        for pair in pairs:
            there, _, here = pair.partition("=")
            source = source.replace(there, here)
        if number == 1:
            exec(Path(between).read_text(), space)
        print(f"--- {cell['id']}", flush=True)
        exec(compile(source, cell["id"], "exec"), space)
    print("--- end", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
