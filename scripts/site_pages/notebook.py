"""Runs the notebooks of the documentation in this process, and turns them into pages.

    python scripts/site_pages/notebook.py docs/tutorial.ipynb     runs it and stores what it prints and draws

A notebook is JSON. Its cells run in order in one namespace, without a kernel; figures are those that matplotlib has
open after a cell.
"""

import base64
import contextlib
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def code_of(cell: dict[str, Any]) -> str:
    """The source of a cell."""
    return "".join(cell["source"])


def execute(
    notebook: dict[str, Any], *, outputs: bool = True, until: Callable[[dict[str, Any]], bool] | None = None
) -> dict[str, Any]:
    """Run the code cells, and store in them what they print and draw.

    Args:
        notebook: the parsed file, changed in place.
        outputs: whether pictures are stored; False closes them undrawn.
        until: stops after the cell that makes it true of the namespace.

    Returns: the namespace.
    """
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    namespace: dict[str, Any] = {"__name__": "notebook"}
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(code, 1):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code_of(cell), f"<cell {number}>", "exec"), namespace)
        cell["execution_count"] = number
        cell["outputs"] = [_stream(printed.getvalue())] if printed.getvalue() else []
        if outputs:
            cell["outputs"] += [_picture(plt.figure(each)) for each in plt.get_fignums()]
        plt.close("all")
        if until is not None and until(namespace):
            break
    return namespace


def _stream(text: str) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)}


def _picture(figure: Any) -> dict[str, Any]:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=80, metadata={"Software": None})
    data = {"image/png": base64.b64encode(png.getvalue()).decode(), "text/plain": ["<Figure>"]}
    return {"output_type": "display_data", "data": data, "metadata": {}}


def to_markdown(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """The page, and its pictures by file name (``name-1.png``, ...)."""
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            parts.append(code_of(cell))
            continue
        parts.append(f"```python\n{code_of(cell)}\n```")
        for output in cell["outputs"]:
            if output["output_type"] == "stream":
                parts.append(f"```text\n{''.join(output['text']).rstrip()}\n```")
            elif png := output.get("data", {}).get("image/png"):
                file = f"{name}-{len(pictures) + 1}.png"
                pictures[file] = base64.b64decode(png)
                parts.append(f"![what the code above draws]({file})")
    return "\n\n".join(parts) + "\n", pictures


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        notebook = json.loads(path.read_text("utf-8"))
        execute(notebook)
        partial = path.with_suffix(".tmp")
        partial.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", "utf-8")
        partial.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
