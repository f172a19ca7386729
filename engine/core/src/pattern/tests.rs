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

#[test]
fn a_look_at_a_name_refuses_nothing_that_matches() {
    let mut seed = 11_u32;
    let mut next = move |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    let pieces = ["a", "b", "é", ".", "*", "?", "[ab]", "[^a]", "\\*", "ab"];
    let letters = ["a", "b", "é", ".", "*", "ab", "\u{1f600}"];
    let mut matched = 0;
    for _ in 0..20_000 {
        let pattern: String = (0..=next(4)).map(|_| pieces[next(10) as usize]).collect();
        let name: String = (0..=next(4)).map(|_| letters[next(7) as usize]).collect();
        let glob = Glob::parse(pattern.as_bytes()).unwrap();
        if glob.matches(name.as_bytes()) {
            matched += 1;
            assert!(Name::of(name.as_bytes()).may_pass(&glob.screen()), "{pattern} {name}");
        }
        let path = format!("{pattern}/{name}");
        for odd in [format!("**/{pattern}**{name}"), format!("**{name}"), format!("a**/{pattern}")] {
            let Ok(PathPattern::Odd(odd)) = PathPattern::parse(odd.as_bytes()) else { continue };
            for path in [&name, &path] {
                assert!(!odd.matches(path.as_bytes()) || Name::of(path.as_bytes()).may_pass(&odd.screen()));
            }
        }
    }
    assert!(matched > 1_000, "{matched}");
}
