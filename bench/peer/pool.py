#!/usr/bin/env python3
"""Python's multiprocessing.Pool as a competitor; peer.h describes the protocol.

The task is one long call into C, as it has to be for a fair comparison: the loads measure what
running things in other processes costs, not the speed of the interpreter.
"""
import concurrent.futures
import hashlib
import mmap
import multiprocessing
import platform
import sys
import time

STRIDE = 64 * 1024
PBKDF2_NS = 180  # of one round, about; what counts is that serial and parallel runs do the same

memory = None
part = rounds = 0


def hash_item(item):
    return hashlib.pbkdf2_hmac("sha256", b"dist", item.to_bytes(4, "little"), rounds)


def read_item(item):
    begin = item * part // STRIDE * STRIDE
    return sum(memory[begin : begin + part : STRIDE])


def copy_item(item):
    return item


def touch(size, huge):
    """A private mapping, as that of a bytearray of this size, but with a say in its pages."""
    block = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.madvise(mmap.MADV_HUGEPAGE if huge else mmap.MADV_NOHUGEPAGE)
    for page in range(0, size, mmap.PAGESIZE):
        block[page] = 1
    return block


class Runner:
    def __init__(self, args):
        global memory, part, rounds
        self.futures = None
        self.n = int(args["n"])
        self.variant = args["variant"]
        self.workers = int(args["workers"]) or int(args["cpus"])
        size = int(args["size"])
        self.items = range(self.n)
        if args["load"] == "copy":
            part = size // self.n
            self.items, self.task = [bytes([i % 256]) * part for i in range(self.n)], copy_item
        elif args["load"].startswith("read-"):
            memory, part, self.task = touch(size, args["load"] == "read-huge"), size // self.n, read_item
        elif size == 0:
            self.task = abs  # as short as a call into C can be
        else:
            rounds, self.task = max(1, size // self.n // PBKDF2_NS), hash_item
        self.context = multiprocessing.get_context("fork")
        warm = self.variant in ("warm", "apply", "one-by-one")
        self.warm_pool = self.context.Pool(self.workers) if warm else None
        if self.variant.startswith("futures"):
            self.futures = concurrent.futures.ProcessPoolExecutor(self.workers, self.context)
            self.futures.submit(self.task, self.items[0]).result()
        self.expected = self.results = None

    def run(self):
        if self.variant == "serial":
            self.results = [self.task(i) for i in self.items]
        elif self.variant == "apply":
            self.results = self.warm_pool.apply(self.task, (self.items[0],))
        elif self.variant == "one-by-one":
            pending = [self.warm_pool.apply_async(self.task, (i,)) for i in self.items]
            self.results = [one.get() for one in pending]
        elif self.variant.startswith("futures"):
            pending = [self.futures.submit(self.task, i) for i in self.items]
            self.results = [one.result() for one in pending]
        elif self.warm_pool:
            self.results = self.warm_pool.map(self.task, self.items)
        else:
            with self.context.Pool(self.workers) as pool:
                self.results = pool.map(self.task, self.items)

    def sample(self):
        begin = time.perf_counter_ns()
        self.run()
        ns = time.perf_counter_ns() - begin
        self.expected = self.expected or self.results
        return str(ns) if self.results == self.expected else "fail wrong results"

    def close(self):
        if self.futures:
            self.futures.shutdown()
        if self.warm_pool:
            self.warm_pool.terminate()
            self.warm_pool.join()


def main():
    runner = Runner(dict(argument.split("=", 1) for argument in sys.argv[1:]))
    print("hello Python", platform.python_version(), flush=True)
    for command in sys.stdin:
        answer = runner.sample()
        print("ok" if command == "warm\n" and answer.isdigit() else answer, flush=True)
    runner.close()


if __name__ == "__main__":
    main()
