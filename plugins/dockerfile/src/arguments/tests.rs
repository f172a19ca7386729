use kiln_sdk::wit::instruction_types::ArgumentForm;

use super::*;
use crate::expand::Variables;
use crate::parse::{Keywords, Place, parse};

struct Table(&'static [(&'static str, &'static str)]);

impl Variables for Table {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn is_declared(&self, _: &str) -> bool {
        false
    }

    fn spend(&self, _: usize) -> bool {
        true
    }
}

const TABLE: Table = Table(&[("x", "one two"), ("p", "80")]);

fn descriptor(keyword: &str, split: Split, json: bool, expand: bool) -> Descriptor {
    let flag =
        |name: &str, kind, repeatable| FlagSpec { name: name.to_owned(), kind, repeatable, expand: true };
    Descriptor {
        keyword: keyword.to_owned(),
        summary: String::new(),
        usage: String::new(),
        form: ArgumentForm { split, json, expand },
        heredocs: HeredocForm::Expanded,
        flag_specs: vec![
            flag("link", FlagKind::Boolean, false),
            flag("from", FlagKind::Text, false),
            flag("mount", FlagKind::Fields, true),
        ],
        traits: Vec::new(),
    }
}

fn read(text: &str, split: Split, json: bool, variables: Option<&dyn Variables>) -> Cut {
    let keyword = text.split_whitespace().next().unwrap();
    let descriptor = descriptor(keyword, split, json, true);
    let keywords = Keywords::new(vec![descriptor.clone()]);
    let parsed = parse(text, &Place { file: "Dockerfile".into(), fixed: None }, 1, None, &keywords);
    assert!(parsed.problems.is_empty());
    cut(&parsed.lines[0], &descriptor, '\\', variables)
}

fn values(text: &str, split: Split, json: bool) -> Vec<String> {
    let cut = read(text, split, json, Some(&TABLE));
    assert!(cut.problems.is_empty(), "{text}: {:?}", cut.problems);
    cut.statement.arguments.into_iter().map(|argument| argument.value).collect()
}

fn codes(text: &str, split: Split, json: bool) -> Vec<String> {
    read(text, split, json, Some(&TABLE)).problems.into_iter().map(|problem| problem.code).collect()
}

#[test]
fn section_5_1_grammars() {
    assert_eq!(values("A  $x 'y  z' ", Split::Whole, false), ["one two y  z"]);
    assert_eq!(values("A ", Split::Whole, false), [""; 0]);
    assert_eq!(values("A $x b", Split::Blanks, true), ["one two", "b"]);
    assert_eq!(values("A [\"$x\", \"b c\"]", Split::Blanks, true), ["one two", "b c"]);
    assert_eq!(values("A $p/tcp $x \"$x\"", Split::Words, false), ["80/tcp", "one", "two", "one two"]);
}

#[test]
fn section_7_6_white_space_of_a_variable_can_end_an_argument() {
    let descriptor = Descriptor {
        traits: vec!["splits-values".to_owned()],
        ..descriptor("EXPOSE", Split::Blanks, false, true)
    };
    let keywords = Keywords::new(vec![descriptor.clone()]);
    let values = |text: &str| {
        let place = Place { file: "Dockerfile".into(), fixed: None };
        let parsed = parse(text, &place, 1, None, &keywords);
        let cut = cut(&parsed.lines[0], &descriptor, '\\', Some(&TABLE));
        let codes = cut.problems.into_iter().map(|problem| problem.code);
        cut.statement.arguments.into_iter().map(|argument| argument.value).chain(codes).collect::<Vec<_>>()
    };
    assert_eq!(values("EXPOSE $p/tcp $x \"$x\""), ["80/tcp", "one", "two", "one two"]);
    // Words are cut before quotes and escapes mean anything.
    assert_eq!(values("EXPOSE \\ 4/tcp"), ["4/tcp"]);
    assert_eq!(values("EXPOSE \"80 81\""), ["unterminated-quote", "unterminated-quote"]);
}

#[test]
fn section_5_2_json() {
    assert!(read("A [\"a\"]", Split::Whole, true, None).statement.json);
    assert!(!read("A [\"a\"] b", Split::Whole, true, None).statement.json);
    assert_eq!(codes("A [\"a\", 1]", Split::Whole, true), ["json-not-strings"]);
    assert_eq!(values("A [\"a\", 1]", Split::Blanks, false), ["[a,", "1]"]);
}

#[test]
fn section_5_4_pairs() {
    let pairs = |text| {
        let arguments = read(text, Split::Pairs, false, Some(&TABLE)).statement.arguments;
        arguments.into_iter().map(|it| (it.key, it.value, it.original)).collect::<Vec<_>>()
    };
    let pair =
        |key: &str, value: &str, original: &str| (key.to_owned(), value.to_owned(), original.to_owned());
    assert_eq!(
        pairs("ENV a=1 b=$x \"c d\"='e=f'"),
        [pair("a", "1", "a=1"), pair("b", "one two", "b=$x"), pair("c d", "e=f", "\"c d\"='e=f'")]
    );
    assert_eq!(pairs("ENV a  b=c $x "), [pair("a", "b=c one two", "a  b=c $x")]);
    assert_eq!(pairs("ENV a="), [pair("a", "", "a=")]);
    assert_eq!(pairs("ENV =x"), [pair("", "x", "=x")]);
    assert_eq!(pairs("ENV a"), [pair("a", "", "a")]);
    assert_eq!(pairs("ENV a=1 b"), [pair("a", "1", "a=1"), pair("b", "", "b")]);
    assert_eq!(pairs("ENV "), []);
}

#[test]
fn section_4_4_flags() {
    for (text, expected) in [
        ("A --link x", vec![]),
        ("A --link=TRUE --from= --mount=a --mount=b=c,d x", vec![]),
        ("A --link= x", vec!["bad-flag-value"]),
        ("A --link=1 x", vec!["bad-flag-value"]),
        ("A --from x", vec!["flag-without-value"]),
        ("A --from=a --from=b x", vec!["duplicate-flag"]),
        ("A --form=a x", vec!["unknown-flag"]),
        ("A --LINK x", vec!["unknown-flag"]),
        ("A --mount=a=\"b\\\"c\" x", vec!["bad-flag-value"]),
        ("A -- --form x", vec![]),
        ("STOPSIGNAL --form=a x", vec![]),
        ("HEALTHCHECK --form=a none", vec![]),
    ] {
        assert_eq!(codes(text, Split::Blanks, false), expected, "{text}");
    }
}

#[test]
fn section_11_5_fields_have_keys_and_places() {
    let cut = read("RUN --mount=type=cache,target=$x,ro y", Split::Whole, true, Some(&TABLE));
    let fields: Vec<_> = cut.statement.flag_values[0]
        .values
        .iter()
        .map(|field| {
            (field.key.as_str(), field.value.as_str(), field.original.as_str(), field.at.start.column)
        })
        .collect();
    assert_eq!(
        fields,
        [("type", "cache", "type=cache", 13), ("target", "one two", "target=$x", 24), ("ro", "", "ro", 34)]
    );
}

#[test]
fn section_6_7_heredocs_are_arguments() {
    let text = "COPY <<a <<b <<a /dir/\n$p\na\n\\$p\nb\nlast\na\n";
    let statement = read(text, Split::Blanks, true, Some(&TABLE)).statement;
    let indexes: Vec<_> = statement.arguments.iter().map(|argument| argument.heredoc).collect();
    assert_eq!(indexes, [Some(2), Some(1), Some(2), None]);
    let bodies: Vec<_> = statement.heredocs.iter().map(|heredoc| heredoc.content.as_str()).collect();
    assert_eq!(bodies, ["80\n", "$p\n", "last\n"]);
    let whole = read("RUN <<EOF\nx\nEOF\n", Split::Whole, true, None).statement;
    assert_eq!(whole.arguments[0].heredoc, Some(0));
    let part = read("RUN cat <<EOF\nx\nEOF\n", Split::Whole, true, None).statement;
    assert_eq!(part.arguments[0].heredoc, None);
}

#[test]
fn a_heredoc_is_an_argument_however_arguments_are_cut() {
    for split in [Split::Blanks, Split::Words] {
        for variables in [None, Some(&TABLE as &dyn Variables)] {
            let cut = read("X a <<EOF $p\nbody\nEOF\n", split, false, variables);
            let found: Vec<_> = cut.statement.arguments.iter().map(|argument| argument.heredoc).collect();
            assert_eq!(found, [None, Some(0), None], "{split:?}");
            assert_eq!(cut.statement.arguments[1].value, "<<EOF");
        }
    }
}

#[test]
fn section_7_errors_and_undefined_names_have_places() {
    let cut = read("COPY a ${b c", Split::Blanks, true, Some(&TABLE));
    assert_eq!(cut.problems[0].code, "bad-substitution");
    assert_eq!(cut.problems[0].primary.as_ref().unwrap().start.column, 8);
    let cut = read("COPY $nope c", Split::Blanks, true, Some(&TABLE));
    assert_eq!((cut.undefined[0].0.as_str(), cut.undefined[0].1.start.column), ("nope", 6));
    assert!(read("COPY $nope c", Split::Blanks, true, None).undefined.is_empty());
}
