//! What the program runs on: a runtime linked of the modules that it needs, or an image that has one.

use std::collections::BTreeSet;

use kiln_preset::{Builder, ClosureRequest, Facts, Reasons};
use kiln_sdk::GraphBuilder;
use kiln_sdk::diagnose::quoted;
use kiln_sdk::wit::frontend_types::BuildFailure;
use kiln_sdk::wit::graph::{CopyAction, FileAction, Mount, Output};
use kiln_sdk::wit::trees::Tree;

use crate::class_file;

/// Where the runtime lies in the image.
pub(crate) const HOME: &str = "/opt/java";

/// Modules that no class file of a program tells, because the JDK finds what is in them by name.
const BY_NAME: [(&str, &str); 4] = [
    ("java.management", "agents and frameworks ask for the beans of the JVM by name"),
    ("jdk.management", "agents and frameworks ask for the beans of the JVM by name"),
    ("jdk.unsupported", "libraries look `sun.misc.Unsafe` up by name"),
    ("jdk.zipfs", "the file system of jars is found by its scheme"),
];

/// The same for programs that use the network, or have libraries that may.
const BY_NAME_OF_NETWORK: [(&str, &str); 3] = [
    ("java.naming", "names of certificates and services are looked up through it"),
    ("java.security.jgss", "servers may ask for it when a client signs in"),
    ("jdk.crypto.ec", "TLS finds elliptic curves by name"),
];

const NETWORK: [&str; 6] =
    ["java/net/", "javax/net/", "java/nio/channels/", "com/sun/net/", "java/rmi/", "javax/naming/"];

/// Classes that write numbers, dates and texts as a place does; with a locale, that place may be any.
const FORMATS: [&str; 8] = [
    "java/text/Collator",
    "java/text/DateFormat",
    "java/text/DecimalFormat",
    "java/text/MessageFormat",
    "java/text/NumberFormat",
    "java/text/SimpleDateFormat",
    "java/time/format/DateTimeFormatter",
    "java/time/format/TextStyle",
];

/// Asks what libraries and a class that stands for the program need. What `jdeps` cannot decide is written down and is
/// no failure. Jars that hold shared libraries are told by the names in them, which no jar compresses.
const DECIDE: &str = r#"cd /kiln/jars
find . -name '*.jar' | LC_ALL=C sort >/tmp/list
while IFS= read -r jar; do
    if LC_ALL=C grep -aq 'lib[A-Za-z0-9_.+-]\{3,\}[.]so' "$jar"; then echo "${jar##*/}"; fi
done </tmp/list >/kiln/out/native
version=$1
set --
while IFS= read -r jar; do set -- "$@" "$jar"; done </tmp/list
if jdeps --print-module-deps --ignore-missing-deps --recursive --multi-release "$version" \
    "$@" /kiln/references/References.class >/tmp/said 2>&1
then tail -n 1 /tmp/said >/kiln/out/modules
else cp /tmp/said /kiln/out/refused
fi
"#;

const LINK: &str = r#"jlink --add-modules "$1" "$2" --no-header-files --no-man-pages --compress="$3" --output /kiln/out/java
"#;

/// What a runtime is linked of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modules {
    /// Of modules of the JDK, sorted.
    pub(crate) names: Vec<String>,
    /// Libraries of the program bring shared libraries along, which the JVM loads once they are unpacked.
    pub(crate) loads_native: bool,
}

/// What `jdeps` came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Modules(Modules),
    /// What it said instead.
    Refused(String),
}

/// What is asked of `jdeps`.
pub(crate) struct Question<'q> {
    /// Classes of the JDK that the program refers to.
    pub(crate) references: &'q BTreeSet<String>,
    /// Trees with jars.
    pub(crate) jars: &'q [Output],
    /// Version of Java of the builder.
    pub(crate) version: u32,
    /// Modules that the person adds.
    pub(crate) more: &'q [String],
    pub(crate) has_agent: bool,
}

