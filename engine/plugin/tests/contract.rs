//! Compares the contract with the texts of it that were published: what is built against one of those is served for
//! ever (docs/plugins/guide.md, "Versioning").
//!
//! Stricter than what the component model calls compatible, and with the name of what changed: a published record,
//! variant, enumeration or function is equal, and only interfaces that no plugin exports may get new functions.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{
    Function, Handle, InterfaceId, Resolve, Type, TypeDefKind, TypeId, TypeOwner, WorldItem, WorldKey,
};

/// A contract as texts: each function and named type by the interface it is in, each world by its name.
#[derive(Default)]
struct Contract {
    /// Types and functions by name.
    interfaces: BTreeMap<String, BTreeMap<String, String>>,
    /// Interfaces that plugins export.
    exported: Vec<String>,
    /// Imports and exports by world.
    worlds: BTreeMap<String, (Vec<String>, Vec<String>)>,
}

impl Contract {
    fn of(resolve: &Resolve) -> Self {
        let mut contract = Self::default();
        for (id, interface) in resolve.interfaces.iter() {
            let types = interface.types.iter().map(|(name, id)| (name.clone(), definition(resolve, *id)));
            let functions =
                interface.functions.iter().map(|(name, it)| (name.clone(), signature(resolve, it)));
            contract.interfaces.insert(named(resolve, id), types.chain(functions).collect());
        }
        for (_, world) in resolve.worlds.iter() {
            let list = |items: &mut dyn Iterator<Item = (&WorldKey, &WorldItem)>| {
                let mut names: Vec<String> = items
                    .map(|(key, item)| match (key, item) {
                        (WorldKey::Interface(id), _) | (_, WorldItem::Interface { id, .. }) => {
                            named(resolve, *id)
                        }
                        (WorldKey::Name(name), _) => name.clone(),
                    })
                    .collect();
                names.sort();
                names
            };
            let (imports, exports) = (list(&mut world.imports.iter()), list(&mut world.exports.iter()));
            contract.exported.extend(exports.iter().cloned());
            contract.worlds.insert(world.name.clone(), (imports, exports));
        }
        contract
    }

    fn read(directory: &Path) -> Self {
        let mut resolve = Resolve::default();
        let read = resolve.push_dir(directory);
        read.unwrap_or_else(|error| panic!("{}: {error:#}", directory.display()));
        Self::of(&resolve)
    }

    fn parse(text: &str) -> Self {
        let mut resolve = Resolve::default();
        resolve.push_str("text", text).unwrap_or_else(|error| panic!("{error:#}"));
        Self::of(&resolve)
    }

    /// What a plugin built against `published` would stumble over.
    fn breaks(&self, published: &Self) -> Vec<String> {
        let mut broken = Vec::new();
        for (name, before) in &published.interfaces {
            let Some(now) = self.interfaces.get(name) else {
                broken.push(format!("interface {name} is gone"));
                continue;
            };
            for (item, text) in before {
                match now.get(item) {
                    Some(same) if same == text => {}
                    Some(other) => broken.push(format!("{name}.{item} was `{text}` and is `{other}`")),
                    None => broken.push(format!("{name}.{item} is gone")),
                }
            }
            let is_exported = published.exported.contains(name) || self.exported.contains(name);
            let new = now.keys().filter(|item| is_exported && !before.contains_key(*item));
            broken
                .extend(new.map(|item| format!("{name}.{item} is new in an interface that plugins export")));
        }
        for (name, (imports, exports)) in &published.worlds {
            let Some((now, exported)) = self.worlds.get(name) else {
                broken.push(format!("world {name} is gone"));
                continue;
            };
            broken.extend(
                imports
                    .iter()
                    .filter(|it| !now.contains(it))
                    .map(|it| format!("world {name} does not import {it} any more")),
            );
            if exports != exported {
                broken.push(format!("world {name} exported {exports:?} and exports {exported:?}"));
            }
        }
        broken
    }
}

fn named(resolve: &Resolve, id: InterfaceId) -> String {
    resolve.interfaces[id].name.clone().unwrap_or_default()
}

/// A type by its name, with the interface that defines it, or as it is written when it has none.
fn reference(resolve: &Resolve, it: &Type) -> String {
    match it {
        Type::Id(id) => match (&resolve.types[*id].name, resolve.types[*id].owner) {
            // A name that was taken over by `use` is the one where it comes from.
            (Some(_), _) if matches!(resolve.types[*id].kind, TypeDefKind::Type(Type::Id(_))) => {
                let TypeDefKind::Type(original) = &resolve.types[*id].kind else { unreachable!() };
                reference(resolve, original)
            }
            (Some(name), TypeOwner::Interface(owner)) => format!("{}.{name}", named(resolve, owner)),
            (Some(name), _) => name.clone(),
            (None, _) => definition(resolve, *id),
        },
        simple => format!("{simple:?}").to_lowercase(),
    }
}

fn optional(resolve: &Resolve, it: &Option<Type>) -> String {
    it.as_ref().map_or_else(|| "_".to_owned(), |it| reference(resolve, it))
}

