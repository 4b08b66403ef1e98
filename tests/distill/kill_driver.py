"""Trains in child processes that are killed at random moments, until one gets through; see test_phase.py.

Usage: python kill_driver.py FOLDER SEED. Prints one JSON object.
"""

import gc
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tiny_digits import digit_images, tiny_vit

from edgekd.distill.cache import cached_logits
from edgekd.distill.fingerprint import weights_hash
from edgekd.distill.settings import TrainingSettings
from edgekd.distill.train import train

SETTINGS = TrainingSettings(
    epochs=9, learning_rate=5e-3, batch_size=16, alpha=0.9, patience=4, final_ce_epoch=True, seed=5
)
KILLS = 3


def work(folder: Path) -> None:
    torch.set_num_threads(1)
    lesson = cached_logits(tiny_vit(9), digit_images(0, 128), folder.parent / "cache", batch_size=32)
    student = tiny_vit(2, layers=1, hidden=16, dropout=0.1)
    first_steps = []
    result = train(
        student,
        lesson,
        digit_images(200, 260),
        SETTINGS,
        folder,
        on_progress=lambda seen: first_steps.append(seen.step),
    )
    outcome = {"weights": weights_hash(student), "result": result.to_dict()}
    (folder.parent / f"{folder.name}.json").write_text(json.dumps([outcome, first_steps[0] if first_steps else -1]))


def child(folder: Path) -> Any:
    """A forked process at work: nothing but imports ran before it, so no thread is lost."""
    number = os.fork()
    if number == 0:
        work(folder)
        os._exit(0)
    return number


def cut_while_a_checkpoint_is_written(folder: Path, process: int) -> Any:
    """Kill as soon as a checkpoint's folder stands there without its marker. False when the child got through."""
    while True:
        done, _ = os.waitpid(process, os.WNOHANG)
        if done:
            return False
        for found in folder.glob("checkpoints/*/*/checkpoint-*"):
            if not (found / "complete.json").exists() and int(found.name.split("-")[1]) > 10:
                os.kill(process, signal.SIGKILL)
                os.waitpid(process, 0)
                return True
        time.sleep(0.001)


def killed_again_and_again(folder: Path, dice: random.Random, longest_s: float) -> int:
    """How often the training in `folder` was killed before it got through."""
    cuts = int(cut_while_a_checkpoint_is_written(folder, child(folder)))
    for _ in range(KILLS):
        process = child(folder)
        time.sleep(dice.uniform(0.3, 1) * longest_s)
        if os.waitpid(process, os.WNOHANG)[0]:
            return cuts
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        cuts += 1
    if not folder.with_suffix(".json").exists():
        os.waitpid(child(folder), 0)
    return cuts


def main() -> None:
    home, dice = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    gc.freeze()
    started = time.monotonic()
    os.waitpid(child(home / "whole"), 0)
    longest_s = (time.monotonic() - started) * 0.3
    whole, _ = json.loads((home / "whole.json").read_text())
    # When the machine turns faster a training may get through before it was killed three times: once more, quicker.
    for attempt in range(4):
        folder = home / f"killed{attempt}"
        cuts = killed_again_and_again(folder, dice, longest_s / 2**attempt)
        killed, first_step = json.loads(folder.with_suffix(".json").read_text())
        if killed != whole or cuts >= 3:
            break
    left = (folder / "checkpoints").exists()
    found = {"whole": whole, "killed": killed, "cuts": cuts, "first_step": first_step, "left": left}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
