//! What dpkg and apt say of the same facts. Without them, as on a machine that is not Debian's, there is nothing to ask.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use debian_image::index::Index;
use debian_image::resolve::{Base, Wanted, resolve};
use debian_image::version::{compare, is_version};

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

/// A generator of numbers that is the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }
}

#[test]
fn versions_are_ordered_as_dpkg_orders_them() {
    if !is_there("dpkg") {
        return;
    }
    let mut numbers = Numbers(7);
    let parts = ["0", "1", "01", "9", "10", "~", "+", "a", "b", ".", "-", "rc", "deb12u", "Z", "1:", "-0"];
    let mut versions: Vec<String> =
        ["1.0-1", "1.0", "1.0~rc1-1", "2:0.1", "1.0-1+b1"].map(str::to_owned).to_vec();
    while versions.len() < 60 {
        let text: String = (0..1 + numbers.next(6)).map(|_| parts[numbers.next(parts.len())]).collect();
        let text = format!("{}{text}", numbers.next(3));
        if is_version(&text) {
            versions.push(text);
        }
    }
    let mut script = String::new();
    let mut pairs = Vec::new();
    for _ in 0..600 {
        let (a, b) = (&versions[numbers.next(versions.len())], &versions[numbers.next(versions.len())]);
        script += &format!(
            "if dpkg --compare-versions '{a}' lt '{b}'; then echo l; elif dpkg --compare-versions '{a}' eq '{b}'; then echo e; else echo g; fi\n"
        );
        pairs.push((a, b));
    }
    let told = Command::new("sh").arg("-c").arg(script).output().expect("sh runs");
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert_eq!(told.lines().count(), pairs.len());
    for (line, (a, b)) in told.lines().zip(pairs) {
        let expected = match line {
            "l" => Ordering::Less,
            "e" => Ordering::Equal,
            _ => Ordering::Greater,
        };
        assert_eq!(compare(a, b), expected, "{a} and {b}");
    }
}

/// A world in which a package needs some of those after it, in one way or in several, and some are provided by others.
fn world(numbers: &mut Numbers) -> String {
    const PACKAGES: usize = 40;
    let mut text = String::new();
    for number in 0..PACKAGES {
        let version = 1 + numbers.next(3);
        text += &format!(
            "Package: pkg{number}\nVersion: {version}\nArchitecture: amd64\nMaintainer: x\nDescription: x\n"
        );
        text += &format!("Filename: ./pkg{number}.deb\nSize: 1\nSHA256: {:064x}\n", number);
        let later = |numbers: &mut Numbers| number + 1 + numbers.next(PACKAGES - number);
        let mut needs = Vec::new();
        for _ in 0..numbers.next(4) {
            let (one, other) = (later(numbers), later(numbers));
            if one >= PACKAGES || other >= PACKAGES {
                continue;
            }
            needs.push(match numbers.next(4) {
                0 => format!("pkg{one} (>= 1)"),
                1 => format!("nowhere | pkg{one}"),
                2 => format!("pkg{one}, pkg{other}"),
                _ => format!("pkg{one}:any"),
            });
        }
        needs.retain(|need| !need.ends_with(":any") || number % 2 == 0);
        let needs: Vec<String> = needs.into_iter().map(|need| need.replace(":any", "")).collect();
        if !needs.is_empty() {
            text += &format!(
                "{}: {}\n",
                if number % 5 == 0 { "Pre-Depends" } else { "Depends" },
                needs.join(", ")
            );
        }
        if number % 9 == 4 {
            text += &format!("Provides: virtual{number}\n");
        }
        if number % 9 == 8 {
            let index = text.rfind("Description").unwrap_or(0);
            text.insert_str(index, &format!("Recommends: virtual{}\n", number - 4));
        }
        text += "\n";
    }
    text
}

#[test]
fn what_is_needed_is_what_apt_would_install() {
    if !is_there("apt-get") {
        return;
    }
    let mut numbers = Numbers(11);
    for _ in 0..6 {
        let text = world(&mut numbers);
        let index = Index::new([(0, text.as_str())], "amd64").expect("the list is good");
        let root = tempfile::tempdir().expect("a directory");
        let mirror = root.path().join("mirror");
        fs::create_dir_all(&mirror).expect("a directory");
        fs::write(mirror.join("Packages"), &text).expect("the list is written");
        let apt = Apt::new(root.path(), &mirror);
        for _ in 0..4 {
            let wanted = format!("pkg{}", numbers.next(12));
            let named = [Wanted { name: wanted.clone(), version: None }];
            let found = resolve(&index, "amd64", &named, Base::Nothing, false).expect("it can be had");
            let found: BTreeSet<String> = found.iter().map(|package| package.name.to_owned()).collect();
            assert_eq!(found, apt.would_install(&wanted), "{wanted} of\n{text}");
        }
    }
}

/// An apt that knows of one list and of nothing that is installed.
struct Apt(Vec<String>);

impl Apt {
    fn new(root: &Path, mirror: &Path) -> Self {
        for directory in ["state/lists/partial", "cache/archives/partial", "etc"] {
            fs::create_dir_all(root.join(directory)).expect("a directory");
        }
        fs::write(root.join("status"), "").expect("an empty status");
        let source = format!("deb [trusted=yes] file:{} ./\n", mirror.display());
        fs::write(root.join("sources.list"), source).expect("the source is written");
        let at = |what: &str| root.join(what).display().to_string();
        let options = [
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc={}", at("etc")),
            format!("Dir::Etc::sourcelist={}", at("sources.list")),
            "Dir::Etc::sourceparts=-".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ];
        let apt = Self(options.into_iter().flat_map(|option| ["-o".to_owned(), option]).collect());
        apt.run(&["update"]);
        apt
    }

    fn run(&self, args: &[&str]) -> String {
        let output = Command::new("apt-get").args(&self.0).args(args).output().expect("apt-get runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn would_install(&self, package: &str) -> BTreeSet<String> {
        let told = self.run(&["-s", "install", "--no-install-recommends", package]);
        let lines = told.lines().filter_map(|line| line.strip_prefix("Inst "));
        lines.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
    }
}