fn definition(resolve: &Resolve, id: TypeId) -> String {
    let fields = |parts: Vec<String>| parts.join(", ");
    match &resolve.types[id].kind {
        TypeDefKind::Record(record) => {
            let parts = record.fields.iter().map(|it| format!("{}: {}", it.name, reference(resolve, &it.ty)));
            format!("record {{ {} }}", fields(parts.collect()))
        }
        TypeDefKind::Variant(variant) => {
            let parts = variant.cases.iter().map(|it| format!("{}({})", it.name, optional(resolve, &it.ty)));
            format!("variant {{ {} }}", fields(parts.collect()))
        }
        TypeDefKind::Enum(it) => {
            format!("enum {{ {} }}", fields(it.cases.iter().map(|case| case.name.clone()).collect()))
        }
        TypeDefKind::Flags(it) => {
            format!("flags {{ {} }}", fields(it.flags.iter().map(|flag| flag.name.clone()).collect()))
        }
        TypeDefKind::Tuple(it) => {
            format!("tuple<{}>", fields(it.types.iter().map(|part| reference(resolve, part)).collect()))
        }
        TypeDefKind::List(it) => format!("list<{}>", reference(resolve, it)),
        TypeDefKind::Option(it) => format!("option<{}>", reference(resolve, it)),
        TypeDefKind::Result(it) => {
            format!("result<{}, {}>", optional(resolve, &it.ok), optional(resolve, &it.err))
        }
        TypeDefKind::Type(it) => reference(resolve, it),
        TypeDefKind::Resource => "resource".to_owned(),
        TypeDefKind::Handle(Handle::Own(id)) => format!("own<{}>", reference(resolve, &Type::Id(*id))),
        TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", reference(resolve, &Type::Id(*id))),
        other => panic!("the contract has no {}", other.as_str()),
    }
}

fn signature(resolve: &Resolve, it: &Function) -> String {
    let parameters = it.params.iter().map(|it| format!("{}: {}", it.name, reference(resolve, &it.ty)));
    format!("func({}) -> {}", parameters.collect::<Vec<_>>().join(", "), optional(resolve, &it.result))
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn todays_contract_serves_what_was_built_against_every_published_one() {
    let today = Contract::read(&repository().join("wit"));
    let mut versions: Vec<_> = fs::read_dir(repository().join("tests/contract"))
        .expect("the published contracts")
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.is_dir())
        .collect();
    versions.sort();
    assert!(!versions.is_empty());
    for version in versions {
        let published = Contract::read(&version);
        assert!(published.interfaces.len() > 15, "{} is no whole contract", version.display());
        let broken = today.breaks(&published);
        assert!(broken.is_empty(), "against {}:\n{}", version.display(), broken.join("\n"));
    }
}

const PUBLISHED: &str = "
    package kiln:plugin@0.1.0;
    interface types { record pair { key: string, value: string } enum kind { a, b } }
    interface host { use types.{pair}; look: func(name: string) -> result<list<pair>, string>; resource tree { read: func() -> u32; } }
    interface hook { use types.{kind}; ask: func(kind: kind) -> option<string>; }
    world plugin { import host; export hook; }
";

#[track_caller]
fn check(from: &str, to: &str, expected: &[&str]) {
    assert!(PUBLISHED.contains(from), "{from}");
    let published = Contract::parse(PUBLISHED);
    assert_eq!(Contract::parse(&PUBLISHED.replace(from, to)).breaks(&published), expected, "{to}");
}

#[test]
fn what_is_added_to_what_plugins_call_breaks_nothing() {
    check("look:", "more: func(); look:", &[]);
    check("read: func() -> u32;", "read: func() -> u32; write: func();", &[]);
    check("interface hook", "interface other { ask: func(); } interface hook", &[]);
    check(
        "world plugin { import host;",
        "interface other { ask: func(); } world plugin { import host; import other;",
        &[],
    );
    check("enum kind", "record later { x: u32 } enum kind", &[]);
}

#[test]
fn what_changes_is_named() {
    check(
        "value: string",
        "value: string, third: string",
        &[
            "types.pair was `record { key: string, value: string }` and is `record { key: string, value: string, third: string }`",
        ],
    );
    check("{ a, b }", "{ a, b, c }", &["types.kind was `enum { a, b }` and is `enum { a, b, c }`"]);
    check(
        "look: func(name: string)",
        "look: func(name: u32)",
        &[
            "host.look was `func(name: string) -> result<list<types.pair>, string>` and is `func(name: u32) -> result<list<types.pair>, string>`",
        ],
    );
    check("look: func(name: string) -> result<list<pair>, string>;", "", &["host.look is gone"]);
    check("ask:", "again: func(); ask:", &["hook.again is new in an interface that plugins export"]);
    check("world plugin {", "world renamed {", &["world plugin is gone"]);
    check("export hook;", "", &["world plugin exported [\"hook\"] and exports []"]);
}
