use super::*;

fn name() -> Name {
    "my-thing".parse().expect("a name")
}

fn project<'a>(language: Language, kind: Kind, name: &'a Name) -> Project<'a> {
    Project { kind, language, name, sdk: None }
}

#[test]
fn every_kind_is_there_in_every_language() {
    let name = name();
    for language in Language::ALL {
        for kind in Kind::ALL {
            let files = project(language, kind, &name).files().expect("the contract has bindings");
            let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
            let source = match language {
                Language::Rust => "src/lib.rs",
                Language::C => "plugin.c",
                Language::Python => "app.py",
                Language::JavaScript => "plugin.js",
            };
            for wanted in ["README.md", ".gitignore", "wit/kiln-plugin.wit", source] {
                assert!(paths.contains(&wanted), "{language:?} {kind:?} has no {wanted}: {paths:?}");
            }
            assert!(
                paths.iter().any(|path| path.starts_with("example/")),
                "{language:?} {kind:?}: {paths:?}"
            );
            assert!(paths.is_sorted() && paths.windows(2).all(|pair| pair[0] != pair[1]), "{paths:?}");
            for file in &files {
                let text = String::from_utf8_lossy(&file.content);
                let left = [
                    "{{name}}",
                    "{{snake}}",
                    "{{KEYWORD}}",
                    "{{kind}}",
                    "{{world}}",
                    "{{about}}",
                    "{{wasm}}",
                    "{{sdk}}",
                ]
                .into_iter()
                .find(|word| text.contains(word));
                assert_eq!(left, None, "{language:?} {kind:?} {}", file.path);
            }
        }
    }
}

#[test]
fn a_readme_tells_the_command_that_builds() {
    let name = name();
    for language in Language::ALL {
        for kind in Kind::ALL {
            let files = project(language, kind, &name).files().expect("the contract has bindings");
            let readme = files.iter().find(|file| file.path == "README.md").expect("a README");
            let readme = String::from_utf8_lossy(&readme.content);
            assert!(readme.contains(&format!("    {}\n", language.build_command())), "{language:?}");
            assert!(readme.contains(&language.component(&name)), "{language:?}");
        }
    }
}

#[test]
fn scripts_can_be_run() {
    let name = name();
    let files = project(Language::Python, Kind::Instruction, &name).files().expect("files");
    let build = files.iter().find(|file| file.path == "build").expect("a script");
    assert!(build.executable);
    assert!(files.iter().all(|file| file.executable == (file.path == "build")));
}

#[test]
fn an_sdk_that_lies_elsewhere_is_not_copied() {
    let name = name();
    let project = Project { sdk: Some("../sdk"), ..project(Language::Rust, Kind::Policy, &name) };
    let files = project.files().expect("files");
    assert!(files.iter().all(|file| !file.path.starts_with("vendor/") && !file.path.starts_with("wit/")));
    let manifest = files.iter().find(|file| file.path == "Cargo.toml").expect("a manifest");
    assert!(String::from_utf8_lossy(&manifest.content).contains("kiln-sdk = { path = \"../sdk\" }"));
}

/// What the copy of the SDK depends on is what the SDK itself does.
#[test]
fn the_copied_sdk_has_the_dependencies_of_the_sdk() {
    let own = include_str!("../../sdk/Cargo.toml");
    let workspace = include_str!("../../Cargo.toml");
    let (_, copied) = TEMPLATES
        .iter()
        .find(|(path, _)| *path == "rust/common/vendor/kiln-sdk/Cargo.toml")
        .expect("the copy has a manifest");
    let dependency = |manifest: &'static str, name: &str| -> Option<&'static str> {
        manifest.lines().find(|line| line.starts_with(&format!("{name} = ")))
    };
    assert_eq!(dependency(copied, "wit-bindgen"), dependency(workspace, "wit-bindgen"));
    for name in ["wit-component", "wit-parser"] {
        assert_eq!(dependency(copied, name), dependency(own, name), "{name}");
    }
    let count = |manifest: &str| {
        let (_, dependencies) = manifest.split_once("[dependencies]").expect("dependencies");
        dependencies.lines().filter(|line| line.starts_with("wit-")).count()
    };
    assert_eq!(count(copied), count(own), "the SDK depends on something else as well");
}

#[test]
fn names_are_those_of_the_contract() {
    for good in ["a", "apt", "my-thing", "x2"] {
        assert_eq!(good.parse::<Name>().map(|name| name.to_string()), Ok(good.to_owned()));
    }
    let long = "a".repeat(65);
    for bad in ["", "A", "2x", "-a", "a-", "a_b", "a b", "../a", "fn", "core", long.as_str()] {
        assert_eq!(bad.parse::<Name>(), Err(NameError(bad.to_owned())));
    }
    let near = |word| Name::near(word).map(|name| name.to_string());
    assert_eq!(near("My Plugin_2"), Some("my-plugin-2".to_owned()));
    assert_eq!(near("42-things"), Some("things".to_owned()));
    assert_eq!(near("42"), None);
}
