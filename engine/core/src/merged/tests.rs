use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::digest::{Digest, FileDigest, LayerId};
use crate::tree::File;

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// A tree from words: `dir/` a directory, `dir/!` an opaque one, `name=text` a file, `name->target` a symbolic link,
/// `name=>path` a further name, `-name` a whiteout. Each may end in `@mode` (octal), and then in `:uid:gid`.
pub(crate) fn tree(text: &str) -> Tree {
    let entries = text.split_whitespace().map(|word| {
        let (word, rest) = word.split_once('@').unwrap_or((word, ""));
        let mut rest = rest.split(':');
        let mode = rest.next().filter(|m| !m.is_empty()).map(|m| u32::from_str_radix(m, 8).unwrap());
        let mut number = || rest.next().map_or(0, |n| n.parse().unwrap());
        let (uid, gid) = (number(), number());
        let (name, kind, usual) = if let Some(name) = word.strip_prefix('-') {
            (name, Kind::Whiteout, 0)
        } else if let Some((name, first)) = word.split_once("=>") {
            (name, Kind::Link(path(first)), 0o644)
        } else if let Some((name, target)) = word.split_once("->") {
            (name, Kind::Symlink(target.as_bytes().into()), 0o777)
        } else if let Some((name, text)) = word.split_once('=') {
            (name, Kind::File(file(text)), 0o644)
        } else if let Some(name) = word.strip_suffix("/!") {
            (name, Kind::Directory { opaque: true }, 0o755)
        } else {
            (word, Kind::Directory { opaque: false }, 0o755)
        };
        let entry = Entry { kind, mode: mode.unwrap_or(usual), uid, gid, ..Entry::directory() };
        (path(name), entry)
    });
    Tree::new(entries.collect())
}

fn file(text: &str) -> File {
    File {
        size: text.len() as u64,
        content: Content {
            digest: Some(FileDigest::of(text.as_bytes())),
            place: Place::Inline(text.as_bytes().into()),
        },
    }
}

/// Layers from texts, base first.
pub(crate) fn merged(layers: &[&str]) -> Merged {
    let layer = |(n, text): (usize, &&str)| (LayerId(Digest::of(&[n as u8])), Arc::new(tree(text)));
    Merged::new(layers.iter().enumerate().map(layer).collect())
}

