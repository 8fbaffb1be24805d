"""Read the values of `key=value` words as they were typed, where Hydra's grammar would read them otherwise.

To Hydra `name=2024_11` is the number 202411, and `dataset.path=~/photos (1)` a syntax error. Here values of text keys
are quoted for Hydra, and whole numbers such as 1e5 are written out. The keys come from the schema.
"""

import os
import re
from collections.abc import Sequence

from hydra.core.override_parser.types import Quote, QuotedString

from gan_lab.config.schema import HYDRA_PATH_KEYS, PATH_KEYS, TEXT_KEYS, WHOLE_KEYS
from gan_lab.files import expand_path

# Words that Hydra reads as this very text: identifiers and paths of them, which no number begins like.
_PLAIN = re.compile(r"(?:[A-Za-z_]|\.{0,2}/)[A-Za-z0-9_./-]*")
_IN_QUOTES = re.compile(r"(['\"])(?:\\.|(?!\1)[^\\])*\1", re.DOTALL)
_NOT_TEXT = {"true", "false", "null", "inf", "nan"}
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_SWEEP_FUNCTION = re.compile(r"(?:range|interval|glob|tag|sort|shuffle)\(.*\)", re.DOTALL)


def as_typed(words: Sequence[str], sweep: bool = False) -> list[str]:
    """Rewrite words for Hydra, so that text and whole numbers mean what was typed. Repeating it changes nothing.

    `~` and `$NAME` are expanded in paths. A value inside quotes (`name='a b'` as Hydra sees it) is the text between
    them, and `key=null` or `key=` is no value. In a sweep commas separate values, except in what exists as a path.
    """
    return [_rewritten(word, sweep) for word in words]


def quoted(text: str) -> str:
    """Quote text for Hydra, only if it must be."""
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT
    return text if plain else QuotedString(text, Quote.single).with_quotes()


def _rewritten(word: str, sweep: bool) -> str:
    start, separator, value = word.partition("=")
    key = start.lstrip("+")
    if key == "extensions" and re.fullmatch(r"[\w.]+", value) and value not in _NOT_TEXT:
        return f"{start}=[{value}]"
    if not separator or not value or key not in TEXT_KEYS | WHOLE_KEYS:
        return word
    choice = re.fullmatch(r"choice\((.*)\)", value, re.DOTALL)
    if not sweep or key in HYDRA_PATH_KEYS or (key in PATH_KEYS and os.path.exists(expand_path(value))):
        return f"{start}={_value(key, value)}"
    if _SWEEP_FUNCTION.fullmatch(value):
        return word
    return f"{start}={','.join(_value(key, part) for part in _split(choice[1] if choice else value))}"


def _value(key: str, text: str) -> str:
    """Return Hydra's spelling of one value."""
    if key in WHOLE_KEYS:
        return _whole(text)
    if text.lower() == "null":
        return "null"
    if text[:1] in ("'", '"') and _end_of_quote(text) == len(text):
        if key not in PATH_KEYS | HYDRA_PATH_KEYS or not re.search(r"[~$]", text):
            return text
        text = _unquoted(text)
    return quoted(expand_path(text) if key in PATH_KEYS | HYDRA_PATH_KEYS else text)


def _whole(text: str) -> str:
    """Write out a whole number that is spelled like 1e5 or 64.0; return anything else as it is."""
    if not _NUMBER.fullmatch(text) or not re.search(r"[.eE]", text):
        return text
    number = float(text)
    return str(int(number)) if abs(number) < 2**63 and number.is_integer() else text


def _end_of_quote(text: str) -> int:
    """Return the index after the quote that closes the one at the start of `text`, or 0 if none does."""
    closed = _IN_QUOTES.match(text)
    return closed.end() if closed else 0


def _unquoted(text: str) -> str:
    """Return what a quoted value stands for: backslashes before a quote, or before the end, are escapes."""
    mark = text[0]
    inner = re.sub(rf"(\\*){mark}", lambda m: m[1][: len(m[1]) // 2] + mark, text[1:-1])
    return re.sub(r"\\+\Z", lambda m: m[0][: len(m[0]) // 2], inner)


def _split(text: str) -> list[str]:
    """Split the values of a sweep at commas that are outside of quotes and not behind a backslash."""
    parts, start, i = [], 0, 0
    while i < len(text):
        if text[i] in "'\"" and not text[start:i].strip() and (end := _end_of_quote(text[i:])):
            i += end
        elif text[i] == ",":
            parts.append(text[start:i])
            start = i = i + 1
        else:
            i += 2 if text[i : i + 2] == "\\," else 1
    return [part.strip().replace("\\,", ",") for part in (*parts, text[start:])]
