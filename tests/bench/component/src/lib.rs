//! A frontend that does what is to be timed: its target says what.

use kiln_sdk::GraphBuilder;
use kiln_sdk::plugin::{Frontend, Plugin};
use kiln_sdk::wit::describe::PluginInfo;
use kiln_sdk::wit::diagnostics::{Diagnostic, Position, Span};
use kiln_sdk::wit::frontend_types::{BuildFailure, BuildRequest, BuildResult, TargetResult};
use kiln_sdk::wit::graph::{ExecOp, Output};
use kiln_sdk::wit::instruction_types::{Argument, Invocation, Stage, Statement};
use kiln_sdk::wit::instructions;
use kiln_sdk::wit::types::{ImageConfig, Pair, Platform};

struct Bench;

impl Plugin for Bench {
    fn describe() -> PluginInfo {
        PluginInfo {
            name: "bench".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            summary: "does what is to be timed".into(),
            homepage: String::new(),
            license: "Apache-2.0".into(),
            options: vec![],
            rules: vec![],
            examples: vec![],
        }
    }
}

impl Frontend for Bench {
    /// `nothing`; `ops=N`: a chain of N commands; `apply=N`: N lines of ACCOUNT, one call each; `spin`: no end.
    fn build(request: BuildRequest) -> Result<BuildResult, BuildFailure> {
        let (what, count) = request.target.split_once('=').unwrap_or((&request.target, "0"));
        let count = count.parse().unwrap_or(0);
        let mut graph = GraphBuilder::new();
        let mut root = graph.scratch();
        match what {
            "nothing" => {}
            "ops" => root = commands(&mut graph, root, count),
            "apply" => apply(count)?,
            "spin" => spin(),
            other => return Err(failure(format!("there is no target `{other}`"))),
        }
        Ok(result(graph, root, request))
    }
}

fn failure(message: String) -> BuildFailure {
    BuildFailure { diagnostics: vec![Diagnostic::error("bench", message)] }
}

fn result(graph: GraphBuilder, root: Output, request: BuildRequest) -> BuildResult {
    BuildResult {
        graph: graph.finish(),
        targets: vec![TargetResult {
            platform: request.build_platform,
            root: Some(root),
            config: ImageConfig::default(),
            history: vec![],
            annotations: vec![],
            attestations: vec![],
            scans: vec![],
            base_name: String::new(),
            base_digest: String::new(),
        }],
        source_date_epoch: String::new(),
        export_options: vec![],
        diagnostics: vec![],
    }
}

fn place(line: u32) -> Span {
    Span { file: "Benchfile".into(), start: Position { line, column: 1 }, end: Position { line, column: 40 } }
}

/// About ten strings, a mount and a place each, as a RUN has.
fn commands(graph: &mut GraphBuilder, mut root: Output, count: u32) -> Output {
    for line in 1..=count {
        *graph = std::mem::take(graph).at(&place(line), format!("RUN step {line}"));
        let env = [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8"), ("HOME", "/root")];
        root = graph.exec(
            root,
            ExecOp {
                args: vec!["/bin/sh".into(), "-c".into(), format!("make -C /src/part{line} install")],
                env: env.map(|(key, value)| Pair { key: key.into(), value: value.into() }).into(),
                cwd: "/src".into(),
                ..ExecOp::default()
            },
        );
    }
    root
}

fn apply(count: u32) -> Result<(), BuildFailure> {
    for line in 1..=count {
        let name = Argument {
            key: String::new(),
            value: format!("user{line}"),
            original: format!("user{line}"),
            heredoc: None,
            at: place(line),
        };
        let statement = Statement {
            keyword: "ACCOUNT".into(),
            original: format!("ACCOUNT user{line}"),
            arguments: vec![name],
            json: false,
            flag_values: vec![],
            heredocs: vec![],
            at: place(line),
        };
        let invocation = Invocation { stage: stage(), statements: vec![statement], options: vec![] };
        let answers = instructions::apply(&invocation);
        if let Some(Err(error)) = answers.into_iter().next() {
            return Err(failure(format!("{error:?}")));
        }
    }
    Ok(())
}

fn stage() -> Stage {
    let platform = Platform { os: "linux".into(), arch: "amd64".into(), ..Platform::default() };
    Stage {
        name: "app".into(),
        index: 0,
        platform: platform.clone(),
        build_platform: platform,
        base: "debian".into(),
        user: String::new(),
        working_dir: "/".into(),
        shell: vec![],
        config: None,
        environment: vec![Pair { key: "PATH".into(), value: "/usr/bin:/bin".into() }],
        args: vec![],
        earlier: vec!["ACCOUNT".into()],
        has_base: true,
    }
}

fn spin() {
    let mut number = 1u32;
    while std::hint::black_box(number) != 0 {
        number = number.wrapping_mul(5) | 1;
    }
}

kiln_sdk::export_frontend!(Bench);