/// Asks `jdeps`, and adds what it cannot see.
///
/// # Errors
///
/// The step cannot be run at all.
pub(crate) fn decide(
    graph: &mut GraphBuilder,
    builder: &Builder,
    facts: &Facts,
    question: &Question<'_>,
    reasons: &mut Reasons,
) -> Result<Decision, BuildFailure> {
    let stand_in = class_file::stand_in(question.references);
    let references = graph.make_file(None, "/References.class", stand_in, 0o644);
    graph.rename(references, "what the program refers to");
    let mut exec = builder.script(DECIDE);
    exec.args.push(question.version.to_string());
    exec.network = "none".to_owned();
    exec.mounts = vec![Mount::bind("/kiln/references", references), Mount::tmpfs("/tmp")];
    for (number, jars) in question.jars.iter().enumerate() {
        exec.mounts.push(Mount::bind(format!("/kiln/jars/{number}"), *jars));
    }
    exec.cwd = "/kiln/jars".to_owned();
    let decided = builder.produce(graph, builder.root, exec, "jdeps: modules of the JDK");
    let help = "use an image that has a runtime with `--opt java.runtime=IMAGE`";
    let trees = builder.ask(graph, &[decided], "java-jdeps", "`jdeps` cannot be run", help)?;
    let text = |path: &str| trees.first().and_then(|tree| tree.read_text(path).ok());
    let Some(said) = text("modules").and_then(|text| module_names(&text)) else {
        let refused = text("refused").or_else(|| text("modules")).unwrap_or_default();
        let line =
            refused.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing").trim().to_owned();
        return Ok(Decision::Refused(line));
    };
    let mut modules = complete(said, facts.value("modules"), question, reasons);
    let native = text("native").unwrap_or_default();
    if !native.is_empty() && facts.value("native").is_some() {
        let sentence = format!(
            "{} may load a shared library of its own, so the C++ library and all parts of the C library are there",
            quoted(native.lines())
        );
        reasons.say("native", sentence);
        modules.loads_native = true;
    }
    Ok(Decision::Modules(modules))
}

/// A list of names with commas. `None` when it is something else.
fn module_names(text: &str) -> Option<BTreeSet<String>> {
    let names: BTreeSet<String> = text.trim().split(',').map(str::to_owned).collect();
    let is_name = |name: &String| {
        name.contains('.') && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_'))
    };
    names.iter().all(is_name).then_some(names)
}

/// Adds the modules that are found by name. `known` are those of the JDK, with blanks between.
fn complete(
    said: BTreeSet<String>,
    known: Option<&str>,
    question: &Question<'_>,
    reasons: &mut Reasons,
) -> Modules {
    let is_there = |name: &str| known.is_none_or(|known| known.split(' ').any(|it| it == name));
    let list = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    reasons.say("modules", format!("`jdeps` finds that the program needs {}", list(&said)));
    let has_libraries = !question.jars.is_empty();
    let uses_network = has_libraries
        || question.references.iter().any(|name| NETWORK.iter().any(|prefix| name.starts_with(prefix)));
    let mut all = said;
    let mut added = Vec::new();
    let network = BY_NAME_OF_NETWORK.iter().filter(|_| uses_network);
    for (name, why) in BY_NAME.iter().chain(network) {
        if is_there(name) && all.insert((*name).to_owned()) {
            added.push(format!("{name} ({why})"));
        }
    }
    if question.has_agent && is_there("java.instrument") && all.insert("java.instrument".to_owned()) {
        added.push("java.instrument (a flag names an agent)".to_owned());
    }
    let has = |name: &&str| question.references.contains(*name);
    if has(&"java/util/Locale")
        && let Some(class) = FORMATS.iter().find(|class| has(class))
        && is_there("jdk.localedata")
        && all.insert("jdk.localedata".to_owned())
    {
        let class = class.replace('/', ".");
        added.push(format!("jdk.localedata (the program uses `{class}` and `java.util.Locale`)"));
    }
    for name in question.more {
        if all.insert(name.clone()) {
            added.push(format!("{name} (the option `modules`)"));
        }
    }
    if !added.is_empty() {
        reasons.say("modules-by-name", format!("besides, the runtime has {}", added.join(", ")));
    }
    Modules { names: all.into_iter().collect(), loads_native: false }
}

/// The arguments of `jlink` that are not the same in every version: how debug information goes, how it packs.
pub(crate) fn link_flags(version: u32) -> (&'static str, &'static str) {
    // Native debug information would take objcopy; the JDK's libraries have none.
    let strip = if version >= 13 { "--strip-java-debug-attributes" } else { "--strip-debug" };
    (strip, if version >= 21 { "zip-6" } else { "2" })
}

/// Links a runtime. What comes out lies in `java`.
pub(crate) fn link(graph: &mut GraphBuilder, builder: &Builder, modules: &Modules, version: u32) -> Output {
    let mut exec = builder.script(LINK);
    let (strip, compress) = link_flags(version);
    exec.args.extend([modules.names.join(","), strip.to_owned(), compress.to_owned()]);
    exec.network = "none".to_owned();
    builder.produce(graph, builder.root, exec, "jlink: runtime")
}

