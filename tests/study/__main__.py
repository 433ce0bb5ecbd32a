"""`make study`: how often few and many answers pass, fail and are unknown; kept in docs/ANSWERS.md."""

from __future__ import annotations

import sys

from tests.study import answers, looks
from tests.study.page import write


def main() -> int:
    for name, text in (("looks", looks.table()), ("answers", answers.tables())):
        sys.stdout.write(f"{text}\n\n")
        write(name, text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
