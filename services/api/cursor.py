"""Where a page of mentions stopped: opaque to the caller, and only good for the query that it came from.

Newest first by (published_at, id), so mentions that arrive meanwhile neither shift nor repeat what follows.
"""

import base64
import hashlib
import json
from dataclasses import astuple, dataclass
from datetime import datetime
from uuid import UUID

from services.api.selection import Filters, SpikeFilters

_DIGEST_CHARACTERS = 16


@dataclass(frozen=True)
class Cursor:
    """The last mention (or spike, by when it was raised) that was given."""

    published_at: datetime
    id: UUID


class InvalidCursor(ValueError):
    """A cursor was altered, or belongs to another query."""


def encode_cursor(cursor: Cursor, filters: Filters | SpikeFilters) -> str:
    """Return `cursor` as base64url text, bound to `filters`."""
    position = [cursor.published_at.isoformat(), str(cursor.id)]
    payload = json.dumps([*position, _digest(position, filters)], separators=(",", ":"))
    return base64.urlsafe_b64encode(payload.encode()).decode().rstrip("=")


def decode_cursor(text: str, filters: Filters | SpikeFilters) -> Cursor:
    """Return the cursor in `text`; raises InvalidCursor when it is not one of `filters`'s own."""
    try:
        padded = text + "=" * (-len(text) % 4)
        published_at, mention_id, digest = json.loads(base64.b64decode(padded, b"-_", validate=True))
        cursor = Cursor(datetime.fromisoformat(published_at), UUID(mention_id))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InvalidCursor("is not a cursor; take next_cursor from the previous page as it is") from None
    if digest != _digest([published_at, mention_id], filters):
        raise InvalidCursor(
            "belongs to another query; give it with the parameters of the page that it came from"
        )
    return cursor


def _digest(position: list[str], filters: Filters | SpikeFilters) -> str:
    """Return a fingerprint of place and query: it guards against mix-ups, it is no secret."""
    content = json.dumps([position, astuple(filters)], default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:_DIGEST_CHARACTERS]
