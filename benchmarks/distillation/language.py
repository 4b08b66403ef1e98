"""What a language model loses when it is cut down, and what its teacher gives back.

    python benchmarks/distillation/language.py --corpus ../shared/data/lm_open --seeds 3 --write

A small Llama is trained on public-domain novels and speeches by the step teacher of `edgekd run`. Students of 50 % and
30 % of its parameters outside the embeddings are then trained in three ways, with the same steps on the same blocks:
distilled; on the text alone from the same first weights, which come from the teacher; on the text alone from random
ones.
Perplexity is that of documents that nobody has read before: one novel and four speeches. Finished students are kept in
the work folder, and a killed call goes on where it stopped; `--minutes N` begins no further student after that.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgekd.bench.agent.facts import lasting_facts
from edgekd.data.blocks import blocks
from edgekd.distill.language import perplexity, token_answers
from edgekd.distill.settings import student_settings
from edgekd.distill.train import train
from edgekd.files import make_folder, read_json, write_json
from edgekd.pipeline.begin import begin
from edgekd.pipeline.context import Context
from edgekd.pipeline.lesson import Lesson, lesson
from edgekd.pipeline.run import run
from edgekd.recipe import load_recipe
from edgekd.record import HostFacts
from edgekd.student import StudentSpec
from edgekd.students.build import build

sys.path.insert(0, str(Path(__file__).parents[1]))

from evidence import table_text, write_results
from retention import capacity

HERE = Path(__file__).parent
VOCABULARY, LENGTH, END = 2048, 128, "<|endoftext|>"
TEACHER = StudentSpec(
    architecture="llama", layers=4, hidden=128, heads=4, kv_heads=2, head_dim=32, ffn=352, vocabulary=VOCABULARY,
    positions=LENGTH, labels=0,
)  # fmt: skip
STUDENTS = {0.5: replace(TEACHER, layers=2), 0.3: replace(TEACHER, layers=2, hidden=96)}
FFN_STEP = 8
MOST_BLOCKS = 8192  # of the training part that a student reads, about a million tokens
ARMS = {"distilled": "from its teacher", "copied": "same start, text alone", "random": "random start, text alone"}
FIRST_HELD_OUT = 1989  # speeches of this year and later are read by nobody before the end
DRAWS = 2000

_SPEECH = re.compile(r"^= (.+) =$", re.MULTILINE)


def documents(corpus: Path) -> dict[str, dict[str, str]]:
    """By part the documents of the corpus by name: a novel or a speech each.

    Persuasion and every second inaugural address from 1989 on are the test part, the other ones the validation part.
    """
    found: dict[str, dict[str, str]] = {"train": {}, "validation": {}, "test": {}}
    for path in sorted(corpus.glob("austen_*.txt")):
        part = "test" if path.stem == "austen_persuasion" else "train"
        found[part][path.stem] = path.read_text(encoding="utf-8")
    later = 0
    for path in sorted(corpus.glob("us_*.txt")):
        pieces = _SPEECH.split(path.read_text(encoding="utf-8"))
        for title, text in zip(pieces[1::2], pieces[2::2], strict=True):
            part = "train"
            if path.stem == "us_inaugural" and int(title[:4]) >= FIRST_HELD_OUT:
                part, later = ("validation", "test")[later % 2], later + 1
            found[part][f"{path.stem}_{title}"] = text.strip()
    if not found["test"] or not found["validation"]:
        raise SystemExit(f"{corpus}: holds no novels and speeches (austen_*.txt, us_*.txt)")
    return found


def student_of(share: float) -> StudentSpec:
    """The student with the widest feed-forward blocks that has at most `share` of the teacher's parameters.

    The table of embeddings, which is also the head, does not count.
    """
    most, shape = share * capacity(TEACHER), STUDENTS[share]
    specs = (replace(shape, ffn=ffn) for ffn in range(TEACHER.ffn, 0, -FFN_STEP))
    return next(spec for spec in specs if capacity(spec) <= most)


def tokenizer_of(texts: list[str]) -> Any:
    """A byte-level BPE that was trained on `texts`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    pieces = Tokenizer(models.BPE())
    pieces.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    pieces.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet, show_progress=False
    )
    pieces.train_from_iterator(texts, trainer)
    fast: Any = PreTrainedTokenizerFast
    return fast(tokenizer_object=pieces, eos_token=END, model_max_length=LENGTH)


