#!/usr/bin/env python3
"""The chain of docs/journal.md in a second language: prints the hashes that journal_test.cpp pins."""
import hashlib
import struct


def entry_hash(previous, seq, time, epoch, *texts):
    data = previous + struct.pack("<QqQ", seq, time, epoch)
    for text in texts:
        data += struct.pack("<I", len(text)) + text
    return hashlib.sha256(data).digest()


# kind, goal, step, subject, key, actor, text, body
a = entry_hash(bytes(32), 1, 1700000000123456789, 1,
               b"goal_submitted", b"g-01", b"", b"g-01", b"", b"cli:alice", b"submit churn", b'{"digest":"ab"}')
b = entry_hash(a, 2, 1700000001000000000, 2**64 - 1,
               b"decision", b"g-01", b"search", b"", "k\u00e4y".encode(), b"", b"", b"{}")
c = entry_hash(b, 3, -1, 0, b"note", b"", b"", b"", b"", b"", b"", b"a\0b")
for h in (a, b, c):
    print(h.hex())
