//! Small worlds of packages, and what comes out of each.

use super::*;

/// `name version; Field: value; …` per line.
fn list(world: &str) -> String {
    let mut text = String::new();
    for line in world.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let mut parts = line.split(';').map(str::trim);
        let (name, version) = parts.next().unwrap().split_once(' ').unwrap();
        text += &format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n");
        parts.for_each(|field| text += &format!("{field}\n"));
        text += "\n";
    }
    text
}

fn solve(world: &str, wanted: &[&str], base: Base) -> Result<String, Vec<Problem>> {
    let text = list(world);
    let index = Index::new([(0, text.as_str())], "amd64").unwrap();
    let wanted: Vec<Wanted> = wanted
        .iter()
        .map(|text| match text.split_once('=') {
            Some((name, version)) => Wanted { name: name.into(), version: Some(version.into()) },
            None => Wanted { name: (*text).into(), version: None },
        })
        .collect();
    let found = resolve(&index, "amd64", &wanted, base, false)?;
    Ok(found
        .iter()
        .map(|package| format!("{}={}", package.name, package.version))
        .collect::<Vec<_>>()
        .join(" "))
}

fn problem(world: &str, wanted: &[&str]) -> Problem {
    let mut problems = solve(world, wanted, Base::Nothing).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn what_is_needed_comes_along_in_its_latest_version() {
    let world = "aa 1; Depends: bb (>= 1), cc\n bb 1\n bb 1.10\n bb 1.9\n cc 1; Pre-Depends: dd:any\n dd 2; Recommends: ee\n ee 1";
    assert_eq!(solve(world, &["aa"], Base::Nothing).unwrap(), "aa=1 bb=1.10 cc=1 dd=2");
    assert_eq!(solve(world, &["aa", "bb=1.9"], Base::Nothing).unwrap(), "aa=1 bb=1.9 cc=1 dd=2");
    let circle = "aa 1; Depends: bb\n bb 1; Depends: aa";
    assert_eq!(solve(circle, &["aa"], Base::Nothing).unwrap(), "aa=1 bb=1");
    let older = "aa 1; Depends: bb (<< 2)\n bb 1\n bb 2";
    assert_eq!(solve(older, &["aa"], Base::Nothing).unwrap(), "aa=1 bb=1");
}

#[test]
fn of_alternatives_the_one_that_is_there_does_and_else_the_first() {
    let world = "aa 1; Depends: bb | cc\n bb 1\n cc 1\n dd 1; Depends: cc\n xx 1; Depends: none | cc";
    assert_eq!(solve(world, &["aa"], Base::Nothing).unwrap(), "aa=1 bb=1");
    assert_eq!(solve(world, &["aa", "dd"], Base::Nothing).unwrap(), "aa=1 cc=1 dd=1");
    assert_eq!(solve(world, &["xx"], Base::Nothing).unwrap(), "cc=1 xx=1");
    let clash = "aa 1; Depends: bb | cc\n bb 1; Conflicts: dd\n cc 1\n dd 1";
    assert_eq!(solve(clash, &["aa", "dd"], Base::Nothing).unwrap(), "aa=1 cc=1 dd=1");
}

#[test]
fn a_name_that_others_provide_is_satisfied_by_the_most_common() {
    let world = "aa 1; Depends: mta\n zz 1; Provides: mta; Priority: standard\n bb 1; Provides: mta\n vv 1; Depends: mta (>= 2)\n ww 1; Provides: mta (= 2)";
    assert_eq!(solve(world, &["aa"], Base::Nothing).unwrap(), "aa=1 zz=1");
    assert_eq!(solve(world, &["aa", "bb"], Base::Nothing).unwrap(), "aa=1 bb=1");
    assert_eq!(solve(world, &["vv"], Base::Nothing).unwrap(), "vv=1 ww=1");
    let alone = "aa 1; Provides: mta; Conflicts: mta\n bb 1; Depends: aa";
    assert_eq!(solve(alone, &["bb"], Base::Nothing).unwrap(), "aa=1 bb=1");
    let told = problem(world, &["mta"]);
    assert!(told.help.contains("zz, bb, ww"), "{told:?}");
}

#[test]
fn the_base_is_what_is_essential_or_required() {
    let world = "aa 1; Essential: yes; Pre-Depends: bb\n bb 1\n cc 1; Priority: required\n dd 1";
    assert_eq!(solve(world, &[], Base::Essential).unwrap(), "aa=1 bb=1");
    assert_eq!(solve(world, &["dd"], Base::Required).unwrap(), "aa=1 bb=1 cc=1 dd=1");
}

#[test]
fn what_cannot_be_is_told_with_the_chain_that_leads_there() {
    let told = problem("aa 1; Depends: bb\n bb 2; Depends: cc (>= 3) | dd\n cc 1", &["aa"]);
    assert_eq!(told.message, "nothing satisfies `Depends: cc (>= 3) | dd` of `bb` 2");
    assert_eq!(told.chain, "`bb` is needed by `aa` (Depends: bb)\n`aa` is named here");
    assert_eq!((told.help.as_str(), told.wanted), ("`cc` is there in the version 1", Some(0)));

    let told = problem("aa 1\n bb 1; Breaks: aa (<< 2)", &["aa", "bb"]);
    assert_eq!(told.message, "`bb` and `aa` 1 cannot be in one image");
    assert!(told.chain.contains("Breaks: aa (<< 2)"), "{told:?}");

    let told = problem("libfoo 1\n", &["libfo"]);
    assert_eq!((told.code, told.help.as_str()), ("debian-no-package", "did you mean `libfoo`?"));
    let told = problem("aa 1\n aa 2", &["aa=3"]);
    assert_eq!((told.code, told.help.as_str()), ("debian-version", "there is 2, 1"));
    let told = problem("aa 1; Depends: b b", &["aa"]);
    assert_eq!(told.code, "debian-malformed");
}
