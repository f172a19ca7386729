use super::*;
use crate::digest::{Digest, LayerId};
use crate::graph::{FileOp, Op, Vertex};
use crate::platform::Platform;

fn stack(name: &str) -> Stack {
    Stack(vec![LayerId(Digest::of(name.as_bytes()))])
}

/// Lines of `name < input input`; an input `name.2` is slot 2. The last line is the target.
fn graph(text: &str) -> (Graph, Vec<String>) {
    let mut graph = Graph::default();
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let (name, inputs) = line.split_once('<').unwrap_or((line, ""));
        let inputs = inputs.split_whitespace().map(|input| {
            let (name, slot) = input.split_once('.').unwrap_or((input, "0"));
            Output {
                vertex: names.iter().position(|known| known == name).unwrap(),
                slot: slot.parse().unwrap(),
            }
        });
        let vertex = Vertex {
            op: Op::File(FileOp::default()),
            inputs: inputs.collect(),
            platform: Platform::default(),
            name: String::new(),
            group: String::new(),
            no_lookup: false,
            origin: Vec::new(),
        };
        graph.push(vertex);
        names.push(name.trim().to_owned());
    }
    (graph, names)
}

/// What happens, as words: `a` handed out, `a!` handed out and failed. `known` are hits, `failing` fail.
fn happens(text: &str, known: &[&str], failing: &[&str], lost: &[&str]) -> String {
    let (graph, names) = graph(text);
    let target = Output { vertex: graph.len() - 1, slot: 0 };
    let slots = slots(&graph, [target]);
    let outputs = |id: VertexId| -> Vec<Stack> {
        slots[id].iter().map(|slot| stack(&format!("{}.{slot}", names[id]))).collect()
    };
    let mut solver = Solver::new(&graph, &[(target, Need::Blob)], |id, _| {
        known.contains(&&*names[id]).then(|| outputs(id))
    });
    for name in lost {
        solver.lost(names.iter().position(|known| known == name).unwrap());
    }
    let mut words = Vec::new();
    while let Some((id, inputs)) = solver.next() {
        let expected: Vec<Stack> = graph[id]
            .inputs
            .iter()
            .map(|input| stack(&format!("{}.{}", names[input.vertex], input.slot)))
            .collect();
        assert_eq!(inputs, expected);
        let fails = failing.contains(&&*names[id]);
        words.push(format!("{}{}", names[id], if fails { "!" } else { "" }));
        solver.finish(id, (!fails).then(|| outputs(id)));
    }
    words.join(" ")
}

fn check(text: &str, known: &[&str], expected: &str) {
    assert_eq!(happens(text, known, &[], &[]), expected, "{text}");
}

#[test]
fn inputs_come_before_their_readers() {
    check("a\nb < a\nc < b", &[], "a b c");
    check("a\nb\nc < b a\nd < c a a", &[], "a b c d");
}

#[test]
fn nothing_below_a_known_vertex_is_done() {
    check("a\nb < a\nc < b", &["b"], "c");
    check("a\nb < a\nc < b", &["c"], "");
    check("a\nb < a\nc < b a", &["b"], "a c");
}

#[test]
fn what_no_target_needs_is_not_done() {
    check("a\nunused < a\nc < a", &[], "a c");
}

#[test]
fn readers_of_a_failed_vertex_are_never_ready() {
    assert_eq!(happens("a\nb\nc < a\nd < b c", &[], &["a"], &[]), "a! b");
}

#[test]
fn further_outputs_reach_their_readers() {
    check("a\nb < a.2 a\nc < a.1 b", &[], "a b c");
    let (graph, _) = graph("a\nb < a.2 a\nc < a.1 b");
    let target = Output { vertex: 2, slot: 0 };
    assert_eq!(slots(&graph, [target]), [vec![0, 1, 2], vec![0], vec![0]]);
}

#[test]
fn a_lost_hit_is_done_again_with_what_it_needs() {
    assert_eq!(happens("a\nb < a\nc < b\nd < c", &["c"], &[], &["c"]), "a b c d");
    assert_eq!(happens("a\nb < a\nc < b a", &["b", "a"], &[], &["b"]), "b c");
    assert_eq!(happens("a\nb < a\nc < b b", &["b"], &[], &["b", "b", "a"]), "a b c");
}

