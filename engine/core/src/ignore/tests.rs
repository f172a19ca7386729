use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const CONTEXT: [&str; 11] =
    [".git", ".git/HEAD", "README.md", "a.md", "d", "d/x.md", "d/y.txt", "n", "n/m", "n/m/x.md", "n/z"];

fn ignore(patterns: &str) -> Ignore {
    Ignore::parse(patterns.replace(' ', "\n").as_bytes()).unwrap()
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// The slow way: every pattern against the path and all above it, from the top. One that does not change the verdict
/// on a directory is as one that does not match it.
fn naive(ignore: &Ignore, path: &str) -> bool {
    let mut above = vec![false; ignore.rules.len()];
    let mut verdict = false;
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        verdict = false;
        for (rule, matched) in ignore.rules.iter().zip(&mut above) {
            *matched |= rule.negated == verdict && rule.pattern.matches(&path.as_bytes()[..end]);
            if *matched {
                verdict = !rule.negated;
            }
        }
    }
    verdict
}

/// What stays of the paths above, as a walker that prunes sees it.
fn check(patterns: &str, stays: &str) {
    let ignore = ignore(patterns);
    let mut sieve = Sieve::new(&ignore);
    let mut kept = Vec::new();
    for text in CONTEXT {
        let matched = sieve.judge(&path(text)).matched;
        assert_eq!(matched, naive(&ignore, text), "{patterns}: {text}");
        assert_eq!(matched, ignore.excludes(&path(text)), "{patterns}: {text}");
        if !matched {
            kept.push(text);
        }
    }
    assert_eq!(kept.join(" "), stays, "{patterns}");
}

#[test]
fn white_space_around_a_pattern_is_no_part_of_it() {
    let ignore = Ignore::parse("\t a.md\u{b}\n!\u{a0}d\u{3000}\n".as_bytes()).unwrap();
    assert!(ignore.excludes(&path("a.md")));
    assert!(!ignore.excludes(&path("d")));
    // What is no text has no white space but that of ASCII.
    let ignore = Ignore::parse(b" \xff.md \n").unwrap();
    assert!(ignore.excludes(&TreePath::clean(b"\xff.md")));
}

#[test]
fn the_worked_examples_come_out() {
    let git = ".git .git/HEAD";
    check("*.md", &format!("{git} d d/x.md d/y.txt n n/m n/m/x.md n/z"));
    check("**/*.md", &format!("{git} d d/y.txt n n/m n/z"));
    check("*.md !README.md", &format!("{git} README.md d d/x.md d/y.txt n n/m n/m/x.md n/z"));
    check("*.md !README*.md README.md", &format!("{git} d d/x.md d/y.txt n n/m n/m/x.md n/z"));
    check("d !d/x.md", &format!("{git} README.md a.md d/x.md n n/m n/m/x.md n/z"));
    check("* !d", "d d/x.md d/y.txt");
    check("** !**/*.md", "README.md a.md d/x.md n/m/x.md");
    check("/d/", &format!("{git} README.md a.md n n/m n/m/x.md n/z"));
}

#[test]
fn odd_patterns_come_out() {
    let all = CONTEXT.join(" ");
    check("", &all);
    check(".", &all);
    check("/", &all);
    check("!.", &all);
    check("!d", &all);
    check("../d", &all);
    check("x.md", &all);
    check("**md !n/**", ".git .git/HEAD d d/y.txt n n/m n/m/x.md n/z");
    check("d/** !d/y.txt", ".git .git/HEAD README.md a.md d d/y.txt n n/m n/m/x.md n/z");
    check("* !n/m/../m/x*", "n/m/x.md");
    check("a/../d//x.md", &all.replace("d/x.md ", ""));
}

#[test]
fn a_pattern_without_effect_on_a_directory_has_none_on_what_it_holds() {
    let of = |patterns: &str, text: &str| ignore(patterns).excludes(&path(text));
    assert!(of("**/*-a !**/*-c", "x-c/f-a"));
    assert!(!of("**/*-a !**/*-c", "x-a/y-c/f-a"));
    assert!(of("*/file !subdir", "subdir/file"));
    assert!(!of("d !d/keep d", "d/keep"));
    assert!(of("**/x !**/x **/y", "x/y"));
    assert!(!of("**/x **/y !**/x", "x/y"));
}

#[test]
fn lines_are_read_as_the_reference_reads_them() {
    let ignore = Ignore::parse(b"\xef\xbb\xbf# comment\n  #file \r\n\n ! keep\n\\#x\n").unwrap();
    assert_eq!(ignore.rules.len(), 3);
    assert!(ignore.excludes(&path("#file")));
    assert!(ignore.excludes(&path("#x")));
    assert!(ignore.rules[1].negated);
}

#[test]
fn bad_lines_are_named() {
    let error = Ignore::parse(b"ok\n!\n").unwrap_err();
    assert_eq!((error.line, &*error.pattern), (2, "!"));
    let error = Ignore::parse(b"a[\n").unwrap_err();
    assert_eq!(error.to_string(), "line 1: `a[` is not a pattern: a `[` is not closed");
    let long = vec![b'a'; MAX_LINE + 1];
    assert!(Ignore::parse(&long).is_err());
}

#[test]
fn an_excluded_directory_is_looked_into_only_when_something_may_come_back() {
    let settled = |patterns: &str, dir: &str| Sieve::new(&ignore(patterns)).judge(&path(dir)).settled;
    assert!(settled("d", "d"));
    assert!(!settled("d !d/x", "d"));
    assert!(settled("d !e/x", "d"));
    assert!(!settled("d !**/x", "d"));
    assert!(settled("!**/x d", "d"));
}

