//! Builds the components that ship with kiln, in the workspace next door, and compiles them ahead of time.
//!
//! `KILN_PLUGINS_DIR` names a directory with the finished `.wasm` files instead, for builders without the wasm target.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use kiln_plugin::Digest;

const WASM: &str = "wasm32-unknown-unknown";

/// What each component calls itself, which is also the directory of its package `kiln-NAME`, and when it is there: a
/// variant of `Presence`.
const COMPONENTS: [(&str, &str); 6] = [
    ("dockerfile", "Always"),
    ("instructions", "Always"),
    ("c", "Preset"),
    ("go", "Preset"),
    ("java", "Preset"),
    ("policy", "OnRequest"),
];

/// Directories of what components are made of.
const LIBRARIES: [&str; 3] = ["sdk", "closure", "preset"];

/// Why there are no components, in a sentence for whoever runs cargo.
type Refusal = String;

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            println!("cargo::error={}", refusal.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), Refusal> {
    let workspace = variable("CARGO_MANIFEST_DIR")?;
    let workspace = Path::new(&workspace).parent().ok_or("this crate lies in no workspace")?.to_owned();
    let out = PathBuf::from(variable("OUT_DIR")?);
    println!("cargo::rerun-if-env-changed=KILN_PLUGINS_DIR");
    let dir = match env::var_os("KILN_PLUGINS_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => build(&workspace, &out)?,
    };
    let mut table =
        String::from("/// Each component that ships with kiln.\npub static BUILTINS: &[Builtin] = &[\n");
    for (name, presence) in COMPONENTS {
        let file = dir.join(format!("kiln_{}.wasm", name.replace('-', "_")));
        println!("cargo::rerun-if-changed={}", file.display());
        let wasm =
            fs::read(&file).map_err(|error| format!("could not read `{}`: {error}", file.display()))?;
        put(&out.join(format!("{name}.wasm")), &wasm)?;
        let code = ahead_of_time(name, &wasm)?;
        put(&out.join(format!("{name}.cwasm")), &code)?;
        table += &format!(
            "    Builtin {{\n        name: {name:?},\n        \
             wasm: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.wasm\")),\n        \
             digest: {:?},\n        \
             presence: Presence::{presence},\n        \
             aot: {{\n            static AOT: OnPages<[u8; {}]> = OnPages(*include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}.cwasm\")));\n            \
             &AOT.0\n        }},\n    }},\n",
            Digest::of(&wasm).as_bytes(),
            code.len(),
        );
    }
    put(&out.join("builtins.rs"), (table + "];\n").as_bytes())
}

/// Runs cargo in the workspace of the components, which has a lock file and a target of its own. Returns where the
/// components are.
fn build(workspace: &Path, out: &Path) -> Result<PathBuf, Refusal> {
    for watched in ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "../wit"] {
        println!("cargo::rerun-if-changed={}", workspace.join(watched).display());
    }
    for member in COMPONENTS.iter().map(|(name, _)| *name).chain(LIBRARIES) {
        for watched in ["Cargo.toml", "src"] {
            println!("cargo::rerun-if-changed={}", workspace.join(member).join(watched).display());
        }
    }
    println!("cargo::rerun-if-changed={}", workspace.join("sdk/build.rs").display());
    println!("cargo::rerun-if-changed=build.rs");
    have_target()?;
    // <target>/<profile>/build/<package>/out: beside the profiles, so that all of them share one build, and away from
    // the directories that the outer cargo has locked.
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?.join("plugins");
    let mut cargo = Command::new(variable("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--locked", "--target", WASM, "--target-dir"])
        .arg(&target);
    for (name, _) in COMPONENTS {
        cargo.args(["-p", &format!("kiln-{name}")]);
    }
    // What the outer build was told is about machine code for this machine.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let outer =
            ["CARGO_TARGET_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_FEATURE_", "CARGO_CFG_", "RUSTC"]
                .iter()
                .any(|prefix| name.starts_with(prefix));
        if outer
            || ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTDOCFLAGS", "TARGET", "HOST"].contains(&&*name)
        {
            cargo.env_remove(&*name);
        }
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", same_bytes_everywhere(workspace)?);
    let status =
        cargo.status().map_err(|error| format!("could not run cargo for the components: {error}"))?;
    if !status.success() {
        return Err(format!(
            "the components in `{}` could not be built; see above for what the compiler says",
            workspace.display()
        ));
    }
    Ok(target.join(WASM).join("release"))
}

/// A component's digest is part of its identity, so no path of this machine may be in it.
fn same_bytes_everywhere(workspace: &Path) -> Result<String, Refusal> {
    let mut flags = vec![format!("--remap-path-prefix={}=kiln/plugins", workspace.display())];
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    if let Some(home) = home {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    // Where the sources of the standard library are installed, the compiler names them by where they lie.
    let library = Path::new(rustc(&["--print", "sysroot"])?.trim()).join("lib/rustlib/src/rust");
    flags.push(format!("--remap-path-prefix={}=rust", library.display()));
    Ok(flags.join("\x1f"))
}

/// The standard library for components; rustup is asked for it when it is missing.
fn have_target() -> Result<(), Refusal> {
    if target_is_there()? {
        return Ok(());
    }
    println!("cargo::warning=the Rust target {WASM} is missing; asking rustup for it");
    // rustup's errors go to where cargo shows them when this script fails.
    let added =
        Command::new("rustup").args(["target", "add", WASM]).status().is_ok_and(|status| status.success());
    if added && target_is_there()? {
        return Ok(());
    }
    Err(format!(
        "kiln's plugins are built for {WASM}, and this Rust toolchain cannot: run `rustup target add {WASM}`, \
         or name a directory with finished components in KILN_PLUGINS_DIR"
    ))
}

fn target_is_there() -> Result<bool, Refusal> {
    let dir = rustc(&["--print", "target-libdir", "--target", WASM])?;
    Ok(Path::new(dir.trim()).is_dir())
}

/// What the compiler answers; nothing when it refuses to.
fn rustc(question: &[&str]) -> Result<String, Refusal> {
    let rustc = variable("RUSTC")?;
    let answer = Command::new(&rustc)
        .args(question)
        .output()
        .map_err(|error| format!("could not run `{rustc}`: {error}"))?;
    Ok(if answer.status.success() {
        String::from_utf8_lossy(&answer.stdout).into_owned()
    } else {
        String::new()
    })
}

/// Machine code for every processor of the target, or nothing when that is another kind of processor than this one:
/// then kiln compiles at first use.
fn ahead_of_time(name: &str, wasm: &[u8]) -> Result<Vec<u8>, Refusal> {
    let target = variable("TARGET")?;
    let host = variable("HOST")?;
    match kiln_plugin::compile(wasm, Some(&target)) {
        Ok(code) => Ok(code),
        Err(_) if target.split('-').next() != host.split('-').next() => {
            println!("cargo::warning=component {name} is not compiled ahead of time for {target}");
            Ok(Vec::new())
        }
        Err(error) => Err(format!("component {name}: {error}")),
    }
}

fn variable(name: &str) -> Result<String, Refusal> {
    env::var(name).map_err(|_| format!("cargo did not set {name}"))
}

fn put(file: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    fs::write(file, bytes).map_err(|error| format!("could not write `{}`: {error}", file.display()))
}
