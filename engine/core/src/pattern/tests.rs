use super::*;

fn glob(pattern: &str, name: &str) -> bool {
    Glob::parse(pattern.as_bytes()).unwrap().matches(name.as_bytes())
}

fn path(pattern: &str, path: &str) -> bool {
    PathPattern::parse(pattern.as_bytes()).unwrap().matches(path.as_bytes())
}

#[test]
fn wildcards_match_as_go_does() {
    for (pattern, name) in [
        ("*", ""),
        ("*", ".hidden"),
        ("*.go", "main.go"),
        ("a*b*c", "a--b--b--c"),
        ("?", "ü"),
        ("[a-c]x", "bx"),
        ("[^a-c]x", "dx"),
        ("[[]x]", "[x]"),
        ("[\\]]", "]"),
        ("[ä-ü]", "ö"),
        ("\\*", "*"),
        ("a.b", "a.b"),
        ("***", "x"),
    ] {
        assert!(glob(pattern, name), "{pattern} {name}");
    }
    for (pattern, name) in [
        ("?", ""),
        ("?", "ab"),
        ("*.go", "main.gox"),
        ("[a-c]", "d"),
        ("[^a]", "a"),
        ("\\*", "x"),
        ("a.b", "axb"),
        ("a*b*c", "a--c--b"),
        ("A", "a"),
    ] {
        assert!(!glob(pattern, name), "{pattern} {name}");
    }
}

#[test]
fn malformed_patterns_are_refused() {
    for (pattern, error) in [
        ("[", PatternError::OpenClass),
        ("[a", PatternError::OpenClass),
        ("[a-", PatternError::OpenClass),
        ("[]", PatternError::BadClass),
        ("[-a]", PatternError::BadClass),
        ("[a-]", PatternError::BadClass),
        ("[\\", PatternError::OpenClass),
        ("a\\", PatternError::OpenEscape),
    ] {
        assert_eq!(Glob::parse(pattern.as_bytes()), Err(error), "{pattern}");
        assert!(PathPattern::parse(format!("x/{pattern}").as_bytes()).is_err());
    }
}

#[test]
fn many_stars_do_not_take_forever() {
    let pattern = "*a".repeat(200);
    assert!(!glob(&pattern, &"a".repeat(199)));
    let odd = format!("x**{}b", "*a".repeat(100));
    assert!(!path(&odd, &format!("x{}", "a".repeat(2000))));
    let parts = "**/a/".repeat(60) + "b";
    assert!(!path(&parts, &"a/".repeat(500)));
}

#[test]
fn two_stars_span_directories() {
    for (pattern, text) in [
        ("**/x", "x"),
        ("**/x", "a/b/x"),
        ("a/**", "a/b"),
        ("a/**", "a/b/c"),
        ("a/**/b", "a/b"),
        ("a/**/b", "a/x/y/b"),
        ("**", "a/b"),
        ("**/*.md", "d/x.md"),
        ("**/**", "a"),
        ("**x", "a/bx"),
        ("a**", "ab/c"),
        ("a**b", "ab"),
        ("a**b", "a/x/b"),
        ("x**/y", "xfoo/y"),
        ("**x*", "d/xy"),
    ] {
        assert!(path(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [
        ("a/**", "a"),
        ("*/x", "x"),
        ("*/x", "a/b/x"),
        ("x", "a/x"),
        ("a/**/b", "a/xb"),
        ("a**b", "axb"),
        ("**x*", "d/ax"),
    ] {
        assert!(!path(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn a_component_is_a_pattern_if_something_in_it_is_not_escaped() {
    assert!(has_wildcard(b"a*"));
    assert!(has_wildcard(b"\\\\*"));
    assert!(!has_wildcard(b"a\\*"));
    assert!(!has_wildcard(b"a\\"));
}
