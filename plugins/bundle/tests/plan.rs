//! The components that ship with kiln, asked for plans the way the driver asks.

mod world;

use kiln_core::graph::SourceOp;
use kiln_core::{Cancel, Op, Platform};
use kiln_plugin::{FrontendChoice, PlanError};

use world::{World, host, request};

fn plan(dockerfile: &str) -> Result<kiln_core::Plan, PlanError> {
    host().0.plan(&FrontendChoice::Dockerfile, &request(), &World::with(dockerfile), &Cancel::default())
}

#[test]
fn a_dockerfile_becomes_a_graph_and_an_image() {
    let plan = plan(
        "FROM alpine AS build\nRUN echo hi > /hello\nFROM scratch\nCOPY --from=build /hello /\nENV A=b\nCMD [\"/hello\"]\n",
    )
    .expect("a plan");
    let [target] = &plan.targets[..] else { panic!("{:?}", plan.targets) };
    assert_eq!(target.platform, Platform::new("linux", "amd64", ""));
    assert_eq!(target.config.cmd.as_deref(), Some(&["/hello".to_owned()][..]));
    assert!(target.config.env.contains(&("A".to_owned(), "b".to_owned())), "{:?}", target.config.env);
    let root = target.root.expect("a file system");
    assert!(matches!(plan.graph[root.vertex].op, Op::File(_)), "{:?}", plan.graph[root.vertex].op);
    let vertices = plan.graph.vertices();
    assert!(vertices.iter().any(|vertex| matches!(vertex.op, Op::Exec(_))));
    let images =
        |op: &Op| matches!(op, Op::Source(SourceOp::Image(image)) if image.reference.contains("alpine"));
    assert!(vertices.iter().any(|vertex| images(&vertex.op)));
}

#[test]
fn the_same_file_gives_the_same_plan() {
    let file = "FROM alpine\nRUN a\nCOPY . /x\nLABEL b=c\n";
    assert_eq!(plan(file).expect("a plan"), plan(file).expect("a plan"));
}

#[test]
fn everything_that_is_wrong_is_said_at_its_place() {
    let Err(PlanError::Wrong(found)) = plan("FROM alpine\nCPOY a b\nRUN --nosuchflag x\n") else {
        panic!("a plan of nonsense");
    };
    assert!(found.iter().all(|found| found.code.contains('/')), "{found:?}");
    let line =
        |line| found.iter().any(|found| found.primary.as_ref().is_some_and(|at| at.start.line == line));
    assert!(line(2), "{found:?}");
}

#[test]
fn a_cancelled_build_makes_no_plan() {
    let cancel = Cancel::default();
    cancel.raise(1);
    let answer =
        host().0.plan(&FrontendChoice::Dockerfile, &request(), &World::with("FROM alpine\n"), &cancel);
    assert!(matches!(answer, Err(PlanError::Cancelled)), "{answer:?}");
}

#[test]
fn what_ships_says_what_it_is_and_runs_from_its_own_code() {
    let (host, cache) = host();
    let plugins = host.plugins().expect("components that work");
    let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
    assert_eq!(names, ["dockerfile", "instructions", "c", "go", "java"]);
    assert_eq!(plugins[0].kinds, ["frontend"]);
    assert_eq!(plugins[1].kinds, ["instruction"]);
    for keyword in ["RUN", "COPY", "ENV", "HEALTHCHECK"] {
        assert!(plugins[1].keywords.iter().any(|known| known.keyword == keyword), "{keyword}");
    }
    for plugin in &plugins {
        assert!(
            plugin.imports.iter().all(|import| import.starts_with("kiln:plugin/")),
            "{:?}",
            plugin.imports
        );
    }
    assert!(!cache.exists(), "something was compiled");
}
