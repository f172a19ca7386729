"""Turns a file of `copy`, `write` and `start` lines into an image."""

import posixpath

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import contexts, diagnostics
from wit_world.imports import frontend_types as types

import kiln

DEFAULT = "image.txt"
USAGE = "write `copy SOURCE TARGET`, `write PATH TEXT…` or `start WORD…`"


@kiln.plugin
class Describe(exports.Describe):
    def describe(self):
        return kiln.info(
            "makes images of files and lines of text",
            rules=[
                kiln.rule("no-build-file", "the build file cannot be read"),
                kiln.rule("unknown-line", "a line that says nothing known"),
                kiln.rule("relative-path", "a path in the image is not absolute"),
            ],
            examples=[("A file and a command", "write /etc/motd welcome\nstart /bin/server\n")],
        )


@kiln.plugin
class Frontend(exports.Frontend):
    def build(self, request):
        name = request.file or DEFAULT
        try:
            # The build file need not lie in the context.
            text = contexts.open_build_file().read_text(name)
        except Err as error:
            problem = kiln.error("no-build-file", f"could not read `{name}`: {error.value.message}")
            raise Err(types.BuildFailure(diagnostics=[problem]))
        image = Image()
        for number, line in enumerate(text.splitlines(), 1):
            at = diagnostics.Span(
                file=name,
                start=diagnostics.Position(line=number, column=1),
                end=diagnostics.Position(line=number, column=len(line) + 1),
            )
            image.line(line.strip(), at)
        if image.problems:
            raise Err(types.BuildFailure(diagnostics=image.problems))
        platform = request.platforms[0] if request.platforms else request.build_platform
        target = types.TargetResult(
            platform=platform, root=image.root, config=image.config, history=[], annotations=[], attestations=[],
            scans=[], base_name="", base_digest="",
        )
        return types.BuildResult(
            graph=image.graph.graph, targets=[target], source_date_epoch="", export_options=[], diagnostics=[]
        )


class Image:
    """An image that grows line by line."""

    def __init__(self):
        self.graph = kiln.Builder()
        self.context = None
        self.root = None
        self.config = kiln.image_config()
        self.problems = []

    def line(self, line, at):
        self.graph.at(line, at)
        match line.split(None, 2):
            case []:
                pass
            case [word, *_] if word.startswith("#"):
                pass
            case ["copy", source, target]:
                if self.is_absolute(target, at):
                    self.context = self.context or self.graph.context()
                    self.root = self.graph.file(self.root, kiln.copy(self.context, source, target))
            case ["write", path, text]:
                if self.is_absolute(path, at):
                    parent = posixpath.dirname(path)
                    actions = [kiln.make_dir(parent)] if parent != "/" else []
                    self.root = self.graph.file(self.root, *actions, kiln.make_file(path, f"{text}\n".encode()))
            case ["start", _, *_]:
                self.config.cmd = line.split()[1:]
            case _:
                self.problems.append(kiln.error("unknown-line", f"`{line}` says nothing known", at, USAGE))

    def is_absolute(self, path, at):
        if not path.startswith("/"):
            message = f"`{path}` is not an absolute path"
            self.problems.append(kiln.error("relative-path", message, at, "begin it with `/`"))
        return path.startswith("/")
