//! What a build file costs the components that plan it: work in proportion to its length, and an answer to every file.
//!
//! Work is counted in the units that bound it, roughly instructions, so these numbers are the same in every run.

mod world;

use kiln_core::{Cancel, Diagnostic, Plan};
use kiln_plugin::{Failure, FrontendChoice, Limits, PlanError};

use world::{World, host, request};

fn plan(file: &str, limits: Limits) -> Result<Plan, PlanError> {
    let (mut host, _) = host();
    host.set_limits(limits);
    host.plan(&FrontendChoice::Dockerfile, &request(), &World::with(file), &Cancel::default())
}

/// The findings about a file that cannot be built; none about one that can. No component may fail.
fn judged(file: &str) -> Vec<Diagnostic> {
    let begin: String = file.chars().take(60).collect();
    match plan(file, Limits::default()) {
        Ok(_) => Vec::new(),
        Err(PlanError::Wrong(found)) => found,
        Err(error) => panic!("{begin}…: {error}"),
    }
}

/// The work that the most demanding call for `file` does, up to a fifth.
fn work(file: &str) -> u64 {
    let mut fuel = 1_000_000;
    loop {
        match plan(file, Limits { fuel, ..Limits::default() }) {
            Err(PlanError::Plugin(error)) if matches!(error.failure, Failure::Fuel { .. }) => {
                fuel += fuel / 5
            }
            Ok(_) | Err(PlanError::Wrong(_)) => return fuel,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Text that is to be repeated, on one line or with a continuation, so that no line is too long.
fn repeated(begin: &str, part: &str, times: usize, end: &str) -> String {
    format!("FROM scratch\n{begin}{}{end}\n", format!("{part}\\\n").repeat(times))
}

fn numbered(begin: &str, part: impl Fn(usize) -> String, times: usize) -> String {
    let parts: String = (0..times).map(|number| part(number) + "\\\n").collect();
    format!("FROM scratch\n{begin}{parts} z=z\n")
}

#[test]
fn work_grows_in_proportion_to_the_file() {
    type Shape = fn(usize) -> String;
    let shapes: [(&str, Shape); 24] = [
        ("labels of one line", |n| numbered("LABEL ", |i| format!(" k{i}=v"), n)),
        ("variables of one line", |n| numbered("ENV ", |i| format!(" k{i}=v"), n)),
        ("arguments of one line", |n| numbered("ARG ", |i| format!(" k{i}=v"), n)),
        ("unset variables of one line", |n| numbered("LABEL ", |i| format!(" k{i}=$u{i}"), n)),
        ("one value of many variables", |n| repeated("LABEL a=", "$u${u}", n, "")),
        ("nested defaults", |n| "FROM scratch\n".to_owned() + &"LABEL a=${a:-${b:-${c:-d}}}\n".repeat(n)),
        ("nesting that is too deep", |n| repeated("LABEL a=", "${a:-", n, "")),
        ("quotes", |n| repeated("LABEL a=", "'\"'\"'\"", n, "")),
        ("escapes", |n| repeated("LABEL a=", "\\a", n, "")),
        ("a pattern on a long value", |n| {
            format!("FROM scratch\nENV v={}\nLABEL a=${{v//a*b*a/x}}\n", "a".repeat(n * 8))
        }),
        ("a value that is replaced often", |n| {
            format!("FROM scratch\nENV v={}\nLABEL a=${{v//a/bb}}\n", "a".repeat(n * 8))
        }),
        ("ports", |n| numbered("EXPOSE ", |i| format!(" {i}"), n)),
        ("volumes", |n| numbered("VOLUME ", |i| format!(" /v{i}"), n)),
        ("brackets", |n| repeated("CMD ", "[", n, "")),
        ("elements", |n| repeated("CMD [", "\"a\", ", n, "\"b\"]")),
        ("flags", |n| repeated("COPY ", "--exclude=a ", n, "a /b")),
        ("sources", |n| repeated("COPY ", "a ", n, "/b/")),
        ("here-documents of one line", |n| {
            let (operators, bodies) =
                (0..n).fold((String::new(), String::new()), |(operators, bodies), number| {
                    (operators + &format!("<<E{number} \\\n"), bodies + &format!("x\nE{number}\n"))
                });
            format!("FROM scratch\nCOPY {operators} /d/\n{bodies}")
        }),
        ("a long here-document", |n| format!("FROM scratch\nCOPY <<E /x\n{}E\n", "$u line\n".repeat(n * 4))),
        ("comments", |n| format!("{}FROM scratch\nUSER a\n", "# comment\n".repeat(n * 4))),
        ("blank lines in a continuation", |n| format!("FROM scratch\nUSER \\\n{}a\n", "\n".repeat(n * 4))),
        ("unknown instructions", |n| format!("FROM scratch\n{}", "NOPE a\n".repeat(n))),
        ("stages", |n| {
            (0..n / 2).fold("FROM scratch AS s0\n".to_owned(), |file, number| {
                file + &format!("FROM s{number} AS s{}\n", number + 1)
            })
        }),
        ("triggers", |n| format!("FROM scratch AS a\n{}FROM a\n", "ONBUILD USER b\n".repeat(n))),
    ];
    let grown = shapes.map(|(name, shape)| (name, work(&shape(2_000)), work(&shape(4_000))));
    let steep: Vec<_> = grown.iter().filter(|(_, less, more)| more * 10 > less * 27).collect();
    assert!(steep.is_empty(), "twice the file is more than twice the work: {steep:?}");
}

#[test]
fn whatever_variables_multiply_to_is_refused_as_the_fault_of_the_file() {
    let doubling = format!("FROM scratch\nENV a=aaaaaaaa\n{}", "ENV a=$a$a\n".repeat(60));
    let replacing = format!(
        "FROM scratch\nENV a={}\nENV b=${{a//a/$a}}\nENV c=${{b//a/$a}}\nENV d=${{c//a/$a}}\n",
        "a".repeat(4_000)
    );
    let one_line = format!("FROM scratch\nENV a={}\nENV b={}\n", "x".repeat(60_000), "$a".repeat(30_000));
    let many_lines = format!(
        "FROM scratch\nENV a={}\n{}",
        "x".repeat(60_000),
        (0..3_000).map(|number| format!("LABEL l{number}=$a\n")).collect::<String>()
    );
    let arguments = format!("ARG a=aaaaaaaa\n{}FROM scratch\n", "ARG a=$a$a\n".repeat(60));
    let steps = format!("FROM alpine\nENV a={}\n{}", "x".repeat(60_000), "RUN b\n".repeat(2_000));
    let stages = (0..1_000).map(|number| format!("FROM s AS t{number}\n")).collect::<String>();
    let copies = (0..1_000).map(|number| format!("COPY --from=t{number} / /\n")).collect::<String>();
    let stages = format!("FROM scratch AS s\nENV a={}\n{stages}FROM scratch\n{copies}", "x".repeat(60_000));
    let body =
        format!("FROM scratch\nENV a={}\nCOPY <<E /x\n{}E\n", "x".repeat(60_000), "$a\n".repeat(3_000));
    for file in [doubling, replacing, one_line, many_lines, arguments, steps, stages, body] {
        let codes: Vec<_> = judged(&file).into_iter().map(|found| found.code).collect();
        let begin: String = file.chars().take(60).collect();
        assert_eq!(codes, ["dockerfile/too-much-text"], "{begin}…");
    }
}

#[test]
fn large_files_that_mean_something_are_planned() {
    let value = format!("FROM scratch\nENV a=\"{}\"\n", format!("{}\\\n", "x".repeat(60_000)).repeat(15));
    let ports = format!("FROM scratch\nEXPOSE 1-65535\n{}", "USER a\n".repeat(1_000));
    let elements = format!("FROM scratch\nCMD [{}\"\"]\n", "\"x\",\\\n".repeat(150_000));
    let body = format!("FROM scratch\nCOPY <<E /x\n{}E\n", "line of text\n".repeat(1_000_000));
    for file in [value, ports, elements, body] {
        assert_eq!(judged(&file), []);
    }
}
