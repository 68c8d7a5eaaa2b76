"""Faults of object storage: which ones may pass, and what is said of the others."""

from __future__ import annotations

from collections.abc import Iterator

from deeplab_gygo.errors import DeepLabGygoError, InputError, StorageError
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.urls import display

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})  # RFC 9110, RFC 6585, RFC 8470
_CLIENTS = frozenset(
    {"adlfs", "aiobotocore", "aiohttp", "aiooss2", "azure", "botocore", "fsspec", "gcsfs", "google",
     "oss2", "ossfs", "requests", "s3fs", "urllib3"}
)  # fmt: skip
_LOST = (
    "Connection", "Connector", "Timeout", "Incomplete", "Payload", "Disconnected", "RequestError",
    "Streaming",
)  # fmt: skip


class NotFound(InputError):
    """There is nothing at a URL."""


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and its causes."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__


def status_of(error: BaseException) -> int | None:
    """Returns the HTTP status of an answer that an error of a client library is about."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        metadata = response.get("ResponseMetadata")
        return metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
    for holder in (error, response):
        for key in ("status", "status_code", "code"):
            value = getattr(holder, key, None)
            if isinstance(value, int) and 400 <= value < 600:
                return value
    return None


def may_pass(error: BaseException) -> bool:
    """Checks whether another try may succeed."""
    chain = list(chain_of(error))
    # Client libraries have no common class for lost connections; some are no OSError, some have a
    # status of their own making.
    if any(isinstance(each, (ConnectionError, TimeoutError)) or _is_lost(each) for each in chain):
        return True
    statuses = [status for each in chain if (status := status_of(each))]
    if statuses:
        return statuses[-1] in _PASSING
    lasting = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)
    return isinstance(chain[-1], OSError) and not isinstance(chain[-1], lasting)


def _is_lost(error: BaseException) -> bool:
    """Checks whether an error of a client library is about a connection that was lost."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and response.get("Error", {}).get("Code") == "RequestTimeout":
        return True  # with the status 400
    is_client = type(error).__module__.partition(".")[0] in _CLIENTS
    return is_client and any(word in type(error).__name__ for word in _LOST)


def failure_of(url: str, error: Exception, met: str, *, writes: bool) -> DeepLabGygoError:
    """Returns the package's error for one of a client library.

    Args:
        url: The URL.
        error: The error.
        met: Its text, without anything that gives access.
        writes: Whether the operation was one of output.
    """
    if may_pass(error):
        return StorageError(
            "Object storage answers",
            met=printable(met),
            where=display(url),
            remedy="Run the command again later: what is finished stays",
        )
    status = next(filter(None, map(status_of, reversed(list(chain_of(error))))), None)
    refused = status in (401, 403) or isinstance(error, PermissionError)
    refused |= any("Credential" in type(each).__name__ for each in chain_of(error))
    absent = status in (404, 410) or isinstance(error, (FileNotFoundError, NotADirectoryError))
    if absent and not refused:
        kind: type[DeepLabGygoError] = StorageError if writes else NotFound
        rule, remedy = "A URL leads to what exists", "Check the name of the bucket and of the file"
    else:
        kind, rule = StorageError if writes else InputError, "A URL may be read, or written"
        remedy = "Check the credentials of the client library" if refused else "Check the URL"
    return kind(
        rule, met=printable(met), where=display(url), remedy=f"{remedy}, see docs/storage.md"
    )
