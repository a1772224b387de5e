"""Where the data of a job comes from: no row in two splits."""

import pytest

import launch

pytestmark = pytest.mark.usefixtures("no_aws")


@pytest.fixture
def write(tmp_path):
    """Write files with rows below a folder."""

    def run(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("label\ttext\npositive\tgood\n")
        return tmp_path

    return run


@pytest.mark.parametrize(
    ("train", "flag", "other", "file"),
    [
        ("rows/a.tsv", "--validation", "rows/a.tsv", "rows/a.tsv"),
        ("rows", "--validation", "rows", "rows/a.tsv"),
        ("rows", "--test", "rows/../rows/b.tsv", "rows/../rows/b.tsv"),
        ("rows/b.tsv", "--test", "link", "link/b.tsv"),
    ],
)
def test_a_file_is_in_one_split_only(plan, write, train, flag, other, file):
    folder = write("rows/a.tsv", "rows/b.tsv")
    (folder / "link").symlink_to(folder / "rows")
    code, out, err = plan(flag, folder / other, data=folder / train)
    assert (code, out) == (launch.WRONG_USE, "")
    assert err == (
        f"launch.py: --data and {flag} both have the file {folder / file}, and splits must not share rows; give other "
        f"rows, or remove {flag}\n"
    )


def test_validation_and_test_are_compared_too(plan, write):
    folder = write("a.tsv", "b.tsv")
    err = plan("--validation", folder / "b.tsv", "--test", folder / "b.tsv", data=folder / "a.tsv")[2]
    assert "--validation and --test both have the file" in err


def test_one_folder_may_hold_several_splits_by_name(plan, write):
    """The image reads of such a folder what is named for the channel."""
    folder = write("rows/train.tsv", "rows/validation.tsv", "rows/test.tsv") / "rows"
    assert plan("--validation", folder, data=folder)[0] == 0
    assert plan("--test", folder / "test.tsv", data=folder)[0] == 0
    assert "train.tsv" in plan("--test", folder / "train.tsv", data=folder)[2]
