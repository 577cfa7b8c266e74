"""A .db3 file whose newest messages are still in its write-ahead log (-wal): its recorder was killed, or still runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from jepa_ros.sensing.bags.qos import says_latched
from jepa_ros.sensing.bags.records import RawMessage, TopicInfo


def has_log(path: Path) -> bool:
    """Whether a write-ahead log with something in it lies beside a database."""
    log = _log_of(path)
    return log.is_file() and log.stat().st_size > 0


class LoggedSqlite:
    """The messages of a database and of its log. Raises ValueError where SQLite cannot read the two together."""

    def __init__(self, path: Path) -> None:
        try:
            # Not immutable: that would leave the log out.
            self._connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, check_same_thread=False)
            columns = {row[1] for row in self._connection.execute("PRAGMA table_info(topics)")}
            profiles = "offered_qos_profiles" if "offered_qos_profiles" in columns else "''"
            rows = self._connection.execute(
                f"SELECT t.id, t.name, t.type, {profiles}, t.serialization_format, count(m.id) FROM topics t"
                " LEFT JOIN messages m ON m.topic_id = t.id GROUP BY t.id"
            ).fetchall()
            first, last = self._connection.execute("SELECT min(timestamp), max(timestamp) FROM messages").fetchone()
        except sqlite3.Error as error:
            raise ValueError(f"{error}; its log cannot be read with it: sqlite3 {path} 'PRAGMA wal_checkpoint(TRUNCATE)'") from error
        self._topics = {row[0]: (row[1], row[2]) for row in rows if row[4] == "cdr"}
        self.topics = tuple(TopicInfo(name, kind, count, says_latched(qos)) for _, name, kind, qos, form, count in rows if form == "cdr")
        self.start_ns: int = 2**63 - 1 if first is None else first
        self.end_ns: int = 0 if last is None else last + 1
        log = _log_of(path).name
        self.notes: tuple[str, ...] = (f"{path.name}: read with its write-ahead log {log} (a recorder that was killed, or still runs?)",)

    def messages(self, wanted: set[str] | None) -> Iterator[RawMessage]:
        chosen = [number for number, (name, _) in self._topics.items() if wanted is None or name in wanted]
        marks = ",".join("?" * len(chosen))
        rows = self._connection.execute(
            f"SELECT topic_id, timestamp, data FROM messages WHERE topic_id IN ({marks}) ORDER BY timestamp",
            chosen,
        )
        for number, log_time_ns, data in rows:
            yield RawMessage(*self._topics[number], bytes(data), log_time_ns)

    def close(self) -> None:
        self._connection.close()


def _log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")
