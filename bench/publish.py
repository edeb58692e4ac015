"""What publishing costs, beside twine and uv: `make bench-publish`. One run, medians with the spread, on this machine.

Everything is sent to `bench.sink`, plain HTTP on the loopback. Ours is the whole publish step (checks with every CRC,
upload, confirmation) in a process that has imported it, as an Airflow task has when it begins to work; twine and uv are
whole processes, start included, because that is how they are used; their start is printed, too. The runs of the three
alternate, so that a busy machine is busy for all of them.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.imports import import_costs
from bench.rerun import calls_of_a_rerun
from bench.results import beside, verdict

BIN = Path(sys.executable).parent
BLOCK = 16 << 20


def make_wheel(folder: Path, name: str, contents: Sequence[bytes], method: int) -> Path:
    """A wheel with a true RECORD; `contents` are its modules."""
    path, info, rows = folder / f"{name}-1.0-py3-none-any.whl", f"{name}-1.0.dist-info", []
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:

        def add(member: str, content: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(member), content, method, 1)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            rows.append(f"{member},sha256={digest},{len(content)}\n")

        for number, content in enumerate(contents):
            add(f"{name}/part{number}.bin", content)
        add(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n".encode())
        add(f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "".join([*rows, f"{info}/RECORD,,\n"]))
    return path


def parts(megabytes: int, letters: int) -> list[bytes]:
    """Content that is the same at every run; the fewer `letters`, the better it compresses."""
    source, table = random.Random(1), bytes(value % letters for value in range(256))
    count = (megabytes << 20) // BLOCK
    return [source.randbytes(BLOCK).translate(table) for _ in range(count)]


def timed(command: Sequence[str]) -> float:
    """Seconds of a whole process that has to end well."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=bare())
    return time.perf_counter() - begun


def bare() -> dict[str, str]:
    """No proxy and no user's configuration between a client and the sink."""
    return {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}


def ours(port: int, paths: Sequence[Path], warm: Path) -> dict[str, float]:
    """The publish step in a fresh process: see `bench.step`."""
    command = [sys.executable, "-W", "ignore", "-m", "bench.step", str(port), str(warm), *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=bare())
    found: dict[str, float] = json.loads(done.stdout)
    return found


def twine(port: int, paths: Sequence[Path]) -> float:
    """`twine upload`, without its progress bar."""
    url = ["--repository-url", f"http://127.0.0.1:{port}/p/r/", "-u", "user", "-p", "none"]
    return timed([str(BIN / "twine"), "upload", "--non-interactive", "--disable-progress-bar", *url, *map(str, paths)])


def uv(port: int, paths: Sequence[Path]) -> float:
    """`uv publish`."""
    url = ["--publish-url", f"http://127.0.0.1:{port}/p/r/", "-u", "user", "-p", "none"]
    return timed([str(BIN / "uv"), "publish", "--quiet", "--no-progress", *url, *map(str, paths)])


def floor(port: int, path: Path) -> float:
    """SHA-256 of the file, then its bytes through a socket: nobody who tells the hash first can be faster."""
    begun = time.perf_counter()
    with path.open("rb") as stream:
        hashlib.file_digest(stream, "sha256")
    with path.open("rb") as stream, socket.create_connection(("127.0.0.1", port)) as sink:
        head = f"POST /p/r/ HTTP/1.1\r\nHost: sink\r\nContent-Length: {path.stat().st_size}\r\n\r\n"
        sink.sendall(head.encode())
        sink.sendfile(stream)
        sink.recv(1000)
    return time.perf_counter() - begun