/// The question for the closure of a runtime's own libraries, in which names that begin with `+` stand for all libraries
/// of a directory; see [`expand`].
pub(crate) fn request(architecture: &str, facts: &Facts, modules: &Modules) -> ClosureRequest {
    // The JVM first: all others are loaded into it.
    let mut with = vec![format!("{HOME}/lib/server/libjvm.so"), format!("+{HOME}/lib")];
    if modules.loads_native {
        with.extend(facts.value("native").into_iter().flat_map(|paths| paths.split(' ')).map(str::to_owned));
    }
    ClosureRequest {
        files: vec![format!("{HOME}/bin/java")],
        with,
        architecture: architecture.to_owned(),
        into: String::new(),
    }
}

/// Puts the libraries of a directory in the place of its name: which there are is known once the runtime is linked.
pub(crate) fn expand(task: &str, tree: &Tree) -> String {
    let mut request = ClosureRequest::read(task);
    let mut with = Vec::new();
    for name in request.with {
        let Some(directory) = name.strip_prefix('+') else {
            with.push(name);
            continue;
        };
        let files = tree.children(directory).unwrap_or_default();
        let libraries = files.into_iter().map(|file| file.path).filter(|path| path.ends_with(".so"));
        with.extend(libraries.map(|path| format!("/{}", path.trim_start_matches('/'))));
    }
    request.with = with;
    request.task()
}

fn at_home(linked: Output) -> CopyAction {
    CopyAction { contents_only: true, ..CopyAction::new(linked, vec!["/java".to_owned()], HOME) }
}

/// A linked runtime at its place in the builder, whose libraries it needs.
pub(crate) fn in_builder(graph: &mut GraphBuilder, builder: &Builder, linked: Output) -> Output {
    let alone = graph.copy(None, at_home(linked));
    graph.rename(alone, "runtime");
    let whole = graph.merge(vec![builder.root, alone]);
    graph.rename(whole, "runtime in the builder");
    whole
}

/// The runtime with the libraries that it needs of the builder, and its certificates as a file.
pub(crate) fn layer(
    graph: &mut GraphBuilder,
    builder: &Builder,
    facts: &Facts,
    modules: &Modules,
    version: u32,
    fonts: bool,
    below: Option<Output>,
) -> Output {
    let linked = link(graph, builder, modules, version);
    let mut inputs = vec![in_builder(graph, builder, linked)];
    inputs.extend(below);
    let closure = graph.derive(request(&builder.platform.arch, facts, modules).task(), inputs);
    graph.rename(closure, "libraries of the runtime");
    let libraries = CopyAction { contents_only: true, ..CopyAction::new(closure, vec!["/".to_owned()], "/") };
    let mut actions = vec![FileAction::Copy(libraries), FileAction::Copy(at_home(linked))];
    if let Some(path) = facts.value("cacerts") {
        let copy =
            CopyAction::new(builder.root, vec![path.to_owned()], format!("{HOME}/lib/security/cacerts"));
        let copy = CopyAction { follow_symlinks: true, mode: "u=rw,go=r".to_owned(), ..copy };
        actions.push(FileAction::Copy(copy));
    }
    // Names of files and arguments are read as the C library says, which needs a locale to know UTF-8.
    if let Some(path) = facts.value("locale") {
        let copy = CopyAction::new(builder.root, vec![path.to_owned()], path);
        actions.push(FileAction::Copy(CopyAction { contents_only: true, ..copy }));
    }
    if fonts {
        for path in ["/etc/fonts", "/usr/share/fonts"] {
            let copy = CopyAction::new(builder.root, vec![path.to_owned()], path);
            actions.push(FileAction::Copy(CopyAction { contents_only: true, ..copy }));
        }
    }
    let output = graph.file(None, actions);
    graph.rename(output, "runtime");
    output
}

/// Commands of the shell for an ejected file, with the tree of the linked runtime laid onto the builder's files.
pub(crate) fn link_command(modules: &Modules, version: u32) -> String {
    let (strip, compress) = link_flags(version);
    format!(
        "jlink --add-modules {} \\\n    {strip} --no-header-files --no-man-pages --compress={compress} --output {HOME}",
        modules.names.join(",")
    )
}

/// Whether a runtime can be linked at all. Why not, otherwise.
pub(crate) fn cannot_link(facts: &Facts, version: u32) -> Option<String> {
    if version < 11 {
        return Some(format!("Java {version} cannot link runtimes"));
    }
    for tool in ["jdeps", "jlink"] {
        if facts.tool(tool).is_none() {
            return Some(format!("the builder has no `{tool}`"));
        }
    }
    if version < 24 && facts.value("jmods").is_none() {
        return Some("the JDK of the builder comes without its `jmods`".to_owned());
    }
    None
}

