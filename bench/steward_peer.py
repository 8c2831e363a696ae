"""DuckDB's side of bench/run steward: the same file, types, checks and counts. Prints one JSON object."""
import json
import os
import resource
import sys
import time

import duckdb

path, threads = sys.argv[1], int(sys.argv[2])
types = {"customer_id": "BIGINT", "state": "VARCHAR", "account_length": "INTEGER", "area_code": "VARCHAR",
         "international_plan": "VARCHAR", "voice_mail_plan": "VARCHAR", "number_vmail_messages": "INTEGER"}
ranges = {"customer_id": (1, 2**62), "account_length": (0, 1000), "number_vmail_messages": (0, 100)}
for when in ("day", "eve", "night", "intl"):
    types |= {f"total_{when}_minutes": "DOUBLE", f"total_{when}_calls": "INTEGER", f"total_{when}_charge": "DOUBLE"}
    ranges |= {f"total_{when}_minutes": (0, 1440), f"total_{when}_calls": (0, 1000), f"total_{when}_charge": (0, 1000)}
types |= {"number_customer_service_calls": "INTEGER", "churn": "VARCHAR"}
ranges["number_customer_service_calls"] = (0, 100)
states = ("KS OH NJ OK AL MA MO LA WV IN RI IA MT NY ID VT VA TX FL CO AZ SC NE WY HI IL NH GA AK MD AR WI OR MI DE UT CA MN "
          "SD NC WA NM NV DC KY ME MS TN PA CT ND").split()
sets = {"state": states, "area_code": ["area_code_408", "area_code_415", "area_code_510"], "international_plan": ["no", "yes"],
        "voice_mail_plan": ["no", "yes"], "churn": ["no", "yes"]}

quoted = lambda texts: ", ".join(f"'{t}'" for t in texts)
outside = " OR ".join(f"{c} < {lo} OR {c} > {hi}" for c, (lo, hi) in ranges.items())
unknown = " OR ".join(f"{c} NOT IN ({quoted(v)})" for c, v in sets.items())
missing = " OR ".join(f"{c} IS NULL" for c in types)
columns = "{" + ", ".join(f"'{c}': '{t}'" for c, t in types.items()) + "}"
# Rows with a cell of another type are skipped by the reader (ignore_errors); what is missing from the file's lines are
# those. All else is counted in one pass over the scan, as ours does.
query = f"""
SELECT count(*), count(*) FILTER (WHERE {missing}), count(*) FILTER (WHERE {outside}), count(*) FILTER (WHERE {unknown}),
       count(customer_id) - count(DISTINCT customer_id)
FROM read_csv('{path}', header = true, delim = ',', quote = '"', escape = '"', auto_detect = false, parallel = true,
              columns = {columns}, ignore_errors = true)
"""
start = time.perf_counter()
db = duckdb.connect(":memory:", config={"threads": threads})
rows, nulls, out_of_range, not_allowed, duplicates = db.execute(query).fetchone()
seconds = time.perf_counter() - start
with open(path, "rb") as file:
    lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
rejected = lines - 1 - rows
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"seconds": seconds, "bytes": os.path.getsize(path), "rss": usage.ru_maxrss * 1024,
                  "cpu": usage.ru_utime + usage.ru_stime, "version": duckdb.__version__,
                  "counts": {"rows": rows + rejected, "type": rejected, "null": nulls, "range": out_of_range,
                             "values": not_allowed, "key": duplicates}}))
