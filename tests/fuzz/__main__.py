"""Read changed inputs of one kind, and print what went wrong as JSON: `python -m tests.fuzz KIND FOLDER [FIRST LAST]`.

Every input has its own seed, its number, so that one can be read again alone.
"""

import json
import random
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.kinds import KINDS
from tests.fuzz.watch import Watch, is_ours, peak_megabytes

LINES, CHARACTERS = 8, 2000
"""Most that a message may have; a list of faults names the first five."""
REFUSALS = {"pictures": "BadImageError", "states": "StateError"}
"""The error of a kind, where there is a special one."""


def main() -> None:
    """Read all inputs of a kind."""
    kind, folder = sys.argv[1], Path(sys.argv[2]) / "work"
    folder.mkdir(parents=True)
    make, number = KINDS[kind]
    first, last = map(int, sys.argv[3:5]) if len(sys.argv) > 3 else (0, number)
    warnings.simplefilter("ignore")
    read, watch = make(folder), Watch(folder)
    faults, refused, slowest, memory = [], 0, (0.0, -1), 0.0
    for seed in range(first, last):
        if seed == first + 10:
            memory = peak_megabytes()  # what the first ones import is not counted
        (Path(sys.argv[2]) / "now").write_text(str(seed))
        one = read(random.Random(seed))
        start, found = time.process_time(), ""
        try:
            with watch.one_input():
                one()
        except ValueError as error:
            refused += 1
            message = str(error)
            if not is_ours(error):
                found = f"not our own: {''.join(traceback.format_exception(error)[-12:])[-1500:]}"
            elif REFUSALS.get(kind, type(error).__name__) != type(error).__name__:
                found = f"{type(error).__name__}, expected {REFUSALS[kind]}: {message}"
            elif len(message.splitlines()) > LINES or len(message) > CHARACTERS or not message.strip():
                found = f"{len(message)} characters in {len(message.splitlines())} lines: {message[:200]}"
        except BaseException as error:  # whatever it is, it was not foreseen
            found = f"{''.join(traceback.format_exception(error)[-12:])[-1500:]}"
        slowest = max(slowest, (time.process_time() - start, seed))
        if watch.seen:
            found += f"; did {watch.seen[:3]}"
        if found:
            faults.append((seed, found))
        for left in [path for path in folder.iterdir() if path.name.isdecimal()]:
            shutil.rmtree(left)
    if list(folder.rglob("*.ran")) or "evil" in sys.modules:
        faults.append((-1, "code was run"))
    grown = peak_megabytes() - memory
    print(json.dumps({"faults": faults, "refused": refused, "slowest": slowest, "grown": grown}))


if __name__ == "__main__":
    main()
