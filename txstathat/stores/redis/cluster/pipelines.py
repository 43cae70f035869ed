"""
Commands to many keys of a Redis Cluster, in one pipeline for each node, to all nodes at
once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from redis import exceptions
from redis.crc import key_slot

from txstathat.stores.redis.keys import CACHED_NAMES

__all__ = ["CLIENT_ERRORS", "PAUSES", "Command", "Pipelines", "evaluate"]

#: How long to wait before each attempt to send a command, in seconds: a moved slot is
#: found at once, a slot in the middle of a move is soon moved.
PAUSES = (0.0, 0.0, 0.02, 0.1, 0.25)

#: What the client of a cluster raises. (Not all of it is a ``RedisError``.)
CLIENT_ERRORS = (exceptions.RedisError, exceptions.RedisClusterException)

# A node's answers after which to ask for the present nodes of the slots.
_OUTDATED = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.MovedError,
    exceptions.ReadOnlyError,
    exceptions.MasterDownError,
    exceptions.ClusterDownError,
)
# Those after which to try again at once.
_REDIRECTED = (
    exceptions.MovedError,
    exceptions.AskError,
    exceptions.TryAgainError,
    exceptions.ReadOnlyError,
    exceptions.ConnectionError,
)


@dataclass(frozen=True, slots=True)
class Command:
    """
    A command, as it is sent.

    :ivar key: one of its keys.
    :ivar packed: its bytes.
    """

    key: str
    packed: bytes

    @classmethod
    def of(cls, name: str, key: str, *arguments: str) -> Command:
        """
        Return a command whose first argument is the key.
        """
        return cls(key, _pack(name, key, *arguments))

    @classmethod
    def time(cls, key: str) -> Command:
        """
        Return a command for the time of the node that has a key.
        """
        return cls(key, _pack("TIME"))


def evaluate(
    digest: str, keys: Sequence[str], *arguments: str, node_of: str = ""
) -> Command:
    """
    Return a command that runs a script.

    :param digest: the SHA-1 of the script.
    :param keys: its keys, all in one slot.
    :param arguments: its arguments.
    :param node_of: for a script without keys: a key on the node that is to run it.
    """
    packed = _pack("EVALSHA", digest, str(len(keys)), *keys, *arguments)
    return Command(keys[0] if keys else node_of, packed)


def _pack(*words: str) -> bytes:
    text = "".join([f"${len(word)}\r\n{word}\r\n" for word in words])
    if text.isascii():
        return f"*{len(words)}\r\n{text}".encode("ascii")
    parts = [word.encode("utf-8") for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(
        b"$%d\r\n%b\r\n" % (len(part), part) for part in parts
    )


@lru_cache(CACHED_NAMES)
def _slot_of(key: str) -> int:
    return key_slot(key.encode("utf-8"))


#: What a node answered, or why it did not.
Reply: TypeAlias = Any
_Address: TypeAlias = tuple[str, int]


class Pipelines:
    """
    Runs commands on the nodes of a cluster.

    :param client: the client of the cluster, a ``redis.cluster.RedisCluster``.
    :param scripts: the scripts that commands use.
    :param optional: scripts that an older server may refuse.
    :param pause: waits for some seconds.
    """

    def __init__(
        self,
        client: Any,
        scripts: Sequence[str] = (),
        optional: Sequence[str] = (),
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._client = client
        self._scripts = scripts
        self._optional = optional
        self._pause = pause
        self._has_optional = bool(optional)

    def run_by_node(
        self,
        keys: Sequence[str],
        of_node: Callable[[Sequence[int]], Command],
        of_one: Callable[[int], Command],
    ) -> list[bytes]:
        """
        Run scripts that change nothing when they are repeated: one of the optional
        scripts on each node; or, where a slot is not wholly on the node or the server
        is older, a script for each thing.

        :param keys: a key of each thing.
        :param of_node: returns the command for things on one node, by their numbers. It
            replies with a line for each.
        :param of_one: returns the command for one of them.
        :returns: the line for each.
        """
        lines: dict[int, bytes] = {}
        if self._has_optional:
            nodes: dict[str, list[int]] = {}
            for n, key in enumerate(keys):
                nodes.setdefault(self._node(key, None).name, []).append(n)
            commands = [of_node(numbers) for numbers in nodes.values()]
            for numbers, reply in zip(
                nodes.values(), self._attempt_once(commands), strict=True
            ):
                if isinstance(reply, bytes):
                    lines.update(zip(numbers, reply.split(b"\n"), strict=True))
        left = [n for n in range(len(keys)) if n not in lines]
        lines.update(zip(left, self.run([of_one(n) for n in left]), strict=True))
        return [lines[n] for n in range(len(keys))]

    def _attempt_once(self, commands: Sequence[Command]) -> list[Reply]:
        """
        Send commands, and do not repeat them where that would need another node.

        :returns: the replies; for a command that failed, the error.
        """
        replies: list[Reply] = [None] * len(commands)
        waiting = list(range(len(commands)))
        for _ in range(2):
            if self._attempt(commands, waiting, {}, replies):
                self._client.nodes_manager.initialize()
            waiting = [
                n for n in waiting if isinstance(replies[n], exceptions.NoScriptError)
            ]
        return replies

    def run(self, commands: Sequence[Command]) -> list[Reply]:
        """
        Run commands that change nothing when they are repeated.

        :returns: the replies.
        :raises Exception: one of :data:`CLIENT_ERRORS` if a command failed, after all
            were sent.
        """
        replies: list[Reply] = [None] * len(commands)
        waiting = list(range(len(commands)))
        targets: dict[int, _Address] = {}
        for number, pause in enumerate(PAUSES):
            if pause:
                self._pause(pause)
            outdated = self._attempt(commands, waiting, targets, replies)
            failed = [n for n in waiting if isinstance(replies[n], Exception)]
            if not failed:
                return replies
            waiting = [n for n in failed if isinstance(replies[n], _REDIRECTED)]
            waiting += [
                n for n in failed if isinstance(replies[n], exceptions.NoScriptError)
            ]
            targets = {
                n: (error.host, int(error.port))
                for n in waiting
                if isinstance(error := replies[n], exceptions.AskError)
            }
            last = number == len(PAUSES) - 1
            if outdated:
                self._client.nodes_manager.initialize()
            if last or len(waiting) < len(failed):
                raise replies[failed[0]]
        return replies

    def _attempt(
        self,
        commands: Sequence[Command],
        waiting: Sequence[int],
        targets: dict[int, _Address],
        replies: list[Reply],
    ) -> bool:
        """
        Send commands, and read the replies.

        :returns: whether the nodes of slots are no longer the known ones.
        """
        by_node: dict[str, tuple[Any, list[int]]] = {}
        for n in waiting:
            try:
                node = self._node(commands[n].key, targets.get(n))
            except CLIENT_ERRORS as error:
                replies[n] = error
                continue
            by_node.setdefault(node.name, (node, []))[1].append(n)
        sent = []
        for node, numbers in by_node.values():
            sent.append(self._send(node, numbers, commands, targets, replies))
        for connection, pool, numbers in filter(None, sent):
            self._receive(connection, pool, numbers, targets, replies)
        for node, numbers in by_node.values():
            if any(isinstance(replies[n], exceptions.NoScriptError) for n in numbers):
                self._load_scripts(node)
        return any(isinstance(replies[n], _OUTDATED) for n in waiting)

    def _node(self, key: str, target: _Address | None) -> Any:
        if target is not None:
            node = self._client.get_node(*target)
            if node is None:
                self._client.nodes_manager.initialize()
                node = self._client.get_node(*target)
            if node is not None:
                return node
        slot = _slot_of(key)
        nodes = self._client.nodes_manager
        known = nodes.slots_cache.get(slot)
        # get_node_from_slot is slow, and raises the error for an unknown node.
        return known[0] if known else nodes.get_node_from_slot(slot)

    def _send(
        self,
        node: Any,
        numbers: list[int],
        commands: Sequence[Command],
        targets: dict[int, _Address],
        replies: list[Reply],
    ) -> tuple[Any, Any, list[int]] | None:
        pool = self._client.get_redis_connection(node).connection_pool
        connection = None
        try:
            connection = pool.get_connection()
            # In one piece: else the node wakes up, and syncs its log, for each command.
            packed = [
                (_ASKING if n in targets else b"") + commands[n].packed for n in numbers
            ]
            connection.send_packed_command([b"".join(packed)])
        except (*CLIENT_ERRORS, OSError) as error:
            _give_up(pool, connection)
            _set(replies, numbers, error)
            return None
        return connection, pool, numbers

    def _receive(
        self,
        connection: Any,
        pool: Any,
        numbers: list[int],
        targets: dict[int, _Address],
        replies: list[Reply],
    ) -> None:
        for index, n in enumerate(numbers):
            try:
                if n in targets:
                    connection.read_response()
                replies[n] = connection.read_response()
            except exceptions.ResponseError as error:
                replies[n] = error
            except (*CLIENT_ERRORS, OSError) as error:
                _give_up(pool, connection)
                _set(replies, numbers[index:], error)
                return
        pool.release(connection)

    def _load_scripts(self, node: Any) -> None:
        redis = self._client.get_redis_connection(node)
        for script in self._scripts:
            redis.script_load(script)
        try:
            for script in self._optional if self._has_optional else ():
                redis.script_load(script)
        except exceptions.ResponseError:
            self._has_optional = False


_ASKING = _pack("ASKING")


def _give_up(pool: Any, connection: Any) -> None:
    if connection is not None:
        connection.disconnect()
        pool.release(connection)


def _set(replies: list[Reply], numbers: Sequence[int], error: Exception) -> None:
    if isinstance(error, OSError):
        error = exceptions.ConnectionError(str(error))
    for n in numbers:
        replies[n] = error