#[test]
fn pruned_and_naive_verdicts_agree_on_random_lists() {
    let mut seed = 7_u32;
    let mut next = move |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    let words = ["a", "b", "*", "**", "a*", "*.a", "?", "**b", "b.a", "[ab]"];
    let names = ["a", "b", "ab", "b.a", "c.a"];
    for _ in 0..3000 {
        let mut pattern = |_| {
            let bang = if next(3) == 0 { "!" } else { "" };
            let parts: Vec<_> = (0..=next(3)).map(|_| words[next(10) as usize]).collect();
            format!("{bang}{}", parts.join("/"))
        };
        let patterns: Vec<String> = (0..4).map(&mut pattern).collect();
        let ignore = Ignore::from_patterns(&patterns).unwrap();
        for a in names {
            for b in names {
                for text in [a.to_owned(), format!("{a}/{b}"), format!("{a}/{b}/{a}")] {
                    assert_eq!(ignore.excludes(&path(&text)), naive(&ignore, &text), "{patterns:?} {text}");
                }
            }
        }
    }
}

/// Whether `pattern` matches all of `path`: §19.3 of the Dockerfile specification, one row per arm. Slow, and shares no
/// code with what it judges.
fn model(pattern: &[char], path: &[char]) -> bool {
    let any_directories = |rest: &[char]| {
        model(rest, path)
            || (0..path.len()).filter(|at| path[*at] == '/').any(|at| model(rest, &path[at + 1..]))
    };
    match pattern {
        [] => path.is_empty(),
        ['*', '*', '/', rest @ ..] => any_directories(rest),
        ['*', '*', rest @ ..] => (0..=path.len()).any(|at| model(rest, &path[at..])),
        ['*', rest @ ..] => {
            model(rest, path) || path.first().is_some_and(|c| *c != '/' && model(pattern, &path[1..]))
        }
        ['?', rest @ ..] => path.first().is_some_and(|c| *c != '/') && model(rest, &path[1..]),
        ['[', '^', from, '-', to, ']', rest @ ..] => {
            path.first().is_some_and(|c| *c != '/' && !(from..=to).contains(&c)) && model(rest, &path[1..])
        }
        ['[', from, '-', to, ']', rest @ ..] => {
            path.first().is_some_and(|c| (from..=to).contains(&c)) && model(rest, &path[1..])
        }
        ['\\', c, rest @ ..] | [c, rest @ ..] => path.first() == Some(c) && model(rest, &path[1..]),
    }
}

/// §19.4: the last pattern decides that matches the path or a directory above it, where one that changes nothing about a
/// directory counts as one that does not match it.
fn model_excludes(patterns: &[(bool, String)], path: &str) -> bool {
    let path: Vec<char> = path.chars().collect();
    let mut taken_over = vec![false; patterns.len()];
    let mut excluded = false;
    for end in (1..=path.len()).filter(|end| *end == path.len() || path[*end] == '/') {
        excluded = false;
        for ((negated, pattern), matched) in patterns.iter().zip(&mut taken_over) {
            let pattern: Vec<char> = pattern.chars().collect();
            *matched |= *negated == excluded && model(&pattern, &path[..end]);
            if *matched {
                excluded = !negated;
            }
        }
    }
    excluded
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn lists_decide_as_the_specification_says(
        patterns in vec(
            (any::<bool>(), vec(prop_oneof![
                3 => vec(select(vec!["a", "b", "é", "*", "?", "[a-b]", "[^a-a]", "\\*", "\\a", ".", "-"]), 1..4)
                    .prop_map(|pieces| pieces.concat())
                    .prop_filter("odd", |part| !part.contains("**")),
                1 => Just("**".to_owned()),
            ], 1..4)),
            1..5,
        ),
        path in vec("[abé*.-]{1,3}", 1..4),
    ) {
        let patterns: Vec<(bool, String)> =
            patterns.into_iter().map(|(negated, parts)| (negated, parts.join("/"))).collect();
        let ambiguous = |text: &str| text.split('/').any(|part| part.contains("***") || matches!(part, "." | ".."));
        prop_assume!(!patterns.iter().any(|(_, pattern)| ambiguous(pattern)));
        let path = path.join("/");
        prop_assume!(!ambiguous(&path.replace('*', "x")));
        let lines: Vec<String> = patterns
            .iter()
            .map(|(negated, pattern)| format!("{}{pattern}", if *negated { "!" } else { "" }))
            .collect();
        let ignore = Ignore::parse(lines.join("\n").as_bytes()).unwrap();
        let expected = model_excludes(&patterns, &path);
        prop_assert_eq!(ignore.excludes(&self::path(&path)), expected, "{:?} {}", lines, path);
    }

    #[test]
    fn no_list_and_no_path_make_it_panic(
        list in vec(prop_oneof![1 => any::<u8>(), 4 => select(b"ab*?[]^-\\!#/. \n".to_vec())], 0..60),
        path in vec(any::<u8>(), 1..12),
    ) {
        // The root itself is never asked about.
        if let (Ok(ignore), Ok(path)) = (Ignore::parse(&list), TreePath::parse(&path))
            && path != TreePath::root()
        {
            let naive = String::from_utf8(path.as_bytes().to_vec()).is_ok_and(|path| naive(&ignore, &path));
            prop_assert!(ignore.excludes(&path) == naive || std::str::from_utf8(path.as_bytes()).is_err());
        }
    }
}
