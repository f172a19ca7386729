"""`{{KEYWORD}} [--to=PATH] WORD…` writes a line of text into a file of the image."""

import posixpath

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import instruction_types as types

import kiln

USAGE = "{{KEYWORD}} [--to=PATH] WORD…"
DEFAULT = "/etc/motd"


@kiln.plugin
class Describe(exports.Describe):
    def describe(self):
        return kiln.info(
            "writes a line of text into a file",
            rules=[
                kiln.rule("no-words", "there is nothing to write"),
                kiln.rule("relative-path", "the file to write is not an absolute path"),
            ],
            examples=[("A message of the day", "FROM scratch\n{{KEYWORD}} welcome\n")],
        )


@kiln.plugin
class Instruction(exports.Instruction):
    def instructions(self):
        return [
            types.Descriptor(
                keyword="{{KEYWORD}}",
                summary="Writes a line of text into a file.",
                usage=USAGE,
                form=types.ArgumentForm(split=types.Split.WORDS, json=False, expand=True),
                heredocs=types.HeredocForm.REFUSED,
                flag_specs=[types.FlagSpec(name="to", kind=types.FlagKind.TEXT, repeatable=False, expand=True)],
                traits=[],
            )
        ]

    def validate(self, statements):
        # Variables are not expanded here, so a line that has some is judged only when it is applied.
        return [problem for line in statements if "$" not in line.original for problem in problems(line)]

    def apply(self, invocation):
        return [apply(line, invocation.stage) for line in invocation.statements]


def to_flag(line):
    """The argument of `--to`, if it is there."""
    return next((flag.values[0] for flag in line.flag_values if flag.name == "to"), None)


def problems(line):
    """Everything that is wrong with a line, each at its place."""
    found = []
    if not line.arguments:
        found.append(kiln.error("no-words", "{{KEYWORD}} has nothing to write", line.at, f"write `{USAGE}`"))
    path = to_flag(line)
    if path and not path.value.startswith("/"):
        message = f"`{path.value}` is not an absolute path"
        found.append(kiln.error("relative-path", message, path.at, "begin it with `/`"))
    return found


def apply(line, stage):
    found = problems(line)
    if found:
        return Err(types.InstructionError_Invalid(found))
    flag = to_flag(line)
    path = flag.value if flag else DEFAULT
    text = " ".join(word.value for word in line.arguments) + "\n"

    graph = kiln.Builder(line.original, line.at)
    base = graph.base() if stage.has_base else None
    parent = posixpath.dirname(path)
    actions = [kiln.make_dir(parent)] if parent != "/" else []
    root = graph.file(base, *actions, kiln.make_file(path, text.encode()))
    return Ok(
        types.Outcome(
            fragment=graph.graph, root=root, config=None, changes=[], set_env=[], history=[], expansion=[],
            diagnostics=[],
        )
    )
