from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekd.data.examples import Splits
from edgekd.data.sources import load_splits
from edgekd.errors import DataError
from edgekd.recipe import Data

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "##d"]


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """The folder of a real data set beside the repository; the test is skipped where it is not there."""

    def folder(name: str) -> Path:
        path = SHARED / name
        if not path.is_dir():
            pytest.skip(f"the real data set {name} is not beside this repository (../shared/data/{name})")
        return path

    return folder


@pytest.fixture
def csv_rows() -> Callable[..., str]:
    """CSV of `count` different texts with the labels 0 and 1 in turn."""

    def rows(count: int, word: str = "text") -> str:
        return "text,label\n" + "".join(f"{word} {row},{row % 2}\n" for row in range(count))

    return rows


@pytest.fixture
def write() -> Callable[..., Path]:
    """Write files into a folder: train__csv="..." becomes train.csv."""

    def files(folder: Path, **contents: str) -> Path:
        for name, content in contents.items():
            (folder / name.replace("__", ".")).write_text(content, encoding="utf-8")
        return folder

    return files


@pytest.fixture
def sizes() -> Callable[[Splits], tuple[int, int, int]]:
    """The numbers of training, validation and test examples."""
    return lambda splits: (len(splits.train), len(splits.validation), len(splits.test))


@pytest.fixture
def refuse() -> Callable[..., None]:
    """Check that loading fails with one line that says so."""

    def check(said: str, base: Path, **data: Any) -> None:
        kind = data.pop("kind", None)
        with pytest.raises(DataError, match=said) as caught:
            load_splits(Data(**data), base=base, kind=kind)
        assert "\n" not in str(caught.value)

    return check


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A WordPiece tokenizer such as BERT's, with eight words."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tokenizer")
    pieces = Tokenizer(models.WordPiece({word: at for at, word in enumerate(WORDS)}, unk_token="[UNK]"))
    pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(
        tokenizer_object=pieces,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(str(folder))
    return folder
