"""
The records in Redis: of each kind a hash of texts by id.
"""

from __future__ import annotations

from typing import Any

from txstathat.stores.interface import ANY
from txstathat.stores.redis.keys import KeyNames, as_json

__all__ = ["PUT_RECORD", "Records"]

#: Writes or deletes a record if its present text is the expected one. Returns 1 if it
#: did, else 0.
#:
#: ``KEYS``: the hash of the records. ``ARGV``: the id of the record; and as JSON a list
#: of: a list with the new text, empty to delete; a list with the expected text, empty
#: for none; and whether any text is expected.
PUT_RECORD = """
local plan = cjson.decode(ARGV[2])
local known = redis.call('HGET', KEYS[1], ARGV[1])
if not plan[3] and (known or nil) ~= plan[2][1] then
    return 0
end
if plan[1][1] then
    redis.call('HSET', KEYS[1], ARGV[1], plan[1][1])
else
    redis.call('HDEL', KEYS[1], ARGV[1])
end
return 1
"""


class Records:
    """
    The records of a store.

    :param keys: the names of the keys.
    :param client: the client.
    """

    def __init__(self, keys: KeyNames, client: Any) -> None:
        self._keys = keys
        self._client = client
        self._put = client.register_script(PUT_RECORD)

    def all(self, kind: str) -> dict[str, str]:
        """See :meth:`.IStore.records`."""
        found = self._client.hgetall(self._keys.records(kind))
        return {_text(id): _text(found[id]) for id in sorted(found)}

    def one(self, kind: str, id: str) -> str | None:
        """See :meth:`.IStore.record`."""
        found = self._client.hget(self._keys.records(kind), id)
        return None if found is None else _text(found)

    def put(self, kind: str, id: str, text: str | None, was: str | None) -> bool:
        """See :meth:`.IStore.put_record`."""
        now = [] if text is None else [text]
        before = [] if was in (ANY, None) else [was]
        arguments = [id, as_json([now, before, was == ANY])]
        return bool(self._put(keys=[self._keys.records(kind)], args=arguments))


def _text(reply: bytes) -> str:
    # A damaged record must not keep the others from being read.
    return reply.decode("utf-8", "surrogateescape")