fn listing(merged: &Merged, below: &str) -> String {
    let words = merged.walk(&path(below)).map(|(path, found)| {
        let again = merged.get(&path).unwrap();
        assert!(std::ptr::eq(again.entry, found.entry), "{path:?}");
        let home = found.home.map_or("-".into(), |h| h.layer.to_string());
        format!("{}:{home}", path.display().trim_start_matches('/'))
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_topmost_entry_shows_and_directories_are_united() {
    let m = merged(&["a/ a/x=1 a/y=1 b=1", "a/ a/y=2 a/z/ a-b=2"]);
    assert_eq!(listing(&m, ""), "a:1 a/x:0 a/y:1 a/z:1 a-b:1 b:0");
    assert_eq!(listing(&m, "a"), "a/x:0 a/y:1 a/z:1");
    assert_eq!(listing(&m, "b"), "");
    assert_eq!(listing(&m, "nothing"), "");
}

#[test]
fn whiteouts_hide_what_lies_below_and_only_that() {
    let m = merged(&["a/ a/x=1 b=1", "-a -b", "a/ a/y=3"]);
    assert_eq!(listing(&m, ""), "a:2 a/y:2");
    assert!(m.get(&path("b")).is_none());
    assert!(m.get(&path("a/x")).is_none());
}

#[test]
fn an_opaque_directory_and_a_file_in_between_close_what_lies_below() {
    assert_eq!(listing(&merged(&["a/ a/x=1", "a/! a/y=2"]), ""), "a:1 a/y:1");
    assert_eq!(listing(&merged(&["a/ a/x=1", "a=2", "a/ a/y=3"]), ""), "a:2 a/y:2");
    assert_eq!(listing(&merged(&["a/ a/x=1", "a=2"]), ""), "a:1");
}

#[test]
fn a_directory_without_an_entry_is_roots_or_has_the_metadata_of_a_lower_one() {
    let m = merged(&["a/@700:5:6", "a/b/c=1"]);
    assert_eq!(listing(&m, ""), "a:0 a/b:- a/b/c:1");
    assert_eq!(m.get(&path("a")).unwrap().entry.uid, 5);
    assert_eq!(m.get(&path("a/b")).unwrap().entry.mode, 0o755);
    // A lower file is hidden by an implied directory too.
    assert_eq!(listing(&merged(&["a=1", "a/b=2"]), ""), "a:- a/b:1");
}

#[test]
fn a_hard_link_is_seen_as_the_file_it_names() {
    let m = merged(&["a=text@600 b=>a", "-a"]);
    let found = m.get(&path("b")).unwrap();
    assert_eq!(found.entry.mode, 0o600);
    assert_eq!(found.home.unwrap().path, &path("a"));
    assert!(found.home.unwrap().linked);
    assert_eq!(listing(&m, ""), "b:0");
    assert!(merged(&["b=>a"]).get(&path("b")).is_none());
}

#[test]
fn a_file_in_its_own_layer_gets_an_absolute_place() {
    let mut here = tree("f=1");
    here.entries_mut().for_each(|(_, entry)| {
        if let Kind::File(file) = &mut entry.kind {
            file.content.place = Place::Here;
        }
    });
    let id = LayerId(Digest::of(b"x"));
    let m = Merged::new(vec![(id, Arc::new(here))]);
    let content = m.content(&m.get(&path("f")).unwrap()).unwrap();
    assert_eq!(content.place, Place::Layer { layer: id, path: path("f") });
}

#[test]
fn children_are_listed_without_what_they_hold() {
    let m = merged(&["a/ a/b/ a/b/c=1 a/d=1", "-a/d a/e=2"]);
    let names: Vec<_> = m.children(&path("a")).into_iter().map(|(p, _)| p.display()).collect();
    assert_eq!(names, ["/a/b", "/a/e"]);
}

fn resolves(m: &Merged, from: &str) -> String {
    match m.resolve(&path(from), Follow::Last) {
        Ok(Resolved { path, existing, .. }) => format!("{} {existing}", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn links_are_followed_inside_the_root() {
    let m = merged(&[
        "usr/ usr/lib/ usr/lib/x=1 lib->usr/lib up->../../../usr abs->/lib/x dangling->/no/../where loop->loop \
         a/ a/b->../up/lib",
    ]);
    assert_eq!(resolves(&m, "lib/x"), "/usr/lib/x 3");
    assert_eq!(resolves(&m, "up/lib"), "/usr/lib 2");
    assert_eq!(resolves(&m, "abs"), "/usr/lib/x 3");
    assert_eq!(resolves(&m, "a/b/x"), "/usr/lib/x 3");
    assert_eq!(resolves(&m, "lib/new/file"), "/usr/lib/new/file 2");
    assert_eq!(resolves(&m, "dangling"), "/where 0");
    assert_eq!(resolves(&m, "loop"), "`/loop` leads through more than 40 symbolic links");
    assert_eq!(resolves(&m, "abs/y"), "`/usr/lib/x` is not a directory, so `/abs/y` cannot be in it");
    let last = m.resolve(&path("lib"), Follow::NotLast).unwrap();
    assert_eq!(last.path, path("lib"));
}

#[test]
fn scratch_holds_an_empty_root() {
    let m = Merged::default();
    assert_eq!(m.get(&TreePath::root()).unwrap().entry.mode, 0o755);
    assert_eq!(listing(&m, ""), "");
    assert_eq!(resolves(&m, "a/b"), "/a/b 0");
}

/// What layers make of a map when each is applied to it in turn.
fn naive(layers: &[Tree]) -> BTreeMap<String, Entry> {
    let mut shown: BTreeMap<String, Entry> = BTreeMap::new();
    let text = |path: &TreePath| String::from_utf8(path.as_bytes().to_vec()).unwrap();
    for layer in layers {
        let below = shown.clone();
        for (path, entry) in layer.entries() {
            let inside = format!("{}/", text(path));
            let replaces = !entry.is_directory() || matches!(entry.kind, Kind::Directory { opaque: true });
            if replaces {
                shown.retain(|p, _| !(below.contains_key(p) && p.starts_with(&inside)));
            }
            shown.remove(&text(path));
            for (index, _) in inside.match_indices('/') {
                let above = &inside[..index];
                if above.len() < inside.len() - 1 && !shown.get(above).is_some_and(Entry::is_directory) {
                    shown.insert(above.to_owned(), Entry::directory());
                }
            }
            if entry.kind != Kind::Whiteout {
                shown.insert(text(path), entry.clone());
            }
        }
    }
    shown
}

#[test]
fn random_layers_show_what_applying_them_in_turn_gives() {
    let mut seed = 3_u32;
    let mut next = move |n: u32| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 16) % n
    };
    for round in 0..3000 {
        let mut layers = Vec::new();
        for _ in 0..=next(4) {
            let mut words: Vec<String> = Vec::new();
            let mut names: Vec<String> = Vec::new();
            let mut directories = vec![String::new()];
            for _ in 0..next(8) {
                let above = &directories[next(directories.len() as u32) as usize];
                let name = format!("{above}{}", ["a", "b", "a.b", "c"][next(4) as usize]);
                if names.contains(&name) {
                    continue;
                }
                names.push(name.clone());
                words.push(match next(5) {
                    0 => format!("-{name}"),
                    1 => format!("{name}={round}"),
                    kind => {
                        directories.push(format!("{name}/"));
                        format!("{name}/{}", if kind == 2 { "!" } else { "" })
                    }
                });
            }
            layers.push(words.join(" "));
        }
        let texts: Vec<&str> = layers.iter().map(|text| &**text).collect();
        let trees: Vec<Tree> = texts.iter().map(|text| tree(text)).collect();
        let merged = merged(&texts);
        let shown: Vec<(String, u32, bool)> = merged
            .walk(&TreePath::root())
            .map(|(path, found)| {
                assert!(std::ptr::eq(merged.get(&path).unwrap().entry, found.entry));
                (String::from_utf8(path.as_bytes().to_vec()).unwrap(), found.entry.mode, found.is_directory())
            })
            .collect();
        let mut expected: Vec<(String, u32, bool)> =
            naive(&trees).into_iter().map(|(path, entry)| (path, entry.mode, entry.is_directory())).collect();
        expected.sort_by(|a, b| crate::tree::compare_paths(a.0.as_bytes(), b.0.as_bytes()));
        assert_eq!(shown, expected, "{texts:?}");
    }
}
