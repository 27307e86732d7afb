"""The records each Python client writes and must read back: keys, null keys, null values, headers with duplicate keys and null values."""

COUNT = 10_000
PARTITIONS = 3
#: kafka-python refuses headers without a value when it writes: its script turns them off.
null_headers = True


def record(index):
    """(partition, key, value, headers) of record `index`. Some clients refuse a record without key and value, so there is none."""
    key = None if index % 5 == 0 else b"key-%d" % index
    value = None if index % 97 == 0 and key else b"value-%d-" % index + b"x" * (index % 200)
    headers = [("trace", b"%d" % index), ("trace", b"again"), ("empty", b"")]
    if index % 3 == 0 and null_headers:
        headers.append(("null", None))
    return index % PARTITIONS, key, value, headers


def expected():
    """What each partition must hold, in order."""
    partitions = [[] for _ in range(PARTITIONS)]
    for index in range(COUNT):
        partition, key, value, headers = record(index)
        partitions[partition].append((key, value, headers))
    return partitions


def compare(seen):
    """Ends the program with what differs first."""
    wanted = expected()
    for partition in range(PARTITIONS):
        if len(seen[partition]) != len(wanted[partition]):
            raise SystemExit(
                f"partition {partition}: {len(seen[partition])} records read, {len(wanted[partition])} written"
            )
        for offset, (got, want) in enumerate(zip(seen[partition], wanted[partition])):
            if got != want:
                raise SystemExit(f"partition {partition} offset {offset}: read {got!r}, written {want!r}")
