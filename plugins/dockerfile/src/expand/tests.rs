use super::*;

struct Table(&'static [(&'static str, &'static str)]);

impl Variables for Table {
    fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn is_declared(&self, name: &str) -> bool {
        name == "DECLARED"
    }

    fn spend(&self, _: usize) -> bool {
        true
    }
}

const TABLE: Table = Table(&[
    ("v", "hello"),
    ("e", ""),
    ("path", "a/b/c.tar.gz"),
    ("sp", "a  b"),
    ("ü", "umlaut"),
    ("1", "one"),
]);

fn expand(text: &str) -> String {
    word(text, Mode::arguments('\\'), &TABLE).unwrap_or_else(|error| panic!("{text}: {error}")).text
}

fn fails(text: &str) -> ExpandError {
    word(text, Mode::arguments('\\'), &TABLE).expect_err(text)
}

#[test]
fn section_7_2_names() {
    for (text, value) in [("$v", "hello"), ("${v}x$v.y", "hellox".to_string().leak() as &str)] {
        assert!(expand(text).starts_with(value), "{text}");
    }
    for (text, value) in [
        ("$v.y", "hello.y"),
        ("a$", "a$"),
        ("a$ b", "a$ b"),
        ("$.", "$."),
        ("$ü", "umlaut"),
        ("$12", ""),
        ("$1a", "onea"),
        ("$@$*$#$?$-$$$!$0", ""),
        ("${@}", ""),
        ("$V", ""),
        ("$unset-x", "-x"),
    ] {
        assert_eq!(expand(text), value, "{text}");
    }
}

#[test]
fn section_7_4_modifiers() {
    for (text, value) in [
        ("${v:-w}", "hello"),
        ("${e:-w}", "w"),
        ("${e-w}", ""),
        ("${u-w}", "w"),
        ("${u:-$v}", "hello"),
        ("${u:-${e:-\"q $v\"}}", "q hello"),
        ("${u:-a}b}", "ab}"),
        ("${u:-a\\}b}", "a}b"),
        ("${v:+w}", "w"),
        ("${e:+w}", ""),
        ("${e+w}", "w"),
        ("${u+w}", ""),
        ("${v:?no}", "hello"),
        ("${e?no}", ""),
        ("${path#*/}", "b/c.tar.gz"),
        ("${path##*/}", "c.tar.gz"),
        ("${path%.*}", "a/b/c.tar"),
        ("${path%%.*}", "a/b/c"),
        ("${v#h?}", "llo"),
        ("${v/l/L}", "heLlo"),
        ("${v//l/L}", "heLLo"),
        ("${path//\\//-}", "a-b-c.tar.gz"),
        ("${path/./}", "a/b/ctar.gz"),
        ("${v//l/}", "heo"),
        ("${v/l*/$v}", "hehello"),
        ("${v//l/[\\$0]}", "he[\\l][\\l]o"),
        ("${u/x/y}", ""),
        ("${u#x}", ""),
        ("${v#'h'}", "ello"),
        ("${path#\"a/\"}", "b/c.tar.gz"),
    ] {
        assert_eq!(expand(text), value, "{text}");
    }
}

#[test]
fn section_7_4_errors() {
    for text in ["${}", "${:-x}", "${{v}}"] {
        assert_eq!(fails(text), ExpandError::NoName, "{text}");
    }
    for text in ["${", "${v", "${v:", "${v:-", "${v:-a", "${v#", "a ${v/a/b"] {
        assert_eq!(fails(text), ExpandError::OpenBrace, "{text}");
    }
    assert_eq!(fails("${v/a}"), ExpandError::OpenPattern);
    for text in ["${v:=x}", "${v^}", "${v,}", "${v@Q}", "${v:#x}", "${v:%x}", "${v.x}", "${v:1:2}"] {
        assert!(matches!(fails(text), ExpandError::UnknownModifier { .. }), "{text}");
    }
    assert!(matches!(fails("${v#\\n}"), ExpandError::PatternEscape { .. }));
    assert_eq!(fails("${e:?}").to_string(), "e: is not allowed to be empty");
    assert_eq!(fails("${u?}").to_string(), "u: is not allowed to be unset");
    assert_eq!(fails("${u:?say $v}").to_string(), "u: say hello");
    assert_eq!(fails(&"${a:-".repeat(1000)), ExpandError::TooDeep);
}

#[test]
fn section_7_5_quotes() {
    for (text, value) in [
        ("'$v'", "$v"),
        ("'a\\'b", "a\\b"),
        ("\"$v\"", "hello"),
        ("\"a\\\"b\\$v\\\\\\n\"", "a\"b$v\\\\n"),
        ("a\\ b\\n", "a bn"),
        ("a\\", "a"),
        ("C:\\dir", "C:dir"),
        ("\\$v", "$v"),
        ("\\${v}", "${v}"),
        ("\"it's\"", "it's"),
        ("a\"b\"'c'd", "abcd"),
        ("$sp", "a  b"),
    ] {
        assert_eq!(expand(text), value, "{text}");
    }
    assert_eq!(fails("'a"), ExpandError::OpenQuote('\''));
    assert_eq!(fails("a\"b"), ExpandError::OpenQuote('"'));
    assert_eq!(fails("\"a\\"), ExpandError::OpenQuote('"'));
    let windows = word("C:\\dir`$v`\\", Mode::arguments('`'), &TABLE).unwrap();
    assert_eq!(windows.text, "C:\\dir$v\\");
}

#[test]
fn section_7_3_undefined_names_are_reported_once() {
    let expanded = word("$u$u${w:-x}$DECLARED$v", Mode::arguments('\\'), &TABLE).unwrap();
    assert_eq!(expanded.undefined, ["u", "w"]);
}

#[test]
fn section_7_6_words_split_what_comes_from_variables() {
    for (text, expected) in [
        ("80 $sp", vec!["80", "a", "b"]),
        ("\"$sp\" 'x y'", vec!["a  b", "x y"]),
        ("a\\ b", vec!["a b"]),
        ("\"\" $u", vec![]),
        ("8${u:-0}80", vec!["8080"]),
    ] {
        assert_eq!(words(text, Mode::arguments('\\'), &TABLE).unwrap().0, expected, "{text}");
    }
}

#[test]
fn section_6_7_bodies_know_no_quotes() {
    for (text, value) in [
        ("it's \"$v\"\n", "it's \"hello\"\n"),
        ("\\$v \\n \\\\ a\\\nb", "$v n \\ a\nb"),
        ("${u:-'x'}", "'x'"),
    ] {
        assert_eq!(word(text, Mode::HEREDOC, &TABLE).unwrap().text, value, "{text}");
    }
}

#[test]
fn raw_words_keep_what_was_written() {
    let raw = Mode { escape: '\\', quotes: true, raw: true };
    for (text, expected) in [
        ("cat << EOF > f", vec!["cat", "<< EOF", ">", "f"]),
        ("cat <<- EOF", vec!["cat", "<<-", "EOF"]),
        ("\"<<EOF\" '<<A' \\<<B", vec!["\"<<EOF\"", "'<<A'", "\\<<B"]),
        ("<<$EOF ${x:-\"y\"} <<\"a b\"", vec!["<<$EOF", "${x:-\"y\"}", "<<\"a b\""]),
    ] {
        assert_eq!(words(text, raw, &NoVariables).unwrap().0, expected, "{text}");
    }
}

/// A small generator of bad texts: the same at each run.
#[test]
fn no_text_makes_it_panic() {
    let parts = [
        "$", "{", "}", ":", "-", "+", "?", "#", "%", "/", "\\", "'", "\"", "v", "e", "é", " ", "*", "<<",
        "0", "@", "\n", "`",
    ];
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut text = String::new();
        for _ in 0..state % 24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(parts[(state >> 33) as usize % parts.len()]);
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        for mode in [
            Mode::arguments('\\'),
            Mode::arguments('`'),
            Mode::HEREDOC,
            Mode { escape: '\\', quotes: true, raw: true },
        ] {
            let one = word(&text, mode, &TABLE);
            let many = words(&text, mode, &TABLE);
            assert_eq!(one.is_ok(), many.is_ok(), "{text}");
        }
    }
}
