"""The benchmark's peers in Python: `peers.py WORK ITEMS [HOW…]`.

Each function does its items as fast as the standard library can with two processes, compares the sum with a plain
computation, and prints the seconds it took, without the start of the interpreter.
"""

import json
import multiprocessing
import os
import struct
import sys
import time
from concurrent.futures import ProcessPoolExecutor

WORKERS = 2
MASK = (1 << 64) - 1
A, C = 6364136223846793005, 1442695040888963407
FORK = multiprocessing.get_context("fork")


def record(n):
    return (n, n * 0.5, n % 7, (n & 0xFFFFFFFF) ^ 0xABCD)


def step(item):
    n, value, kind, flags = item
    return (n, value * 2.0, kind, ((flags << 3) | (flags >> 29)) & 0xFFFFFFFF)


def total(items):
    """The sum over records, as the other contestants make it."""
    bits = struct.Struct("<d")
    as_int = int.from_bytes
    return sum(n ^ as_int(bits.pack(v), "little") ^ (k << 32) ^ f for n, v, k, f in items) & MASK


def burn(x, steps):
    for _ in range(steps):
        x = (x * A + C) & MASK
    return x


def burnt(x, steps):
    factor, summand, a, c = 1, 0, A, C
    while steps:
        if steps & 1:
            factor, summand = factor * a & MASK, (summand * a + c) & MASK
        a, c = a * a & MASK, (c * a + c) & MASK
        steps >>= 1
    return (x * factor + summand) & MASK


def steps_for(microseconds):
    """The best of many short trials: whatever disturbs one makes it slower."""
    trials = []
    for _ in range(100):
        begun = time.perf_counter()
        burn(1, 2000)
        trials.append(time.perf_counter() - begun)
    return max(1, round(microseconds * 2000 / (min(trials) * 1e6)))


STEPS = 0


def work(n):
    return burn(n, STEPS)


def mapped(how, function, items, chunks):
    """The results of `function` over the items, and the time; with the chunk size that a sample liked best."""

    def run(items, chunk):
        begun = time.perf_counter()
        if how == "pool":
            with FORK.Pool(WORKERS) as pool:
                results = pool.map(function, items, chunksize=chunk)
        else:
            with ProcessPoolExecutor(WORKERS, mp_context=FORK) as executor:
                results = list(executor.map(function, items, chunksize=chunk))
        return results, time.perf_counter() - begun

    sample = items[: max(len(items) // 5, 1)]
    best = min(chunks, key=lambda chunk: run(sample, chunk)[1])
    return run(items, best)


def pool(count, how, microseconds):
    global STEPS
    STEPS = steps_for(float(microseconds))
    results, seconds = mapped(how, work, range(count), (16, 64, 256, 1024))
    return seconds, sum(results) & MASK, sum(burnt(n, STEPS) for n in range(count)) & MASK


def records(count, how):
    items = [record(n) for n in range(count)]
    results, seconds = mapped(how, step, items, (256, 1024, 4096))
    return seconds, total(results), total(map(step, items))


def batches(count, gib, milliseconds):
    """A forked child for each batch of 1000 records, at most two at once; each reads 1000 places of the heap."""
    steps = steps_for(1000) * int(milliseconds)
    heap = bytes(range(256)) * (int(gib) << 22)

    def places(batch):
        return ((batch * 1000 + i) * 0x9E3779B97F4A7C15 % len(heap) for i in range(1000)) if heap else ()

    def batch_of(batch):
        return [record(n) for n in range(batch * 1000, batch * 1000 + 1000)]

    def result(batch, items):
        return burn(sum(n for n, _, _, _ in items) + sum(heap[at] for at in places(batch)), steps)

    begun = time.perf_counter()
    reads, writes = os.pipe()
    running, found = 0, 0
    for batch in range(count):
        items = batch_of(batch)
        if running == WORKERS:
            found += int.from_bytes(os.read(reads, 8), "little")
            os.wait()
            running -= 1
        if os.fork() == 0:
            os.write(writes, result(batch, items).to_bytes(8, "little"))
            os._exit(0)
        running += 1
    for _ in range(running):
        found += int.from_bytes(os.read(reads, 8), "little")
        os.wait()
    seconds = time.perf_counter() - begun
    first = lambda batch: sum(n for n, _, _, _ in batch_of(batch)) + sum(heap[at] for at in places(batch))
    return seconds, found & MASK, sum(burnt(first(batch), steps) for batch in range(count)) & MASK


def main():
    seconds, came_to, due = {"pool": pool, "records": records, "batches": batches}[sys.argv[1]](
        int(sys.argv[2]), *sys.argv[3:]
    )
    if came_to != due:
        sys.exit(f"peers.py: came to the sum {came_to}, not {due}")
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main()
