"""Two rules for images: they say where their sources are, and no command hands a download to a shell."""

from wit_world import exports
from wit_world.exports import describe
from wit_world.imports import graph as graphs
from wit_world.imports import policy_types as types

import kiln

LABEL = "org.opencontainers.image.source"


@kiln.plugin
class Describe(exports.Describe):
    def describe(self):
        label = describe.OptionSpec(
            name="label", kind=describe.OptionKind.TEXT, summary="the label that every image has", preset=LABEL,
            required=False, choices=[], sensitive=False,
        )
        return kiln.info(
            "asks for a label, and for no piped shells",
            options=[label],
            rules=[
                kiln.rule("missing-label", "an image does not say where its sources are"),
                kiln.rule("piped-shell", "a command hands what it downloads to a shell"),
            ],
        )


@kiln.plugin
class PolicyExec(exports.PolicyExec):
    def check_exec(self, build, graph, execs):
        """One verdict for each of `execs`, which are places in the graph."""
        return [types.ExecVerdict(limits=None, diagnostics=piped_shell(graph.ops[index])) for index in execs]


@kiln.plugin
class PolicyImage(exports.PolicyImage):
    def check_image(self, build, image, root):
        wanted = next((option.value for option in build.options if option.key == "label"), LABEL)
        if any(label.key == wanted and label.value for label in image.config.labels):
            return []
        return [kiln.error("missing-label", f"the image has no label `{wanted}`", None, f"add `LABEL {wanted}=…`")]


def piped_shell(op):
    if not isinstance(op.kind, graphs.OpKind_Exec):
        return []
    command = " ".join(op.kind.value.args)
    downloads = any(tool in command for tool in ("curl ", "wget "))
    pipes = any(pipe in command for pipe in ("| sh", "|sh", "| bash", "|bash"))
    if not (downloads and pipes):
        return []
    place = op.spans[0] if op.spans else None
    message = "what this command downloads goes straight to a shell"
    return [kiln.error("piped-shell", message, place, "download it, compare its checksum, then run it")]