@dataclass
class Bench:
    """The teacher and the students that were finished, in the folder `root`; `overrides` are of the recipe."""

    corpus: Path
    root: Path
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (self.root / "untrained" / "config.json").exists():
            self._prepare()
        run(self._recipe, self._overrides(17), self.root / "run", only="teacher")

    def _prepare(self) -> None:
        parts = documents(self.corpus)
        for part, texts in parts.items():
            folder = make_folder(self.root / "data" / part)
            for name, text in texts.items():
                (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        tokenizer_of(list(parts["train"].values())).save_pretrained(self.root / "untrained")
        build(TEACHER, seed=17).save_pretrained(self.root / "untrained")

    @property
    def _recipe(self) -> str:
        return str(HERE / "language.yaml")

    def _overrides(self, seed: int) -> list[str]:
        places = {"teacher.model": self.root / "untrained", "data.source": self.root / "data"}
        return [
            f"distill.seed={seed}",
            f"data.max_length={LENGTH}",
            *(f"{key}={place.resolve()}" for key, place in places.items()),
            *self.overrides,
        ]

    def context(self, seed: int) -> Context:
        """The run folder, with the seed of a student's training."""
        return Context(load_recipe(self._recipe, self._overrides(seed)), self.root / "run", Path.cwd())

    @cached_property
    def taught(self) -> Lesson:
        """The blocks with what the teacher says of them; the same for all seeds."""
        return lesson(self.context(17), None)

    def losses(self, model: Any, taught: Lesson, context: Context) -> dict[str, list[float]]:
        """The summed loss [nats] and the tokens of each block of the test part."""
        test = blocks(context.splits.test, taught.preprocessing, taught.tokenizer)
        found = token_answers(model, test, 16).losses
        tokens = [int((np.asarray(labels) != -100).sum()) for labels in test["labels"]]
        starts = np.concatenate([[0], np.cumsum(tokens)[:-1]])
        return {"nats": np.add.reduceat(found, starts).tolist(), "tokens": [float(count) for count in tokens]}

    def teacher(self) -> dict[str, Any]:
        """What the teacher says of the test part."""
        path = self.root / "test-teacher.json"
        if not path.exists():
            context = self.context(17)
            taught = self.taught
            read = sum(int((np.asarray(labels) != -100).sum()) for labels in taught.train["labels"])
            write_json(path, {**self.losses(taught.teacher, taught, context), "training_tokens": read})
        table: dict[str, Any] = read_json(path)
        return table

    def student(self, share: float, arm: str, seed: int) -> dict[str, Any] | None:
        """What is known of a student; None before it was trained."""
        path = self._place(share, arm, seed) / "result.json"
        return read_json(path) if path.exists() else None

    def _place(self, share: float, arm: str, seed: int) -> Path:
        return self.root / "students" / f"{round(100 * share)}-{arm}-{seed}"

    def train(self, share: float, arm: str, seed: int) -> None:
        """Train one student and let it read the test part."""
        context, place = self.context(seed), make_folder(self._place(share, arm, seed))
        taught, spec = self.taught, student_of(share)
        begun: dict[str, Any] = {"method": "random"}
        if arm == "random":
            student: Any = build(spec, taught.teacher.config, seed=seed)
        else:
            # The copied one starts from the very weights that the distilled one starts from.
            student, begun = begin(context, taught, spec, make_folder(self._place(share, "distilled", seed)))
        settings = student_settings(context.recipe.distill, context.recipe.budget, context.recipe.task)
        settings = replace(settings, max_examples=MOST_BLOCKS, alpha=settings.alpha if arm == "distilled" else 0.0)
        first = perplexity(token_answers(student, taught.validation, 16).losses)
        result = train(student, taught.train, taught.validation, settings, place)
        write_json(place / "result.json", {
            **result.to_dict(), "seconds": result.seconds, "spec": spec.to_dict(), "method": begun["method"],
            "share": capacity(spec) / capacity(TEACHER), "first_validation_perplexity": first,
            **self.losses(student, taught, context),
        })  # fmt: skip


def perplexity_of(nats: NDArray[Any], tokens: NDArray[Any]) -> float:
    """e to the power of all losses by all tokens; of several students the geometric mean. Shapes: [..., blocks]."""
    return float(np.exp(nats.sum(axis=-1).mean() / tokens.sum()))


def rise(own: NDArray[Any], its: NDArray[Any], tokens: NDArray[Any]) -> tuple[float, float, float]:
    """By how much the perplexity of students is above another's, and a 95 % interval over blocks of the test part.

    The same blocks are drawn for both. Shapes: `own` [students, blocks], the others [blocks].
    """
    rng = np.random.default_rng(0)
    more = own.mean(axis=0) - its
    drawn = rng.integers(0, len(tokens), (DRAWS, len(tokens)))
    ratios = np.exp(more[drawn].sum(axis=1) / tokens[drawn].sum(axis=1)) - 1
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.exp(more.sum() / tokens.sum()) - 1), float(low), float(high)


