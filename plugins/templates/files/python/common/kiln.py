"""Findings, graphs and last words: what makes the generated bindings pleasant."""

import functools
import traceback

from componentize_py_types import Err
from wit_world.imports import diagnostics, graph, progress, types
from wit_world.exports import describe


def plugin(cls):
    """Has exceptions shown by kiln: a component has no standard error, and would end without a word."""

    def guarded(method):
        @functools.wraps(method)
        def call(*arguments):
            try:
                return method(*arguments)
            except Err:
                raise
            except BaseException:
                progress.crash(traceback.format_exc())
                raise

        return call

    for name, method in list(vars(cls).items()):
        if callable(method) and not name.startswith("_"):
            setattr(cls, name, guarded(method))
    return cls


def error(code, message, at=None, help=""):
    """A finding that makes the build fail, with its place, when it has one."""
    return diagnostics.Diagnostic(
        severity=diagnostics.Severity.ERROR,
        code=code, message=message, primary=at, related=[], nodes=[], help=help, url="", fixes=[],
    )


def rule(code, summary):
    return describe.Rule(code=code, summary=summary, url="", severity=diagnostics.Severity.ERROR, experimental=False)


def info(summary, options=(), rules=(), examples=()):
    """What the plugin says about itself; `examples` are pairs of a title and a build file."""
    return describe.PluginInfo(
        name="{{name}}", version="0.1.0", summary=summary, homepage="", license="",
        options=list(options), rules=list(rules), examples=[describe.Example(*example) for example in examples],
    )


def image_config():
    return types.ImageConfig(
        user="", working_dir="", env=[], entrypoint=None, cmd=None, exposed_ports=[], volumes=[], labels=[],
        stop_signal="", shell=[], healthcheck=None, on_build=[], args_escaped=False, author="", other_json="",
    )


class Builder:
    """A graph that grows operation by operation, so that each can read only what was made before it."""

    def __init__(self, name="", at=None):
        self.graph = graph.Graph(ops=[])
        self.name = name
        self.spans = [at] if at else []

    def at(self, name, at):
        """Where the following operations come from, and what progress output calls them."""
        self.name, self.spans = name, [at]
        return self

    def push(self, kind):
        self.graph.ops.append(
            graph.Op(kind=kind, platform=None, name=self.name, group="", no_cache=False, spans=self.spans)
        )
        return graph.Output(op=len(self.graph.ops) - 1, slot=0)

    def base(self):
        """The filesystem of the stage so far."""
        return self.push(graph.OpKind_Hole(graph.Hole_Base()))

    def context(self):
        """The build context, for frontends."""
        return self.push(graph.OpKind_Context(graph.ContextSource(name="", ignore=None)))

    def file(self, base, *actions):
        """Actions in order on top of `base`, as one layer."""
        return self.push(graph.OpKind_File(graph.FileOp(base=base, actions=list(actions))))


def make_dir(path):
    return graph.FileAction_MakeDir(graph.MakeDirAction(path=path, mode=0o755, parents=True, owner=None))


def make_file(path, data):
    return graph.FileAction_MakeFile(graph.MakeFileAction(path=path, data=data, mode=0o644, owner=None))


def copy(source, path, target):
    """What lies below `path` of an output, or that file, to `target`."""
    return graph.FileAction_Copy(
        graph.CopyAction(
            input=source, paths=[path], dest=target, owner=None, mode="", include_patterns=[], exclude_patterns=[],
            follow_symlinks=False, contents_only=True, create_dest=True, allow_wildcard=False,
            allow_empty_wildcard=False, unpack="", keep_parents=False,
        )
    )
