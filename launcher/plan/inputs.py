"""Where the data of a job comes from: paths on this machine, or URIs in S3."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path

from launcher.plan import checks, instances
from launcher.plan.channels import needed_files
from launcher.plan.s3 import Listing, S3Uri, needed
from text_classifier.contract.data_files import split_name
from text_classifier.contract.errors import UserError

#: The channels of a job in the order of the request, with the options that name their data.
OPTION_OF_CHANNEL = {"train": "data", "validation": "validation", "test": "test", "model": "model"}
FLAGS = {channel: f"--{option}" for channel, option in OPTION_OF_CHANNEL.items()}


def _sources(options: argparse.Namespace) -> dict[str, Path | S3Uri]:
    given = {channel: getattr(options, option, None) for channel, option in OPTION_OF_CHANNEL.items()}
    return {channel: source for channel, source in given.items() if source}


def s3_sources(options: argparse.Namespace) -> dict[str, S3Uri]:
    """The channels whose data is in S3 already."""
    return {channel: source for channel, source in _sources(options).items() if isinstance(source, S3Uri)}


def local_paths(options: argparse.Namespace) -> dict[str, Path]:
    """The channels whose data is on this machine.

    Raises UserError for a path without files, and for a file or an object in S3 that two channels have.
    """
    paths = {channel: source for channel, source in _sources(options).items() if not isinstance(source, S3Uri)}
    for name, path in paths.items():
        if name == "model":
            checks.model_directory(path)
        else:
            checks.channel(FLAGS[name], path)
        checks.file_names(FLAGS[name], path)
    files = {name: needed_files(path) for name, path in paths.items() if name != "model"}
    _require_disjoint({**files, **_objects(options)})
    return paths


def _objects(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """What is known to lie in the channels with rows in S3: the URIs of the objects by their names in the channel."""
    uris = {channel: uri for channel, uri in s3_sources(options).items() if channel != "model"}
    known: dict[str, dict[str, int]] = {uri.bucket: {} for uri in uris.values()}  # sizes by bucket and key
    for channel, uri in uris.items():
        if found := listing(options, channel):
            known[uri.bucket] |= {found.uri.folder + name: size for name, size in found.objects.items()}
        else:
            uris[channel] = uri.guess
            known[uri.bucket] |= {} if uri.guess == uri.as_folder else {uri.key: 1}
    return {
        channel: {
            name: f"s3://{uri.bucket}/{uri.folder}{name}"
            for name in needed(uri, {key: n for key, n in known[uri.bucket].items() if key.startswith(uri.key)})
        }
        for channel, uri in uris.items()
    }


def _require_disjoint(files: Mapping[str, Mapping[str, Path | str]]) -> None:
    """Raise UserError for a file whose rows would be in two splits; `files`: by channel and name."""
    readers: dict[Path | str, str] = {}
    for channel, named in files.items():
        for file in _read_by(channel, named):
            other = readers.setdefault(file.resolve() if isinstance(file, Path) else file, channel)
            if other != channel:
                raise UserError(
                    f"{FLAGS[other]} and {FLAGS[channel]} both have the file {file}, and splits must not share rows; "
                    f"give other rows, or remove {FLAGS[channel]}"
                )


def _read_by(channel: str, files: Mapping[str, Path | str]) -> list[Path | str]:
    """The files that the image reads for a channel: those of other splits are passed over if some are named for it."""
    named = {name: split_name(name.split("/")) for name in files}
    is_divided = channel in named.values()
    return [file for name, file in sorted(files.items()) if not is_divided or named[name] in (channel, None)]


def channel_paths(options: argparse.Namespace) -> dict[str, Path]:
    """All channels as paths on this machine. Raises UserError for a path without files, and for data in S3."""
    for channel, uri in s3_sources(options).items():
        raise UserError(
            f"{FLAGS[channel]} {uri} is in S3, but this command reads files on this machine; copy what you need here "
            "(aws s3 cp --recursive), or train in AWS with `launch.py train`"
        )
    return local_paths(options)


def listing(options: argparse.Namespace, channel: str) -> Listing | None:
    """What lies at the S3 URI of a channel; None if nobody has looked, or it could not be listed."""
    found = options.listings.get(channel)
    return found if isinstance(found, Listing) else None


def _bytes_in_s3(options: argparse.Namespace) -> int:
    return sum(found.size for channel in options.listings if (found := listing(options, channel)))


def reason_to_stream(options: argparse.Namespace) -> str | None:
    """Why data in S3 is streamed although nobody says so; None if it is not."""
    size = _bytes_in_s3(options)
    if options.input_mode or size <= options.volume_size * 10**9 / 2:
        return None
    return f"with FastFile: {size / 10**9:.0f} GB would fill half or more of --volume-size {options.volume_size}"


def check_volume(options: argparse.Namespace) -> None:
    """Reject data in S3 that is to be copied to a disk on which it has no room."""
    family, size = instances.family(options.instance_type), _bytes_in_s3(options)
    if options.input_mode == "File" and size > options.volume_size * 10**9 and not (family and family.has_local_disk):
        raise UserError(
            f"--input-mode File copies {size / 10**9:.0f} GB to a disk of {options.volume_size} GB; raise "
            "--volume-size, or use FastFile"
        )