#[test]
fn a_reader_that_is_under_way_is_handed_out_again_when_its_input_is_lost() {
    let (graph, _) = graph("a\nb < a\nc < b");
    let target = Output { vertex: 2, slot: 0 };
    let mut solver =
        Solver::new(&graph, &[(target, Need::Blob)], |id, _| (id == 1).then(|| vec![stack("b")]));
    assert_eq!(solver.next().unwrap().0, 2);
    solver.lost(1);
    assert_eq!(solver.next().unwrap().0, 0);
    assert!(solver.next().is_none());
    solver.finish(0, Some(vec![stack("a")]));
    assert_eq!(solver.next().unwrap(), (1, vec![stack("a")]));
    solver.finish(1, Some(vec![stack("b2")]));
    assert_eq!(solver.next().unwrap(), (2, vec![stack("b2")]));
}

#[test]
fn the_strongest_need_of_all_readers_is_asked_for_once() {
    let (graph, names) = graph("a\nb < a\nc < b a");
    let target = |vertex| Output { vertex, slot: 0 };
    let mut asked = Vec::new();
    let targets = [(target(2), Need::Names), (target(1), Need::Blob)];
    Solver::new(&graph, &targets, |id, need| {
        asked.push((&*names[id], need));
        None
    });
    assert_eq!(asked, [("c", Need::Names), ("b", Need::Blob), ("a", Need::Blob)]);
}

/// Random graphs, random hits and losses, vertices taken back in random order: exactly what a walk down from the
/// target finds is worked on, each vertex once, and never before its inputs.
#[test]
fn any_order_of_ends_does_the_same_work() {
    let mut seed = 1_u64;
    let mut next = move |n: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % n
    };
    for _ in 0..2000 {
        let size = 2 + next(12);
        let lines = (0..size).map(|id| {
            let inputs = (0..next(4).min(id)).map(|_| format!(" v{}", next(id)));
            format!("v{id} <{}", inputs.collect::<String>())
        });
        let (graph, _) = graph(&lines.collect::<Vec<_>>().join("\n"));
        let known: Vec<bool> = (0..size).map(|_| next(4) == 0).collect();
        // What lies below a hit is not looked up, not even when the hit is lost.
        let mut hits = vec![false; size];
        let mut lost = vec![false; size];
        let target = Output { vertex: size - 1, slot: 0 };
        let mut solver = Solver::new(&graph, &[(target, Need::Tree)], |id, _| {
            hits[id] = known[id];
            hits[id].then(|| vec![Stack::default()])
        });
        let mut running: Vec<VertexId> = Vec::new();
        let mut done = hits.clone();
        let mut work = vec![0; size];
        loop {
            while next(3) > 0 {
                let Some((id, _)) = solver.next() else { break };
                assert!(graph[id].inputs.iter().all(|input| done[input.vertex]), "{graph:?}");
                running.push(id);
            }
            if !running.is_empty() && next(5) == 0 {
                // One of what runs finds an input gone, and is given up.
                let at = next(running.len());
                let inputs = &graph[running[at]].inputs;
                let gone = inputs.iter().map(|input| input.vertex).find(|id| hits[*id] && !lost[*id]);
                if let Some(gone) = gone {
                    (lost[gone], done[gone]) = (true, false);
                    solver.lost(gone);
                    running.retain(|id| graph[*id].inputs.iter().all(|input| input.vertex != gone));
                    continue;
                }
            }
            if running.is_empty() {
                let Some((id, _)) = solver.next() else { break };
                running.push(id);
                continue;
            }
            let id = running.swap_remove(next(running.len()));
            work[id] += 1;
            done[id] = true;
            solver.finish(id, Some(vec![Stack::default()]));
        }
        let mut wanted = vec![false; size];
        wanted[size - 1] = true;
        for id in (0..size).rev().filter(|id| !hits[*id] || lost[*id]).collect::<Vec<_>>() {
            if wanted[id] {
                assert_eq!(work[id], 1, "{graph:?}");
                graph[id].inputs.iter().for_each(|input| wanted[input.vertex] = true);
            } else {
                assert_eq!(work[id], 0, "{graph:?}");
            }
        }
    }
}
