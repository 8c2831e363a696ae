"""Tasks that do nothing, on two Dask worker processes; prints what bench_control_plane prints."""
import json
import statistics
import sys
import time


def nothing(x):
    return x


def main():
    import dask
    from distributed import Client, LocalCluster, as_completed

    slots, callers, trials = (int(x) for x in sys.argv[1:4])
    dask.config.set({"distributed.admin.tick.interval": "1s"})
    with LocalCluster(n_workers=slots, threads_per_worker=1, processes=True, dashboard_address=None) as cluster, Client(cluster) as client:
        client.gather([client.submit(nothing, -i, pure=False) for i in range(8)])
        one = []
        for i in range(50):
            begin = time.perf_counter()
            client.submit(nothing, i, pure=False).result()
            one.append(1000 * (time.perf_counter() - begin))
        begin = time.perf_counter()
        flying = as_completed([client.submit(nothing, i, pure=False) for i in range(callers)])
        done, sent = 0, callers
        for future in flying:
            done += 1
            if sent < trials:
                flying.add(client.submit(nothing, sent, pure=False))
                sent += 1
        seconds = time.perf_counter() - begin
        assert done == trials
        one.sort()
        print(json.dumps({"trials": done, "seconds": seconds, "p50_ms": statistics.median(one), "p99_ms": one[-1],
                          "version": __import__("distributed").__version__}))


if __name__ == "__main__":
    main()