/// What is asked of the builder besides: where its JDK is, of which version, and what it has.
pub(crate) const PROBE: &str = r#"home=${JAVA_HOME:-}
if { [ -z "$home" ] || [ ! -x "$home/bin/javac" ]; } && javac=$(command -v javac); then home=$(dirname "$(dirname "$(readlink -f "$javac")")"); fi
if [ -n "$home" ]; then
    echo "home $home"
    sed -n 's/^JAVA_VERSION="\(.*\)"/version \1/p; s/^MODULES="\(.*\)"/modules \1/p' "$home/release"
    if [ -e "$home/jmods/java.base.jmod" ]; then echo 'jmods yes'; fi
    if [ -s "$home/lib/security/cacerts" ]; then echo "cacerts $home/lib/security/cacerts"; fi
fi
for locale in /usr/lib/locale/C.utf8 /usr/lib/locale/C.UTF-8; do
    if [ -d "$locale" ]; then echo "locale $locale"; break; fi
done
for directory in /usr/lib/*-linux-gnu* /lib/*-linux-gnu* /usr/lib64 /lib64; do
    if [ -e "$directory/libc.so.6" ]; then
        native=
        for name in libdl.so.2 libgcc_s.so.1 libm.so.6 libpthread.so.0 librt.so.1 libstdc++.so.6; do
            if [ -e "$directory/$name" ]; then native="$native $directory/$name"; fi
        done
        echo "native$native"
        break
    fi
done
if [ -d /root/.m2/repository ]; then echo 'repository yes'; fi
if [ -d /usr/share/fonts ] && [ -d /etc/fonts ]; then echo 'fonts yes'; fi
"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn question<'q>(
        references: &'q BTreeSet<String>,
        jars: &'q [Output],
        more: &'q [String],
    ) -> Question<'q> {
        Question { references, jars, version: 17, more, has_agent: false }
    }

    fn completed(names: &[&str], jars: &[Output], more: &[String]) -> String {
        let references = names.iter().map(|&name| name.to_owned()).collect();
        let said = BTreeSet::from(["java.base".to_owned()]);
        let known = "java.base java.management jdk.zipfs java.naming jdk.crypto.ec jdk.localedata";
        complete(said, Some(known), &question(&references, jars, more), &mut Reasons::new()).names.join(" ")
    }

    #[test]
    fn what_is_found_by_name_is_added_as_far_as_the_jdk_has_it() {
        assert_eq!(completed(&["java/util/List"], &[], &[]), "java.base java.management jdk.zipfs");
        let all = "java.base java.management java.naming jdk.crypto.ec jdk.zipfs";
        assert_eq!(completed(&["java/net/Socket"], &[], &[]), all);
        let jars = [GraphBuilder::new().scratch()];
        assert_eq!(completed(&[], &jars, &[]), all, "a library may use the network");
        let more = ["jdk.localedata".to_owned()];
        assert!(completed(&[], &[], &more).ends_with("jdk.localedata jdk.zipfs"));
    }

    #[test]
    fn who_formats_for_a_locale_has_all_of_them() {
        let has = |names: &[&str]| completed(names, &[], &[]).contains("jdk.localedata");
        assert!(has(&["java/util/Locale", "java/text/NumberFormat"]));
        assert!(!has(&["java/util/Locale"]) && !has(&["java/text/NumberFormat"]));
        let parses = ["java/util/Locale", "java/text/ParseException"];
        assert!(!has(&parses), "an exception formats nothing");
    }

    #[test]
    fn the_c_library_is_whole_where_libraries_are_loaded_from_jars() {
        let mut modules = Modules::default();
        let with = |modules: &Modules| request("amd64", &Facts::default(), modules).with.len();
        assert_eq!(with(&modules), 2);
        modules.loads_native = true;
        assert_eq!(with(&modules), 2, "the builder has no glibc");
    }

    #[test]
    fn only_a_list_of_modules_is_one() {
        assert_eq!(module_names("java.base,java.sql\n").unwrap().len(), 2);
        for text in ["", "Error: missing dependencies", "java.base, java.sql", "base"] {
            assert_eq!(module_names(text), None, "{text}");
        }
    }

    #[test]
    fn flags_are_those_that_the_version_knows() {
        assert_eq!(link_flags(11), ("--strip-debug", "2"));
        assert_eq!(link_flags(17), ("--strip-java-debug-attributes", "2"));
        assert_eq!(link_flags(21), ("--strip-java-debug-attributes", "zip-6"));
        assert!(LINK.contains(kiln_preset::OUT), "what is linked lies in what the step produces");
    }
}
