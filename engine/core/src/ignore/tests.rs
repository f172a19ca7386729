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
