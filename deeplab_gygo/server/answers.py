"""Answers to requests that fail: the rule, what was met, a remedy; never a path or a stack."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from deeplab_gygo.errors import (
    DeepLabGygoError,
    DependencyError,
    InputError,
    StorageError,
    UsageError,
)
from deeplab_gygo.io.escaping import printable
from deeplab_gygo.io.locking import InUse
from deeplab_gygo.server.states import Conflict, NotFound, Problem, Unavailable

logger = logging.getLogger(__name__)

MAX_MET = 300
"""Most characters of a value in an answer."""

# An absolute path, of Unix or of Windows; "image/png" and "http://" are none.
_PATH = re.compile(r"""(?<![\w/:.<])(?:[A-Za-z]:\\|/)(?:[^\s'",;:()]+[/\\])+[^\s'",;:()]*""")


class ErrorBody(BaseModel):
    """What is wrong with a request."""

    rule: str = Field(description="Condition that must hold.")
    met: str | None = Field(None, description="What was found instead.")
    remedy: str | None = Field(None, description="What to do.")
    id: str | None = Field(None, description="Entry in the log of the server, of a fault in it.")


class ErrorAnswer(BaseModel):
    """The answer to a request that fails."""

    error: ErrorBody


class Refused(HTTPException):
    """A request is refused.

    Args:
        status: HTTP status, 4xx or 503.
        rule: As in `DeepLabGygoError`; so are the next two.
        met: What was found instead.
        remedy: What to do.
        headers: Headers of the answer.
    """

    def __init__(
        self,
        status: int,
        rule: str,
        met: object | None = None,
        remedy: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(status, rule, dict(headers) if headers else None)
        self.met, self.remedy = met, remedy


def not_found(kind: str) -> Refused:
    """Returns the refusal of an id that is not known."""
    return Refused(
        404, f"There is no such {kind}", remedy=f"List those there are, or make a {kind}"
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Returns the entry of a route for answers with these statuses, beside those of every route."""
    every = (400, 401, 403, 413, 422, 429, 500, 503)
    texts = {
        400: "The request cannot be read, or a value is not allowed.",
        401: "The token is absent or wrong.",
        403: "The request comes from a page of another origin, or names another host.",
        404: "There is no such thing.",
        409: "It cannot be done now.",
        413: "The body is too large.",
        415: "The body is of another type.",
        422: "A value, a clip or a mask is unusable.",
        429: "Too many requests wait.",
        500: "A fault of the server; its log has an entry with the id.",
        503: "The server cannot do it now; try again.",
    }
    return {
        status: {"model": ErrorAnswer, "description": texts[status]}
        for status in sorted({*every, *statuses})
    }


def error_fields(error: DeepLabGygoError) -> dict[str, str | None]:
    """Returns rule, met and remedy of an error as text that names no path."""
    fields = {"rule": error.rule, "met": error.met, "remedy": error.remedy}
    return {key: None if value is None else without_paths(value) for key, value in fields.items()}


def plain_problem(problem: Problem | None) -> Problem | None:
    """Returns the problem of a job without paths."""
    if problem is None:
        return None
    return Problem(**{key: without_paths(text) for key, text in vars(problem).items()})


def without_paths(text: object) -> str:
    """Returns a text in which the last name of every absolute path stands for the path.

    Example:
        >>> without_paths("cannot read /data/clips/a1/clip.mp4: an image/png")
        'cannot read clip.mp4: an image/png'
    """
    text = printable(str(text))
    text = _PATH.sub(lambda found: re.split(r"[/\\]", found[0].rstrip("/\\"))[-1], text)
    return text if len(text) <= MAX_MET else f"{text[:MAX_MET]}..."


def error_response(
    status: int,
    rule: str,
    met: object | None = None,
    remedy: str | None = None,
    *,
    identity: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Makes the answer to a request that fails."""
    body = {"rule": rule, "met": None if met is None else printable(str(met))[:MAX_MET]}
    body |= {"remedy": remedy, "id": identity}
    return JSONResponse({"error": body}, status, dict(headers) if headers else None)


def status_of(error: DeepLabGygoError) -> int:
    """Returns the HTTP status for an error of the package."""
    kinds: tuple[tuple[type[DeepLabGygoError], int], ...] = (
        (NotFound, 404), (Conflict, 409), (InUse, 409), (DependencyError, 400), (UsageError, 400),
        (InputError, 422), (Unavailable, 503), (StorageError, 503),
    )  # fmt: skip
    return next((status for kind, status in kinds if isinstance(error, kind)), 500)


def unexpected(error: BaseException, where: str) -> Response:
    """Logs a fault of the server with an id; returns an answer that has the id alone."""
    identity = secrets.token_hex(6)
    logger.error("error %s in %s", identity, printable(where), exc_info=error)
    return error_response(
        500,
        "The server answers every request",
        "an unexpected error",
        "Look for the id in the log of the server",
        identity=identity,
    )


def add_handlers(app: FastAPI) -> None:
    """Makes all errors of an application answers of this form."""

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        rule, met, remedy = str(error.detail), None, None
        if isinstance(error, Refused):
            met, remedy = error.met, error.remedy
        elif error.status_code == 404:
            rule, remedy = "There is no such address", "See /openapi.json"
        elif error.status_code == 405:
            rule, met = "The address takes other methods", request.method
        return error_response(error.status_code, rule, met, remedy, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        message = without_paths(first["msg"])
        met = f"{place}: {message}" if place else message
        return error_response(422, "A request fits the schema", met, "See /openapi.json")

    @app.exception_handler(DeepLabGygoError)
    async def known(request: Request, error: DeepLabGygoError) -> Response:
        status = status_of(error)
        if status >= 500:
            logger.error("%s %s: %s", request.method, request.url.path, error)
        return error_response(status, **error_fields(error))  # type: ignore[arg-type]
