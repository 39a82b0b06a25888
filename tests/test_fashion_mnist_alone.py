"""One folder knows the shipped data set; the rest of the package would serve any other as well."""

import re
from pathlib import Path

import tfg_jax
from tfg_jax.data.fashion_mnist import CLASS_NAMES

PACKAGE = Path(tfg_jax.__file__).parent
WORDS = re.compile(
    rf"fashion|garment|28, 28|28x28|28 x 28|\b({'|'.join(re.escape(name) for name in CLASS_NAMES)})\b", re.I
)
# Where the words have another meaning, and the one line that says which task is meant by default.
ELSEWHERE = {"tasks/find.py": 'DEFAULT = "fashion-mnist"'}
AT_HOME = ("tasks/fashion_mnist/", "data/fashion_mnist.py", "data/sample.py", "data/__init__.py", "checkpoints/")


def test_nothing_outside_its_folder_knows_fashion_mnist():
    wrong = []
    for file in sorted(PACKAGE.rglob("*.py")):
        name = str(file.relative_to(PACKAGE))
        if name.startswith(AT_HOME):
            continue
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
            if WORDS.search(line) and line != ELSEWHERE.get(name):
                wrong.append(f"{name}:{number}: {line.strip()}")
    assert not wrong, "\n".join(wrong)
