//! What can be asked of the preset, and what was.

use kiln_preset::{Common, bad};
use kiln_sdk::wit::describe::OptionSpec;
use kiln_sdk::wit::diagnostics::Diagnostic;
use kiln_sdk::wit::frontend_types::BuildRequest;

/// The compilers of Debian with the headers that most projects want, so that what they link with is one small file each in
/// the usual places. Docker Hub's `gcc` brings a newer compiler, and libraries of its own in places of its own.
pub(crate) const BUILDER: &str = "buildpack-deps:bookworm";

/// The values of all options.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub common: Common,
    /// A word of [`System`](crate::project::System), or `auto`.
    pub system: String,
    /// `auto`, `static` or `dynamic`.
    pub link: String,
    /// `auto`, `glibc` or `musl`.
    pub libc: String,
    /// `release`, `size` or `debug`.
    pub build_type: String,
    /// Of CMake; empty for none.
    pub preset: String,
    pub configure: Vec<String>,
    pub make: Vec<String>,
    pub cflags: String,
    pub ldflags: String,
    /// Name or path; empty where there has to be one only.
    pub program: String,
    pub test: bool,
    pub debug_file: bool,
    pub incremental: bool,
    /// Libraries by SONAME that are opened at run time.
    pub with: Vec<String>,
    /// Paths of the builder that the image needs besides.
    pub files: Vec<String>,
    /// `auto`, `yes` or `no`.
    pub certificates: String,
    pub zoneinfo: bool,
}

/// How `describe` lists them.
pub(crate) fn specs() -> Vec<OptionSpec> {
    let builder = format!("`{BUILDER}`");
    let mut specs = Common::specs(&builder).to_vec();
    specs.extend([
        OptionSpec::choice(
            "system",
            "what builds the project, where it could be several",
            &["auto", "cmake", "meson", "autotools", "make", "file"],
        ),
        OptionSpec::choice("link", "static where that works, or one of both", &["auto", "static", "dynamic"]),
        OptionSpec::choice(
            "libc",
            "the C library; musl for C alone, and by itself for a single file",
            &["auto", "glibc", "musl"],
        ),
        OptionSpec::choice(
            "build-type",
            "what the compiler is to aim at: -O2, -Os, or -O0 -g",
            &["release", "size", "debug"],
        ),
        OptionSpec::text("preset", "a configure preset of CMake"),
        OptionSpec::list("configure", "arguments for cmake, meson setup or configure"),
        OptionSpec::list("make", "arguments for make or ninja"),
        OptionSpec::text("cflags", "further flags for the compilers"),
        OptionSpec::text("ldflags", "further flags and libraries for linking"),
        OptionSpec::text("program", "the program that the image starts, where there are several"),
        OptionSpec::boolean("test", "run the project's own tests", false),
        OptionSpec::boolean("debug-file", "keep symbols for the target `debug`", false),
        OptionSpec::boolean(
            "incremental",
            "compile only what changed, where that gives the same bytes",
            true,
        ),
        OptionSpec::list("with", "a library by SONAME that the program opens at run time"),
        OptionSpec::list("files", "a path of the builder that the image needs besides"),
        OptionSpec::choice(
            "certificates",
            "CA certificates: where a library asks for those of the system, always, or never",
            &["auto", "yes", "no"],
        ),
        OptionSpec::boolean("zoneinfo", "time zones, so that TZ means something", false),
    ]);
    specs
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// Every value that cannot be one.
    pub(crate) fn read(request: &BuildRequest) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let common = Common::read(request).unwrap_or_else(|found| {
            problems.extend(found);
            Common { builder: None, runtime: None, user: String::new(), packages: Vec::new() }
        });
        let text = |name: &str| request.option(name).unwrap_or_default().trim().to_owned();
        let list = |name: &str| -> Vec<String> {
            let values = request.option_values(name).map(str::trim);
            values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
        };
        let settings = Self {
            common,
            system: text("system"),
            link: text("link"),
            libc: text("libc"),
            build_type: text("build-type"),
            preset: text("preset"),
            configure: list("configure"),
            make: list("make"),
            cflags: text("cflags"),
            ldflags: text("ldflags"),
            program: text("program"),
            test: request.is_set("test"),
            debug_file: request.is_set("debug-file"),
            incremental: request.is_set("incremental"),
            with: list("with"),
            files: list("files"),
            certificates: text("certificates"),
            zoneinfo: request.is_set("zoneinfo"),
        };
        for name in settings.with.iter().filter(|name| name.contains(['/', '\n'])) {
            problems.push(bad("with", name, "a name without directories, such as `libnss_sss.so.2`"));
        }
        for path in settings.files.iter().filter(|path| !path.starts_with('/') || path.contains('\n')) {
            problems.push(bad("files", path, "an absolute path of the builder image"));
        }
        if settings.configure.iter().any(|argument| argument == "--") {
            problems.push(bad("configure", "--", "one argument, such as `-DFEATURE=ON`"));
        }
        if settings.libc == "musl" && settings.link == "dynamic" {
            problems.push(
                Diagnostic::error("bad-option", "`libc` is `musl`, and `link` is `dynamic`")
                    .help("programs with musl are linked statically: leave `link` out"),
            );
        }
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use kiln_sdk::testing::request;
    use kiln_sdk::wit::types::Pair;

    use super::*;

    fn read(options: &[(&str, &str)]) -> Result<Settings, Vec<Diagnostic>> {
        let mut request = request(&specs());
        let given = options.iter().map(|(key, value)| Pair { key: (*key).into(), value: (*value).into() });
        request.options.retain(|known| options.iter().all(|(key, _)| known.key != *key));
        request.options.extend(given);
        Settings::read(&request)
    }

    #[test]
    fn nothing_said_is_what_the_list_of_options_says() {
        let settings = read(&[]).unwrap();
        assert_eq!((settings.link.as_str(), settings.libc.as_str()), ("auto", "auto"));
        assert!(settings.incremental && !settings.test && !settings.debug_file);
    }

    #[test]
    fn every_value_that_cannot_be_is_told() {
        let given = [
            ("with", "/lib/x.so"),
            ("files", "usr/share"),
            ("libc", "musl"),
            ("link", "dynamic"),
            ("user", ":"),
        ];
        let found = read(&given).unwrap_err();
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.iter().all(|one| one.code == "bad-option" && !one.help.is_empty()));
    }
}