def rows_of(bench: Bench, seeds: int) -> tuple[list[list[str]], dict[str, Any]]:
    """A table row for each size and way with finished students, and the numbers behind."""
    known = bench.teacher()
    its, tokens = np.array(known["nats"]), np.array(known["tokens"])
    teacher = perplexity_of(its, tokens)
    rows: list[list[str]] = []
    numbers: dict[str, Any] = {
        "teacher": TEACHER.name, "teacher_perplexity": teacher, "test_tokens": int(tokens.sum()),
        "training_tokens": known["training_tokens"],
    }  # fmt: skip
    for share in STUDENTS:
        for arm, said in ARMS.items():
            found = [(seed, told) for seed in range(1, seeds + 1) if (told := bench.student(share, arm, seed))]
            if not found:
                continue
            own = np.array([told["nats"] for _, told in found])
            above, low, high = rise(own, its, tokens)
            name = StudentSpec.from_dict(found[0][1]["spec"]).name
            minutes = np.mean([told["seconds"] for _, told in found]) / 60
            starts = ", ".join(sorted({told["method"] for _, told in found}))
            rows.append([
                name, f"{found[0][1]['share']:.1%}", said, starts, str(len(found)), f"{perplexity_of(own, tokens):.2f}",
                f"{above:+.1%}", f"{low:+.1%} to {high:+.1%}", f"{minutes:.1f} min",
            ])  # fmt: skip
            numbers[f"{share:.0%} {arm}"] = {
                "student": name, "share": found[0][1]["share"], "perplexity": perplexity_of(own, tokens),
                "by_seed": {seed: perplexity_of(row, tokens) for (seed, _), row in zip(found, own, strict=True)},
                "rise": above, "interval": [low, high], "start": starts,
                "first_validation_perplexity": {seed: told["first_validation_perplexity"] for seed, told in found},
            }  # fmt: skip
    return rows, numbers


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--corpus", type=Path, default=Path("../shared/data/lm_open"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--work", type=Path, default=Path("runs/language"))
    parser.add_argument("--write", action="store_true", help="replace the results with what is finished")
    asked = parser.parse_args()
    begun = time.monotonic()
    bench = Bench(asked.corpus, asked.work)
    for seed in range(1, asked.seeds + 1):
        for share in STUDENTS:
            for arm in ARMS:
                if bench.student(share, arm, seed) is None and time.monotonic() - begun < 60 * asked.minutes:
                    print(f"{share:.0%}, {arm}, seed {seed}", flush=True)
                    bench.train(share, arm, seed)
    rows, numbers = rows_of(bench, asked.seeds)
    columns = (
        "student",
        "parameters",
        "training",
        "start",
        "seeds",
        "perplexity",
        "over teacher",
        "95 % interval",
        "time",
    )
    text = (
        f"A teacher {TEACHER.name} with {VOCABULARY} tokens reads {numbers['training_tokens']} tokens of novels and\n"
        f"speeches once; its perplexity on {numbers['test_tokens']} tokens of documents that nobody read is "
        f"{numbers['teacher_perplexity']:.2f}. `parameters` are those outside the embeddings, as\n"
        f"a share of the teacher's. All students read the same {MOST_BLOCKS} blocks of {LENGTH} tokens once, with the\n"
        "same rate and batches. The interval is over blocks of the test part, drawn for student and teacher together;\n"
        "over several seeds, losses are averaged.\n\n"
    )
    if asked.write:
        host = HostFacts.model_validate({"name": "local", **lasting_facts()})
        write_results("language", "What language models keep", text + table_text(columns, rows), numbers, host)
    else:
        print(text + table_text(columns, rows))


if __name__ == "__main__":
    main()
