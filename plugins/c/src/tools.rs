//! Which tools a project needs of the builder image, and which packages of Debian bring them.

use kiln_closure::Files;
use kiln_preset::Facts;
use kiln_sdk::wit::types::HostError;

use crate::project::{System, text};
use crate::settings::Settings;

/// Programs whose presence decides something.
pub(crate) const TOOLS: [&str; 19] = [
    "cc",
    "gcc",
    "clang",
    "c++",
    "g++",
    "clang++",
    "musl-gcc",
    "cmake",
    "ninja",
    "meson",
    "make",
    "autoreconf",
    "automake",
    "libtoolize",
    "pkg-config",
    "pkgconf",
    "strip",
    "objcopy",
    "apt-get",
];

/// Names under which compilers are called.
pub(crate) const COMPILERS: [&str; 7] = ["cc", "gcc", "clang", "c++", "g++", "clang++", "musl-gcc"];

/// Something that a project needs: any of these programs will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub programs: &'static [&'static str],
    pub packages: &'static [&'static str],
}

const fn need(programs: &'static [&'static str], packages: &'static [&'static str]) -> Need {
    Need { programs, packages }
}

const C: Need = need(&["cc", "gcc", "clang"], &["gcc", "libc6-dev"]);
const CXX: Need = need(&["c++", "g++", "clang++"], &["g++"]);

/// What a project needs, whatever the builder has.
pub(crate) fn needs(
    files: &dyn Files,
    system: &System,
    has_cxx: bool,
    settings: &Settings,
) -> Result<Vec<Need>, HostError> {
    let mut needs = vec![C, need(&["strip"], &["binutils"])];
    let definition = match system {
        System::CMake => "/CMakeLists.txt",
        System::Meson => "/meson.build",
        System::Autotools => "/configure.ac",
        System::Make | System::File(_) => "",
    };
    let is_there = !definition.is_empty() && files.real_path(definition)?.is_some();
    let definition = if is_there { text(files, definition)? } else { String::new() };
    if has_cxx || *system == System::CMake && !is_c_alone(&definition) {
        needs.push(CXX);
    }
    if settings.libc == "musl" {
        needs.push(need(&["musl-gcc"], &["musl-tools"]));
    }
    match system {
        System::CMake => {
            needs.extend([need(&["cmake"], &["cmake"]), need(&["ninja", "make"], &["ninja-build"])])
        }
        System::Meson => needs.extend([need(&["meson"], &["meson"]), need(&["ninja"], &["ninja-build"])]),
        System::Autotools => {
            needs.push(need(&["make"], &["make"]));
            if files.real_path("/configure")?.is_none() {
                needs.push(need(&["autoreconf"], &["autoconf"]));
                needs.push(need(&["automake"], &["automake"]));
                needs.push(need(&["libtoolize"], &["libtool"]));
            }
        }
        System::Make => needs.push(need(&["make"], &["make"])),
        System::File(_) => {}
    }
    let asks = ["PkgConfig", "pkg_check_modules", "PKG_CHECK_MODULES", "dependency("];
    if asks.iter().any(|word| definition.contains(word)) {
        needs.push(need(&["pkg-config", "pkgconf"], &["pkg-config"]));
    }
    Ok(needs)
}

/// Those that the builder image does not meet.
pub(crate) fn missing(needs: &[Need], facts: &Facts) -> Vec<Need> {
    let is_met = |need: &&Need| need.programs.iter().any(|program| facts.tool(program).is_some());
    needs.iter().filter(|need| !is_met(need)).cloned().collect()
}

/// Whether a project of CMake says that it is in C and nothing else. One that says nothing wants a compiler for C++ as well.
fn is_c_alone(definition: &str) -> bool {
    let lower = definition.to_ascii_lowercase();
    let Some(at) = lower.find("project(") else { return false };
    let arguments = definition[at + "project(".len()..].split(')').next().unwrap_or_default();
    let words: Vec<&str> = arguments.split_whitespace().skip(1).collect();
    words.contains(&"C") && !words.contains(&"CXX")
}

#[cfg(test)]
mod tests {
    use kiln_closure::testing::Tree;
    use kiln_sdk::testing::request;

    use super::*;
    use crate::settings::specs;

    fn programs(system: &System, files: &[(&str, &str)], has_cxx: bool) -> Vec<&'static str> {
        let tree = files.iter().fold(Tree::new(), |tree, (path, text)| tree.file(path, text.as_bytes()));
        let settings = Settings::read(&request(&specs())).unwrap();
        let needs = needs(&tree, system, has_cxx, &settings).unwrap();
        needs.iter().skip(2).map(|need| need.programs[0]).collect()
    }

    #[test]
    fn each_system_has_its_tools() {
        let cmake = |text| programs(&System::CMake, &[("/CMakeLists.txt", text)], false);
        assert_eq!(cmake("project(x C)"), ["cmake", "ninja"]);
        assert_eq!(cmake("project(x)\nfind_package(PkgConfig)"), ["c++", "cmake", "ninja", "pkg-config"]);
        assert_eq!(cmake("project(x VERSION 1 LANGUAGES C CXX)"), ["c++", "cmake", "ninja"]);
        let meson = programs(&System::Meson, &[("/meson.build", "dependency('zlib')")], false);
        assert_eq!(meson, ["meson", "ninja", "pkg-config"]);
        let generated = programs(&System::Autotools, &[("/configure", "")], false);
        assert_eq!(generated, ["make"]);
        let source = programs(&System::Autotools, &[("/configure.ac", "")], true);
        assert_eq!(source, ["c++", "make", "autoreconf", "automake", "libtoolize"]);
        assert_eq!(programs(&System::File("a.c".into()), &[], false), Vec::<&str>::new());
    }

    #[test]
    fn what_the_builder_lacks_is_told_by_any_of_its_names() {
        let missing = missing(&[C, CXX], &Facts::default());
        assert_eq!(missing, [C, CXX]);
    }
}
