"""The Hugging Face hub: whether it answers, asked once and quickly, and its refusals in one line.

The client library retries a dead hub for most of a minute before it gives up; a user who mistyped
a directory should hear of it at once. What went wrong is told by the type of the client's error.
"""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from huggingface_hub import constants
from huggingface_hub.errors import (  # type: ignore[attr-defined]
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from backend.errors import InputError, first_line

TIMEOUT_S = 4.0

What = Literal["model", "data set"]

_FOLDERS: dict[What, str] = {"model": "", "data set": "datasets/"}
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")


def hub_answers() -> bool:
    """Whether the hub can be asked; False at once offline, else after at most ``TIMEOUT_S``."""
    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []
    # In a thread, as looking up the host's name has no time limit of its own.
    asking = threading.Thread(target=lambda: answers.append(_asked()), daemon=True)
    asking.start()
    asking.join(TIMEOUT_S)
    return any(answers)


@contextmanager
def one_line_errors(name: str, revision: str | None, what: What = "model") -> Iterator[None]:
    """What the hub's client raises, as one line for people."""
    where = f"{what} {name}"
    try:
        yield
    except GatedRepoError as error:
        raise InputError(
            "is gated on the hub",
            where=where,
            hint=f"Accept its terms on {constants.ENDPOINT}/{_FOLDERS[what]}{name} and set "
            "HF_TOKEN to a token of that account.",
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"is neither a local directory nor a {what} on the hub that may be read",
            where=where,
            hint=f"Check the spelling; a private {what} needs HF_TOKEN.",
        ) from error
    except RevisionNotFoundError as error:
        raise InputError(
            f"has no revision {revision!r} on the hub",
            where=where,
            hint="Give a branch, a tag or a whole commit hash.",
        ) from error
    except DisabledRepoError as error:
        raise InputError("is disabled on the hub", where=where) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise InputError(
            f"the hub answers with status {status}",
            where=where,
            hint="Check HF_TOKEN." if status in (401, 403) else "Try again later.",
        ) from error
    except (HTTPError, LocalEntryNotFoundError) as error:
        raise unreachable(where) from error
    except OSError as error:
        raise InputError(f"cannot be downloaded ({first_line(error)})", where=where) from error


def check_name(name: str, where: str) -> None:
    """InputError for what cannot be a repository's name, such as a path."""
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError("no such directory", where=where) from error


def check_revision(revision: str | None, where: str) -> None:
    """InputError for what is no branch, tag or commit."""
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError(f"{revision!r} is no revision", where=where)


def unreachable(where: str) -> InputError:
    """The error for what is neither here nor can be asked for."""
    if constants.HF_HUB_OFFLINE:
        return InputError(
            "is not a local directory, is not in the hub's local cache, and the hub is switched "
            "off (HF_HUB_OFFLINE)",
            where=where,
        )
    return InputError(
        "is not a local directory and the hub cannot be reached",
        where=where,
        hint="Give a local directory or file, or check the network.",
    )


def _asked() -> bool:
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310
    try:
        urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
    except urllib.error.HTTPError:
        return True  # it answers, if with an error
    except OSError:
        return False
    return True
