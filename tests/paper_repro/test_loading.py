"""From the text after --data to a data set."""

from pathlib import Path

import numpy as np
import pytest

from warmflow.paper_repro.data import Request, Split, Toy, load
from warmflow.paper_repro.errors import UserError


def csv(path: Path, seed: int, rows: int = 6) -> Path:
    np.savetxt(path, np.random.default_rng(seed).normal(size=(rows, 3)), delimiter=",")
    return path


def test_toy_and_digits_by_name_follow_the_seed() -> None:
    assert load(Request(source="toy", seed=3)).fingerprint() == Toy(seed=3).make().fingerprint()
    small = load(Request(source="digits", split=Split(n=50, m=20)))
    assert small.X.shape == (50, 65)


def test_corruption_is_applied_and_recorded() -> None:
    data = load(Request(source="digits", fraction=0.5, law="wrong", seed=2))
    assert data.facts["corruption"]["num_wrong"] == 500
    assert data.clean.sum() == 500


def test_csv_pair_by_names_and_by_folder(tmp_path: Path) -> None:
    train, val = csv(tmp_path / "train.csv", 0), csv(tmp_path / "val.csv", 1)
    by_names = load(Request(source=f"{train},{val}"))
    by_folder = load(Request(source=str(tmp_path)))
    assert by_names.fingerprint() == by_folder.fingerprint()
    assert by_folder.test is None
    csv(tmp_path / "test.csv", 2)
    assert load(Request(source=str(tmp_path))).X_test.shape == (6, 2)


def test_what_cannot_be_loaded_is_explained(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("hello")
    (tmp_path / "alone.csv").write_text("1,2\n")
    refused = [
        ("nowhere", "nowhere: no such file or folder; give toy, digits"),
        (str(tmp_path), "holds neither IDX files nor train.csv and val.csv"),
        (str(tmp_path / "x.txt"), "unknown kind of file"),
        (str(tmp_path / "alone.csv"), "has no validation samples; give TRAIN.csv,VAL.csv"),
        ("a.csv,b.csv,c.csv,d.csv", "too many files"),
    ]
    for source, message in refused:
        with pytest.raises(UserError, match=message):
            load(Request(source=source))


def test_requests_that_contradict_the_data_are_refused() -> None:
    with pytest.raises(UserError, match=r"--corruption 0\.5 needs class labels, but toy"):
        load(Request(source="toy", fraction=0.5))
    with pytest.raises(UserError, match="toy is least-squares data; leave --problem softmax out"):
        load(Request(source="toy", kind="softmax"))
