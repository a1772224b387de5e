"""Where the data of a job comes from: no row in two splits."""

import argparse

import pytest

import launch
from launcher.plan import inputs
from launcher.plan.s3 import Listing, location, needed
from text_classifier.contract.errors import UserError

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


BUCKET = {"rows/a.tsv": 9, "rows/b.tsv": 9, "rows/more/c.tsv": 9, "rows/_old/d.tsv": 9, "rows-old/a.tsv": 9, "e.tsv": 9}
DIVIDED = {"s/train.tsv": 9, "s/validation.tsv": 9, "s/test/part-0.tsv": 9}


def in_s3(*, is_listed=True, is_complete=True, **channels):
    """Check options with these URIs. Only the first object is listed unless `is_complete`."""
    uris = {name: location(uri) for name, uri in channels.items()}
    options = argparse.Namespace(listings={}, **dict.fromkeys(inputs.OPTION_OF_CHANNEL.values()))
    for option, uri in uris.items():
        setattr(options, option, uri)
        objects = needed(uri, {key: n for key, n in (BUCKET | DIVIDED).items() if key.startswith(uri.key)})
        channel = next(name for name, other in inputs.OPTION_OF_CHANNEL.items() if other == option)
        if is_listed:
            listed = objects if is_complete else dict(list(objects.items())[:1])
            options.listings[channel] = Listing(uri, listed, is_complete)
    return inputs.local_paths(options)


@pytest.mark.parametrize(
    ("channels", "flags", "object_"),
    [
        ({"data": "rows/", "validation": "rows/"}, "--data and --validation", "rows/a.tsv"),
        ({"data": "rows/", "test": "rows/more/"}, "--data and --test", "rows/more/c.tsv"),
        ({"data": "rows/more/", "validation": "rows/"}, "--data and --validation", "rows/more/c.tsv"),
        ({"data": "rows/a.tsv", "test": "rows/"}, "--data and --test", "rows/a.tsv"),
        ({"data": "rows/", "validation": "", "test": "e.tsv"}, "--data and --validation", "rows/a.tsv"),
        ({"data": "rows/a", "validation": "e.tsv", "test": "e.tsv"}, "--validation and --test", "e.tsv"),
        ({"data": "s/", "test": "s/train.tsv"}, "--data and --test", "s/train.tsv"),
    ],
    ids=str,
)
def test_an_object_in_s3_is_in_one_split_only(channels, flags, object_):
    uris = {option: f"s3://my-reviews/{key}" for option, key in channels.items()}
    for is_complete in (True, False):
        with pytest.raises(UserError) as refused:
            in_s3(is_complete=is_complete, **uris)
        assert str(refused.value) == (
            f"{flags} both have the file s3://my-reviews/{object_}, and splits must not share rows; give other rows, "
            f"or remove {flags.split()[-1]}"
        )


@pytest.mark.parametrize(
    "uris",
    [
        {"data": "s3://my-reviews/rows/", "validation": "s3://my-reviews/e.tsv", "test": "s3://my-reviews/rows-old/"},
        {"data": "s3://my-reviews/rows/", "validation": "s3://my-reviews/rows/_old/"},
        {"data": "s3://my-reviews/rows/", "validation": "s3://other-reviews/rows/"},
        {"data": "s3://my-reviews/rows/", "model": "s3://my-reviews/rows/"},
        {"data": "s3://my-reviews/s/", "validation": "s3://my-reviews/s/", "test": "s3://my-reviews/s/test/"},
    ],
    ids=str,
)
def test_objects_in_s3_that_no_two_splits_have_are_accepted(uris):
    assert in_s3(**uris) == {}
    assert in_s3(is_listed=False, **uris) == {}


def test_an_object_that_nobody_has_listed_is_compared_too():
    one = "s3://my-reviews/rows/a.tsv"
    with pytest.raises(UserError, match="--validation and --test both have the file s3://my-reviews/rows/a.tsv"):
        in_s3(is_listed=False, data="s3://my-reviews/s/", validation=one, test=one)