def compare(title: str, port: int, paths: Sequence[Path], warm: Path, rounds: int) -> dict[str, float]:
    """Alternate the clients, print a line for each; returns the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", "checks", "sends", "twine", "uv", "floor")}
    grown = []
    for _ in range(rounds):
        own = ours(port, paths, warm)
        grown.append(own["grown_kb"] / 1000)
        for name, value in (
            ("ours", own["seconds"]),
            ("checks", own["checks"]),
            ("sends", own["sends"]),
            ("twine", twine(port, paths)),
            ("uv", uv(port, paths)),
            ("floor", sum(floor(port, path) for path in paths)),
        ):
            seconds[name].append(value)
    print(f"\n{title}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, values in seconds.items():
        indent = "  of it " if name in ("checks", "sends") else ""
        print(f"  {indent + name:14} {medians[name]:7.3f} s   ({min(values):.3f} to {max(values):.3f})")
    medians["grown_mb"] = max(grown)
    print(f"  memory growth of ours: {statistics.median(grown):.1f} MB (at most {max(grown):.1f} MB)")
    return medians


def main() -> int:
    """Run everything; 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=208, help="of the large wheels")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gar-bench-"))
    sink = subprocess.Popen([sys.executable, "-m", "bench.sink"], stdout=subprocess.PIPE, text=True)
    try:
        assert sink.stdout is not None
        port = int(sink.stdout.readline())
        return _run(folder, port, options.rounds, options.megabytes)
    finally:
        sink.terminate()
        sink.wait()
        shutil.rmtree(folder)


def _run(folder: Path, port: int, rounds: int, megabytes: int) -> int:
    warm = make_wheel(folder, "warm", [b"x"], zipfile.ZIP_DEFLATED)
    packed = make_wheel(folder, "packed", parts(megabytes, 256), zipfile.ZIP_DEFLATED)
    compiled = make_wheel(folder, "compiled", parts(megabytes * 2, 16), zipfile.ZIP_DEFLATED)
    small = [make_wheel(folder, f"small{number}", [b"x = 1\n"], zipfile.ZIP_DEFLATED) for number in range(50)]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}, {rounds} rounds")
    starts = [(timed([str(BIN / "twine"), "--version"]), timed([str(BIN / "uv"), "--version"])) for _ in range(rounds)]
    twine_start, uv_start = (statistics.median(values) for values in zip(*starts, strict=True))
    print(f"start of a client alone: twine {twine_start:.2f} s, uv {uv_start:.2f} s")
    large = compare(f"one wheel of {size(packed)} that does not compress (models, data)", port, [packed], warm, rounds)
    dense = compare(
        f"one wheel of {size(compiled)}, unpacked twice that (compiled code)", port, [compiled], warm, rounds
    )
    many = compare("50 small wheels", port, small, warm, rounds)
    rerun: dict[str, Any] = calls_of_a_rerun(small)
    print(f"\n50 small wheels again, all present: {rerun}")
    imports = import_costs(rounds)
    for what, found in (
        (f"publish a wheel of {size(packed)}", large),
        (f"publish a wheel of {size(compiled)} that unpacks to twice that", dense),
        ("publish 50 small wheels", many),
    ):
        for peer in ("twine", "uv"):
            beside(what, found["ours"], peer, found[peer], "s")
    for column, unit in enumerate(("ms", "MB")):
        own, google = (found[column] for found in imports.values())
        beside("import for a DAG file", own, "google provider's Composer operators", google, unit)
    print("\ntargets")
    checks: Sequence[Callable[[], bool]] = (
        lambda: verdict("large wheel, of twine's time", large["ours"] / large["twine"], 0.7),
        lambda: verdict("large wheel, of uv's time", large["ours"] / large["uv"], 0.5),
        lambda: verdict("memory growth", max(large["grown_mb"], dense["grown_mb"]), 8, "MB"),
        lambda: verdict("50 small wheels, of twine's time", many["ours"] / many["twine"], 0.3),
        lambda: verdict("a second run's pages of listing", rerun["ListFiles"], 1, "page"),
        lambda: verdict("a second run's uploads", rerun["uploads"], 0, "uploads"),
        lambda: verdict("importing the public modules", imports["ours"][0], 50, "ms"),
        lambda: verdict("importing the public modules", imports["ours"][1], 3, "MB"),
    )
    met = [check() for check in checks]
    ratio = large["ours"] / large["floor"]
    print(f"  floor (hashing and sending, large wheel): {large['floor']:.3f} s, ours {ratio:.1f} x")
    # Unpacking is what a CRC costs; twine and uv do not look at it.
    ratios = f"{dense['ours'] / dense['twine']:.2f} x twine, {dense['ours'] / dense['uv']:.2f} x uv"
    print(f"  compressed wheel (no target): {ratios}")
    return 0 if all(met) else 1


def size(path: Path) -> str:
    """For people."""
    return f"{path.stat().st_size / 1e6:.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
