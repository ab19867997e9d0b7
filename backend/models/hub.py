"""Whether the model hub can be reached, asked once and quickly.

The client library retries a dead hub for most of a minute before it gives up; a user who mistyped
a directory should hear of it at once.
"""

from __future__ import annotations

import urllib.error
import urllib.request

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from backend.errors import InputError

TIMEOUT_S = 4.0


def require_hub(what: str, name: str, probe: str) -> None:
    """Return if ``probe`` of repository ``name`` is in the local cache or the hub answers.

    Raises InputError otherwise, after at most ``TIMEOUT_S`` seconds; at once for what cannot be a
    repository's name, such as a path.
    """
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError("no such directory", where=f"{what} {name}") from error
    if "/" in name.strip("/") and isinstance(try_to_load_from_cache(name, probe), str):
        return
    if not constants.HF_HUB_OFFLINE:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310
        try:
            urllib.request.urlopen(request, timeout=TIMEOUT_S).close()  # noqa: S310
            return
        except urllib.error.HTTPError:
            return  # it answers, if with an error
        except OSError as error:
            raise _unreachable(what, name) from error
    raise _unreachable(what, name)


def _unreachable(what: str, name: str) -> InputError:
    return InputError(
        "is not a local directory and the model hub cannot be reached",
        where=f"{what} {name}",
        hint="Give a local directory or file, or check the network.",
    )
