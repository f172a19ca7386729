"""Presets beside the Dockerfiles that people write: sizes of images, and what a change of one line costs.

Used by tests/bench/run. Each directory of tests/bench/presets is called as an example of examples/presets and has

    Dockerfile.single      one stage, the toolchain in the image
    Dockerfile.two-stage   the program copied out of a stage with the toolchain
    change                 a line for `sed -i -E`, and the file that it changes: `s/hello/hallo/ main.go`
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent / "presets"
WAYS = ["preset", "two-stage", "single"]
BASES = [
    "alpine",
    "buildpack-deps:bookworm",
    "debian",
    "eclipse-temurin:17-jre=openjdk",
    "golang:1.19",
    "maven:3-eclipse-temurin-17=junit",
]


class Builder:
    """kiln with a store of its own."""

    def __init__(self, binary, config, place):
        self.place = place
        self.argv = [str(binary), "--root", str(place / "store"), "build"]
        self.env = {"PATH": os.environ["PATH"], "HOME": str(place), "KILN_CONFIG": config}

    def build(self, context, way, *options):
        """Builds and returns what progress told, an event per line, and the seconds on the clock."""
        argv = [*self.argv, "--progress=rawjson", *options]
        if way != "preset":
            argv += ["-f", str(context / f"Dockerfile.{way}")]
        begun = time.monotonic()
        ran = subprocess.run([*argv, str(context)], env=self.env, capture_output=True, text=True)
        took = time.monotonic() - begun
        if ran.returncode != 0:
            sys.exit(f"{' '.join(argv)}\n{ran.stderr}")
        return [json.loads(line) for line in ran.stderr.splitlines() if line.startswith("{")], took

    def sizes(self, context, way):
        """Bytes of the files as one archive, and of the layers compressed with gzip."""
        archive, layout = self.place / "files.tar", self.place / "layout"
        self.build(context, way, "-o", f"type=tar,dest={archive}")
        shutil.rmtree(layout, ignore_errors=True)
        self.build(context, way, "-o", f"type=oci,tar=false,dest={layout},compression=gzip")
        read = lambda digest: json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())
        index = json.loads((layout / "index.json").read_text())
        layers = read(index["manifests"][0]["digest"])["layers"]
        return archive.stat().st_size, sum(layer["size"] for layer in layers)


def longest(events):
    """Seconds of the step that took longest, which is the compiler's, and its name."""
    names, begun, spent = {}, {}, [(0.0, "nothing")]
    for event in events:
        if event["event"] == "planned":
            names.update({vertex["vertex"]: vertex["name"] for vertex in event["vertices"]})
        elif event["event"] == "started":
            begun[event["vertex"]] = event["time"]
        elif event["event"] == "finished" and event["ending"] == "done" and event["vertex"] in begun:
            spent.append((event["time"] - begun[event["vertex"]], names.get(event["vertex"], "")))
    return max(spent)


def changed(builder, context, way, command, repeat):
    """Medians of a build after a change of one line: all of it, its longest step, and what of it is not that step."""
    script, file = command.rsplit(" ", 1)
    turns = []
    for turn in range(repeat):
        subprocess.run(["sed", "-i", "-E", script.replace("{turn}", f"{way}-{turn}"), context / file], check=True)
        events, wall = builder.build(context, way)
        step = longest(events)[0]
        turns.append((wall, step, wall - step))
    return [statistics.median(column) for column in zip(*turns)]


def size(count):
    return f"{count / 1e6:,.3g}" if count < 1e8 else f"{count / 1e6:,.0f}"


def measure(builder, examples, place, repeat):
    """The rows of the table, one for each example and way."""
    rows = []
    for name in examples:
        context = place / name
        shutil.copytree(REPOSITORY / "examples/presets" / name, context)
        for file in (HERE / name).iterdir():
            shutil.copy(file, context)
        command = (context / "change").read_text().strip()
        (context / "change").unlink()
        for way in WAYS:
            plain, packed = builder.sizes(context, way)
            builder.build(context, way)
            wall, step, rest = changed(builder, context, way, command, repeat)
            rows.append((name, way, plain, packed, wall, step, rest))
            print(f"{name}, {way}: {size(plain)} MB, {wall:.2f} s, of which {step:.2f} s", file=sys.stderr)
    return rows


def examples(named):
    known = sorted(directory.name for directory in HERE.iterdir() if directory.is_dir())
    for name in named:
        if name not in known:
            sys.exit(f"tests/bench/run: no preset example `{name}`: there are {', '.join(known)}")
    return named or known


def section(rows, machine, load):
    lines = [
        "| example | built by | files, MB | compressed layers, MB | one line changed, s | its longest step, s | the rest, s |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    titles = {"preset": "preset", "two-stage": "Dockerfile, two stages", "single": "Dockerfile, one stage"}
    for name, way, plain, packed, wall, step, rest in rows:
        lines.append(
            f"| {name} | {titles[way]} | {size(plain)} | {size(packed)} | {wall:.2f} | {step:.2f} | {rest:.3f} |"
        )
    table = "\n".join(lines)
    return f"""## Presets

The programs of examples/presets, each built by its preset and by two Dockerfiles as people write them (tests/bench/presets):
with the toolchain in the image, and with the program copied out of a stage that has it. *Files* is the file system of the
image as one archive, *compressed layers* what is pulled, base images included. Then one line of the source is changed and the image is built again:
seconds of the whole command, of its longest step, which is the compiler's, and of all that is not that step; medians.

{table}

- Machine: {machine}; load average at the start {load:.1f}. Base images are made of Debian's packages.

To repeat: `sudo tests/bench/run presets`.
"""


def replace_section(file, text):
    """Puts the section in place of the one that is there, or at the end."""
    document = file.read_text() if file.exists() else "# Benchmarks\n"
    begin = document.find("## Presets\n")
    if begin < 0:
        file.write_text(document.rstrip("\n") + "\n\n" + text)
        return
    end = document.find("\n## ", begin)
    rest = document[end + 1 :] if end >= 0 else ""
    file.write_text(document[:begin] + text + ("\n" + rest if rest else ""))


def run(binary, place, config, repeat, output, machine, named):
    load = os.getloadavg()[0]
    rows = measure(Builder(binary, config, place), examples(named), place, repeat)
    text = section(rows, machine, load)
    replace_section(output, text)
    print(text)
