#!/usr/bin/env python3
"""A worker in another language: everything a node expects from one, in a page.

Needs pyzmq and msgpack. A node starts it as a child process; see docs/worker-protocol.md for the messages. It runs two
kinds of tasks: "square" (body {"x": 3} -> {"y": 9}) and "steps" (reports three values and stops where the node says so).
"""
import json
import os
import sys
import threading
import time

import msgpack
import zmq


class Worker:
    def __init__(self):
        socket = os.environ["FLYWHEEL_WORKER_SOCKET"]
        self.task, self.step, self.stopped = "", 0, False
        self.outbox, self.inbox = [], []
        self.changed = threading.Condition()
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)  # used by the courier thread only
        self.socket.setsockopt(zmq.LINGER, 1000)
        self.socket.connect("ipc://" + socket)
        self.send(type="hello", version=1, worker=os.environ["FLYWHEEL_WORKER_ID"],
                  token=os.environ.pop("FLYWHEEL_WORKER_TOKEN"), pid=os.getpid())
        threading.Thread(target=self.courier, daemon=True).start()

    def send(self, **message):
        with self.changed:
            self.outbox.append(message)

    def courier(self):
        """Owns the socket: sends, receives, and beats while the main thread computes."""
        every, next_beat = 0.5, None
        while True:
            if self.socket.poll(20):
                message = msgpack.unpackb(self.socket.recv())
                with self.changed:
                    if message["type"] == "welcome":
                        every, next_beat = message["heartbeat_ms"] / 1000, time.monotonic()
                    elif message["type"] == "stop" and message["task"] in ("", self.task):
                        self.stopped = True
                        if not message["task"]:
                            os._exit(0)
                    elif message["type"] in ("task", "verdict"):
                        self.inbox.append(message)
                    self.changed.notify_all()
            with self.changed:
                ready, self.outbox = self.outbox, []
                if next_beat is not None and time.monotonic() >= next_beat:
                    next_beat = time.monotonic() + every
                    ready.append(dict(type="heartbeat", task=self.task, step=self.step, rss_bytes=rss_bytes()))
            for message in ready:
                self.socket.send(msgpack.packb(message))

    def next(self, kind):
        with self.changed:
            while True:
                for i, message in enumerate(self.inbox):
                    if message["type"] == kind:
                        return self.inbox.pop(i)
                if self.stopped and kind == "verdict":
                    return {"go_on": False}
                self.changed.wait()

    def report(self, task, rung, resource, value, standard_error):
        self.send(type="report", task=task["id"], attempt=task["attempt"], rung=rung, resource=resource,
                  value=float(value), standard_error=float(standard_error))
        return self.next("verdict")["go_on"]

    def serve(self, kinds):
        while True:
            task = self.next("task")
            with self.changed:
                self.task, self.step, self.stopped = task["id"], 0, False
            end = dict(task=task["id"], attempt=task["attempt"])
            try:
                body = kinds[task["kind"]](self, task, json.loads(task["body"]))
                end.update(type="done", body=json.dumps(body))
            except MemoryError:
                end.update(type="failed", code="out_of_memory", what="the script ran out of memory", hint="")
            except Exception as problem:  # everything else is told, not died of
                end.update(type="failed", code="library_failed", what=repr(problem)[:4000], hint="")
            with self.changed:
                self.task = ""
                self.outbox.append(end)


def rss_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def square(worker, task, body):
    return {"y": body["x"] ** 2}


def steps(worker, task, body):
    for rung in range(3):
        worker.step = rung
        if not worker.report(task, rung, rung + 1, 0.5 + 0.1 * rung, 0.01):
            return {"stopped_at": rung}
    return {"stopped_at": None}


if __name__ == "__main__":
    if "FLYWHEEL_WORKER_SOCKET" not in os.environ:
        sys.exit("worker.py is started by a Flywheel node, not by hand; see docs/worker-protocol.md")
    Worker().serve({"square": square, "steps": steps})
