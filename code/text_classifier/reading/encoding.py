"""Text of any encoding as UTF-8."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Callable, Iterator

from text_classifier.contract.errors import DataError, SettingsError

#: The value of the hyperparameter `encoding` that reads lines that are not UTF-8 as FALLBACK.
AUTO = "auto"
FALLBACK = "windows-1252"

#: Byte order marks, the longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip

#: First bytes of the formats that are not text: Parquet, Arrow files and streams.
BINARY = (b"PAR1", b"ARROW1\x00\x00", b"\xff\xff\xff\xff")

#: Bytes without a line feed after which a block is decoded, as in a JSON array on one line.
_LONGEST = 1 << 22

#: From Latin-1 to FALLBACK. Browsers read the five bytes that are no character of it as Latin-1's control characters.
_WINDOWS = {byte: bytes([byte]).decode(FALLBACK, "ignore") or chr(byte) for byte in range(0x80, 0xA0)}

_TO_LAST_ASCII = re.compile(rb"[\x00-\xff]*[\x00-\x7f]")

#: Codecs of Python that are not encodings of files.
_NO_ENCODINGS = ("utf-7", "idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined")


def as_utf8(content: Iterator[bytes], name: str, encoding: str, note: Callable[[str], None]) -> Iterator[bytes]:
    """The blocks of a file, its text as UTF-8 without a byte order mark; a file that is not text unchanged.

    Without `encoding` a byte order mark tells it, else it is UTF-8. Bytes that are not UTF-8 are left as they are then:
    fields.py reports the row. Raises SettingsError for an encoding that does not exist, and DataError for bytes that
    are not of it.
    """
    codec = _codec(encoding)
    head = next(content, b"")
    if head.startswith(BINARY):
        yield head
        yield from content
        return
    mark, marked = next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), (b"", ""))
    head = head.removeprefix(mark)
    whole = itertools.chain([head], content)
    if (marked or codec) != "utf-8":
        if not marked and _is_beyond_ascii(head):
            note(f"WARNING: {name} looks like UTF-8, but is read as {codec}; unset encoding if its texts are garbled")
        yield from _decoded(whole, name, marked or codec)
        return
    _refuse_unmarked(head, name)
    if encoding.lower() == AUTO:
        yield from _utf8_else_fallback(whole, name, note)
    else:
        yield from whole


def is_utf8(head: bytes, encoding: str) -> bool:
    """Whether `as_utf8` leaves a file that begins with `head` as it is, but for a byte order mark."""
    if encoding.lower() == AUTO or _codec(encoding) != "utf-8":
        return False
    return not any(head.startswith(mark) for mark, name in _MARKS if name != "utf-8")


def _codec(encoding: str) -> str:
    """Python's name of an encoding. Raises SettingsError."""
    if encoding.lower() in ("", AUTO):
        return "utf-8"
    try:
        codec = codecs.lookup(encoding)
        b"a".decode(codec.name, "ignore")  # fails for codecs that decode no text, such as base64
    except (LookupError, ValueError):
        codec = None
    if codec is None or codec.name.replace("_", "-") in _NO_ENCODINGS:
        raise SettingsError(
            f"encoding={encoding!r} is not supported; use an encoding such as windows-1252, latin-1, utf-16, "
            "shift_jis or gb18030, or auto"
        )
    return codec.name.removesuffix("-sig")


def _refuse_unmarked(head: bytes, name: str) -> None:
    """Raise DataError for UTF-16 without a byte order mark: every other byte of its Latin letters is zero."""
    even, odd = head[:1000:2].count(0), head[1:1000:2].count(0)
    for codec, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > len(head[:1000]) // 4 and others < zeros // 8:
            raise DataError(f"{name} seems to be UTF-16 without a byte order mark; set encoding={codec}")


def _is_beyond_ascii(head: bytes) -> bool:
    """Whether the first block of a file is UTF-8 with characters that are not ASCII."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not head.isascii()


def _decoded(content: Iterator[bytes], name: str, codec: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(codec)()
    try:
        for block in content:
            yield decoder.decode(block).encode("utf-8", "surrogatepass")
        yield decoder.decode(b"", final=True).encode("utf-8", "surrogatepass")
    except UnicodeError as error:
        reason = getattr(error, "reason", str(error))
        raise DataError(f"{name} is not {codec} ({reason}); set encoding to that of the file") from None


def _utf8_else_fallback(content: Iterator[bytes], name: str, note: Callable[[str], None]) -> Iterator[bytes]:
    others = 0
    for part in _whole_lines(content):
        text, count = _line_by_line(part)
        others += count
        yield text
    if others:
        lines = "1 line that is" if others == 1 else f"{others:,} lines that are"
        note(f"WARNING: {name} has {lines} not UTF-8, read as {FALLBACK}; look at the texts")


def _whole_lines(content: Iterator[bytes]) -> Iterator[bytes]:
    """The content in parts that end with a line; a part of a very long line ends with an ASCII character."""
    rest = b""
    for block in content:
        rest += block
        end = rest.rfind(b"\n") + 1
        if not end and len(rest) > _LONGEST:
            ascii_end = _TO_LAST_ASCII.match(rest)
            end = ascii_end.end() if ascii_end else len(rest)
        if end:
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _line_by_line(text: bytes) -> tuple[bytes, int]:
    """The text in UTF-8, and how many of its lines were not."""
    try:
        text.decode()
    except UnicodeDecodeError:
        lines = [_line(line) for line in text.split(b"\n")]
        return b"\n".join(line for line, _ in lines), sum(is_other for _, is_other in lines)
    return text, 0


def _line(line: bytes) -> tuple[bytes, bool]:
    try:
        line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1").translate(_WINDOWS).encode(), True
    return line, False
